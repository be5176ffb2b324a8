"""How the bench measures: facts of the machine, processes, figures, and the count that must be
right."""
