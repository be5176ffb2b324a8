"""What becomes of the figures: a table, a file, pictures, and the README's block."""
