"""`distcronctl import crontab FILE|--node N`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from distcrond.cli import names
from distcrond.cli.client import Client, path_of
from distcrond.cli.crontab.convert import Wishes, job_of
from distcrond.cli.crontab.naming import name_of
from distcrond.cli.crontab.read import Crontab, Entry, Remark, read
from distcrond.cli.failures import CONFLICT, FAILED, Failure, usage
from distcrond.cli.settings import Settings, global_options, settings
from distcrond.cli.show.clean import word
from distcrond.cli.show.formats import echo, say, show_data
from distcrond.cli.show.yaml import to_yaml

Document = dict[str, Any]
_LARGEST = 1024 * 1024
_WARNING = (
    "cron still runs these lines: take them out there before these files are in force, or import with --disabled. "
    "Unlike cron, a run waits for its predecessor (`overlap: allow`) and one that a downtime missed is made up for "
    "within five minutes (`catch_up: {policy: none}`)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A line on its way into a file below jobs.d."""

    entry: Entry
    name: str
    file: str
    data: Document


@click.group(
    short_help="Turn crontabs into job files.",
    epilog="\b\nExamples:\n  distcronctl import crontab /etc/crontab\n  distcronctl import crontab --node web1",
)
def command() -> None:
    """Turn crontabs into job files."""


@command.command(
    short_help="Turn the lines of a crontab into job files.",
    epilog="\b\nExamples:\n  crontab -l | distcronctl import crontab - --run-on web1\n"
    "  distcronctl import crontab /etc/cron.d/certbot --run-on web1 --directory /etc/distcron/jobs.d\n"
    "  distcronctl import crontab --node web1 --disabled --directory /etc/distcron/jobs.d\n\n"
    "\b\nExit codes: 0 all lines are taken over, 1 some are not (stderr names them), 6 a file is there already.",
)
@click.argument("file", required=False, type=click.Path(allow_dash=True))
@click.option("--node", shell_complete=names.nodes, help="Read the crontabs that the daemon finds on this node.")
@click.option("--system/--no-system", default=None, help="Lines name a user.  [for /etc/crontab and in cron.d]")
@click.option("--user", metavar="NAME", help="Whose crontab FILE is: the jobs get `run_as`.")
@click.option("--run-on", "run_on", multiple=True, metavar="NODE", help="Run the jobs of FILE there; can be repeated.")
@click.option("--timezone", "zone", metavar="ZONE", help="In which the times count, where the crontab does not say.")
@click.option("--owner", metavar="ADDRESS", help="Owner of all jobs.  [MAILTO, or the user]")
@click.option("--namespace", metavar="NAME", help="Sub-directory for the files.  [with --node its name]")
@click.option("--disabled", is_flag=True, help="Write `enabled: false`: nothing runs until somebody changes that.")
@click.option(
    "--directory", "folder", metavar="DIR", type=click.Path(path_type=Path), help="Write the files below DIR."
)
@global_options
def crontab(
    file: str | None,
    *,
    node: str | None,
    system: bool | None,
    user: str | None,
    run_on: tuple[str, ...],
    zone: str | None,
    owner: str | None,
    namespace: str | None,
    disabled: bool,
    folder: Path | None,
) -> None:
    """Turn the lines of a crontab into job files, one each; to stdout unless --directory says where.

    FILE is a user's crontab, /etc/crontab, one of cron.d, or - for stdin. With --node they are those of a node: its
    /etc/crontab, cron.d, and of its users' as many as the daemon may read there. MAILTO, SHELL, PATH and other
    settings, what follows a %, and users become keys of the job. Each file has passed `distcronctl check`.
    What is not taken over is named on stderr.
    """
    options = settings()
    if (file is None) == (node is None):
        raise usage("name one of FILE and --node NODE")
    if node is not None:
        tabs, found = _of_node(Client(options), node)
        wishes = Wishes(
            nodes=(node,), zone=zone or found["timezone"], owner=owner, own_user=found["user"], enabled=not disabled
        )
    else:
        tabs = [_of_file(file or "-", system=system, user=user)]
        wishes = Wishes(nodes=run_on, zone=zone, owner=owner, enabled=not disabled)
    jobs, remarks = _convert(tabs, wishes, namespace or node or "")
    jobs, refusals = _tried(jobs, wishes)
    remarks = sorted([*remarks, *refusals], key=lambda remark: (remark.source, remark.line))
    if folder is None:
        _show(jobs, remarks, options)
    else:
        _write(jobs, folder, options)
    _talk(jobs, remarks, wishes)
    click.get_current_context().exit(FAILED if any(remark.lost for remark in remarks) else 0)


def _of_file(file: str, *, system: bool | None, user: str | None) -> Crontab:
    """A file, or stdin. Raises Failure if it cannot be read, or is said to be of the other kind."""
    try:
        raw = sys.stdin.buffer.read(_LARGEST + 1) if file == "-" else _read(Path(file))
    except OSError as wrong:
        raise Failure(f"{file}: {wrong.strerror}") from None
    if len(raw) > _LARGEST:
        raise Failure(f"{file} has more than a megabyte: that is no crontab")
    path = Path(file).absolute()
    of_system = system if system is not None else path == Path("/etc/crontab") or path.parent.name == "cron.d"
    tab = Crontab(file, raw.decode("utf-8", "replace"), system=of_system, user=user)
    commands = [entry.command.split()[:1] for entry in read(tab) if isinstance(entry, Entry)]
    if system is None and not of_system and ["root"] in commands:
        raise usage(f"{file}: a line's command begins with `root`", "if lines name a user: --system, else --no-system")
    return tab


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LARGEST + 1)


def _of_node(client: Client, node: str) -> tuple[list[Crontab], Document]:
    found = client.get(path_of("nodes", node, "crontabs")).document()
    for unread in found["unreadable"]:
        say(f"{node}: {word(unread)} cannot be read as {found['user']}")
    tabs = [Crontab(f"{node}:{each['file']}", each["text"], each["system"], each["user"]) for each in found["items"]]
    if not tabs:
        say(f"{node} has no crontab that {found['user']} may read")
    return tabs, found


def _convert(tabs: Sequence[Crontab], wishes: Wishes, namespace: str) -> tuple[list[_Job], list[Remark]]:
    jobs: list[_Job] = []
    remarks: list[Remark] = []
    for tab in tabs:
        stem = Path(tab.source).name if tab.system and Path(tab.source).parent.name == "cron.d" else ""
        for found in read(tab):
            if isinstance(found, Remark):
                remarks.append(found)
                continue
            name = name_of(found.command, found.comment, file=stem, taken={job.name for job in jobs})
            path = f"{namespace}/{name}.yaml" if namespace else f"{name}.yaml"
            jobs.append(_Job(entry=found, name=name, file=path, data=job_of(found, wishes)))
    return jobs, remarks


def _tried(jobs: list[_Job], wishes: Wishes) -> tuple[list[_Job], list[Remark]]:
    """Leave out what is no good job file, and say why."""
    from distcrond.cli.crontab.trial import refused  # noqa: PLC0415  30 ms that --help need not wait for

    if not jobs:
        return jobs, []
    wrong = refused({job.file: to_yaml(job.data) for job in jobs}, wishes.nodes)
    remarks = [
        Remark(job.entry.source, job.entry.line, wrong[job.file], lost=True) for job in jobs if job.file in wrong
    ]
    return [job for job in jobs if job.file not in wrong], remarks


def _show(jobs: Sequence[_Job], remarks: Sequence[Remark], options: Settings) -> None:
    if options.output == "name":
        for job in jobs:
            echo(job.name, options)
    elif options.output in ("json", "jsonl"):
        said = [{"source": each.source, "line": each.line, "text": each.text, "lost": each.lost} for each in remarks]
        shown = [
            {"name": job.name, "file": job.file, "source": job.entry.source, "line": job.entry.line, "job": job.data}
            for job in jobs
        ]
        show_data({"jobs": shown, "remarks": said}, options, key="jobs")
    else:
        for line in _documents(jobs):
            echo(line, options, newline=False)


def _documents(jobs: Sequence[_Job]) -> Iterator[str]:
    for job in jobs:
        yield f"--- # {job.file}\n{to_yaml(job.data)}"


def _write(jobs: Sequence[_Job], folder: Path, options: Settings) -> None:
    """Write new files; if one is there already, none."""
    there = [str(folder / job.file) for job in jobs if (folder / job.file).exists()]
    if there:
        raise Failure(
            f"nothing was written: {', '.join(there[:5])} exists", code=CONFLICT, hint="remove it, or --namespace"
        )
    if not folder.is_dir():
        raise usage(f"there is no directory {folder}", f"mkdir -p {folder}")
    try:
        for job in jobs:
            path = folder / job.file
            path.parent.mkdir(exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(to_yaml(job.data))
            echo(str(path), options)
    except OSError as wrong:
        raise Failure(f"{wrong.filename}: {wrong.strerror}") from None


def _talk(jobs: Sequence[_Job], remarks: Sequence[Remark], wishes: Wishes) -> None:
    for remark in remarks:
        what = "not taken over: " if remark.lost else ""
        say(f"{word(remark.source)}:{remark.line}: {what}{word(remark.text)}")
    if jobs and not wishes.nodes:
        say("no node is named: these jobs run on any one; --run-on NODE says where")
    if jobs:
        say(_WARNING)
    lost = sum(remark.lost for remark in remarks)
    say(f"{len(jobs)} jobs" + (f", {lost} lines not taken over" if lost else ""))
