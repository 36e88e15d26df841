"""`distcronctl completion SHELL`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from distcrond.cli.settings import global_options


@click.command(
    short_help="Print the completion script of a shell.",
    epilog='\b\nExamples:\n  eval "$(distcronctl completion bash)"\n'
    "  distcronctl completion zsh > ~/.zfunc/_distcronctl\n"
    "  distcronctl completion fish > ~/.config/fish/completions/distcronctl.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@global_options
def command(shell: str) -> None:
    """Print the completion script of a shell."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "distcronctl", "_DISTCRONCTL_COMPLETE").source())
