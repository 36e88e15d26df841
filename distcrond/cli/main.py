"""The command line: global options, and commands that are loaded when they are named."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from distcrond import __version__
from distcrond.cli.failures import FAILED, USAGE, Failure
from distcrond.cli.settings import Settings, root_options
from distcrond.cli.suggest import closest

COMMANDS: dict[str, tuple[str, str]] = {
    "status": ("status", "What runs, what failed, what it last said, how long things usually take."),
    "top": ("top", "What runs, what waits, what failed lately and how busy nodes are, live."),
    "jobs": ("jobs", "All jobs: schedule, next run, last outcome."),
    "job": ("job", "One job with its figures, failures and next runs."),
    "nodes": ("nodes", "All nodes and how they are."),
    "node": ("node", "One node."),
    "trust": ("trust", "The host keys of a node: show them, and pin them once they are confirmed."),
    "doctor": ("doctor", "Look at everything that runs need, and say what to do."),
    "runs": ("runs", "Past and present runs, by filter."),
    "run": ("run", "Run a job now."),
    "rerun": ("rerun", "Run a finished run again."),
    "backfill": ("backfill", "Make up for what has passed."),
    "logs": ("logs", "Output of a run, or of a job's latest one."),
    "next": ("coming", "What runs next, and when."),
    "upcoming": ("upcoming", "All that runs in the next hours."),
    "report": ("report", "The last days of each job in figures, beside the days before."),
    "simulate": ("simulate", "What would run in the next days, and when it is most."),
    "why": ("why", "Why a job ran or did not, waits or will run."),
    "cancel": ("cancel", "End a run."),
    "pause": ("pause", "Let the schedule of a job, or of all jobs, rest."),
    "resume": ("resume", "End the pause of a job, or of all jobs."),
    "drain": ("drain", "Keep new runs from a node."),
    "undrain": ("undrain", "Let a node take runs again."),
    "export": ("export", "A job's definition after defaults, as a file."),
    "check": ("check", "Look for mistakes in job and node files, without a daemon."),
    "import": ("importing", "Turn crontabs into job files."),
    "diff": ("diff", "What a reload would change, with the next runs before and after."),
    "reload": ("reload", "Read the files again now, and say what changed."),
    "reindex": ("reindex", "Fill Elasticsearch again from the journal."),
    "es": ("es", "Elasticsearch: index templates."),
    "kibana": ("kibana", "Kibana: data views, searches and a dashboard of the reports."),
    "schema": ("schema", "The JSON Schema of files: job, node, defaults or settings."),
    "token": ("token", "Tokens for clients that come over TCP."),
    "completion": ("completion", "Print the completion script of a shell."),
}
"""Name → file below `commands/`, and the line for the overview (the same as the first one of the command's help)."""

_EXAMPLES = """\b
Examples:
  distcronctl status
  distcronctl run billing.invoice -e MONTH=11 --follow
  distcronctl logs billing.invoice -f
  distcronctl runs --outcome failure --since 2h -o json

\b
Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 refused, 5 daemon unreachable, 6 conflict."""


class Commands(click.Group):
    """Knows all commands by name and loads the one that is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """In the order of the table, which is the order of need."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load a command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"distcrond.cli.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands from the table, without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say what was meant."""
        name = args[0]
        if name in COMMANDS or name.startswith("-"):
            return super().resolve_command(ctx, args)
        meant = closest(name, COMMANDS)
        hint = f"did you mean `{meant}`?" if meant else "distcronctl --help lists them"
        raise Failure(f"there is no command {name!r}", code=USAGE, hint=hint)


@click.group(
    cls=Commands,
    params=root_options(),
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="distcronctl", message="%(prog)s %(version)s")
def cli() -> None:
    """Talk to distcrond: cron for a cluster."""
    click.get_current_context().ensure_object(Settings)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the client and exit; the one place where failures become exit codes."""
    try:
        code = cli.main(args=arguments, prog_name="distcronctl", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Abort:
        code = 130
    except BrokenPipeError:
        code = _reader_left()
    except Failure as failure:
        code = _complain(str(failure), failure.code)
    except click.ClickException as wrong:
        wrong.show()
        code = wrong.exit_code
    sys.exit(code)


def _complain(message: str, code: int) -> int:
    click.echo(f"distcronctl: error: {message}", err=True)
    return code


def _reader_left() -> int:
    """`distcronctl runs | head`: end quietly, also when Python flushes at exit; the code is click's for the same."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED
