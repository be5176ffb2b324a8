"""``hansard completion``: the script that makes a shell complete the command's words."""

from typing import Final

import click
from click.shell_completion import get_completion_class

PROGRAM: Final = "hansard"
VARIABLE: Final = "_HANSARD_COMPLETE"  # as click derives it from the program's name
SHELLS: Final = ("bash", "zsh", "fish")


@click.command(
    name="completion",
    epilog="""\b
Examples:
  hansard completion bash > ~/.local/share/bash-completion/completions/hansard
  hansard completion zsh > ~/.zfunc/_hansard    # with ~/.zfunc in fpath before compinit
  hansard completion fish > ~/.config/fish/completions/hansard.fish
""",
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script by which a shell completes these commands.

    Commands, options, their values where they are a choice, directories, and the event types that
    the log has. Put it where the shell looks for such scripts, as in the examples; bash needs the
    package bash-completion for that, else `eval "$(hansard completion bash)"` in ~/.bashrc.
    """
    found = get_completion_class(shell)
    assert found is not None, f"click knows no {shell}"
    click.echo(found(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
