"""``python -m hansard_writer``: the ``hansard`` command."""

from hansard_writer.cli import main

main(prog_name="hansard")
