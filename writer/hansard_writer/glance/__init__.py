"""What `hansard top` shows: a look at the log, what changed since the looks before, and the lines
that say so. Only `looking` reads anything."""
