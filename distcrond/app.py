"""The composition root: the only file that knows every room. Built in a straight line, torn down in reverse."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from distcrond import __version__
from distcrond.api.certificate import Certificate
from distcrond.api.listeners import TcpAddress, UnixAddress
from distcrond.api.server import Api
from distcrond.api.tokens import TokenBook
from distcrond.clock import SystemClock, boot_id
from distcrond.config.settings import Settings
from distcrond.engine.desired import Desired
from distcrond.engine.refresh import tell_problems
from distcrond.engine.room import Room
from distcrond.engine.service import Engine
from distcrond.errors import JournalCopied
from distcrond.executors.local import LocalExecutor
from distcrond.executors.ssh import SshExecutor
from distcrond.files import Files
from distcrond.following import Following
from distcrond.journals.database import Database, free_bytes
from distcrond.journals.history import SqliteHistory
from distcrond.journals.sqlite import SqliteJournal
from distcrond.model.catalog import Catalog
from distcrond.model.event import DaemonStarted, Event, JournalRestored
from distcrond.model.ledger import Ledger, fold
from distcrond.model.size import format_size
from distcrond.ports import Batch, Clock, Executor, Journal
from distcrond.reports import Reports, open_reports
from distcrond.systemd import Manager, notify
from distcrond.vault import HostVault
from distcrond.web import pages

_log = logging.getLogger(__name__)

_PATIENCE = 30.0
"""Seconds that systemd is asked to wait longer, each second of a start that waits."""
_YOUNG_OBJECTS: Final = 10_000
"""Objects made since the last collection that call for the next one. With the default of 700 a run, which makes a few
hundred, pays some 20 µs more."""


class Daemon:
    """A built daemon: `run` it; `api` and `engine` are for those who show it (the demo)."""

    def __init__(self, *, engine: Engine, api: Api, reports: Reports, clock: Clock) -> None:
        self.engine = engine
        self.api = api
        self._reports = reports
        self._clock = clock
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()

    async def run(self) -> None:
        """Run until `stop`, or until a loop of the engine fails.

        Raises:
            ExceptionGroup: with what failed.
        """
        async with asyncio.TaskGroup() as tasks:
            engine = tasks.create_task(self.engine.run())
            reloading = tasks.create_task(self._reload_when_asked())
            reporting = tasks.create_task(self._reports.outboxes.run())
            notify("READY=1")
            await self._stop.wait()
            notify("STOPPING=1")
            reloading.cancel()
            engine.cancel()
            await asyncio.wait([engine])
            reporting.cancel()  # last, so that what the engine recorded last is reported too

    def stop(self) -> None:
        """End `run` in good order: nothing new is started, what runs goes on without us."""
        self._stop.set()

    def reload(self) -> None:
        """Read the files again and put them in force."""
        self._reload.set()

    def obey_signals(self) -> None:
        """SIGTERM and SIGINT stop, SIGHUP reloads."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload)

    async def _reload_when_asked(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            notify("RELOADING=1", f"MONOTONIC_USEC={int(self._clock.monotonic() * 1e6)}")
            await self.engine.control.reload(by="SIGHUP")
            notify("READY=1")


@asynccontextmanager
async def build(
    settings: Settings, *, restored: bool = False, reread: Callable[[], Settings] | None = None
) -> AsyncIterator[Daemon]:
    """Open what the daemon needs, in the order of dependence, and close it in reverse.

    Args:
        settings: what it is told.
        restored: the state directory came back from a backup.
        reread: reads the settings again, at each reload that somebody asks for.

    Raises:
        JournalError: the journal cannot be opened, or is a copy and nobody said so.
        InvalidValue: the API cannot listen where it should.
        OSError: the state directory cannot be made.
    """
    # Beside a busy event loop the journal's thread would otherwise wait 5 ms for each turn (bench_journal shows it).
    sys.setswitchinterval(5e-5)
    gc.set_threshold(_YOUNG_OBJECTS)
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        state = _own_directory(settings.state_directory)
        files = Files(settings, reread)
        tell_problems(files.catalog.problems)
        desired = Desired(files.catalog)

        await _await_room(state, Room.least(settings.journal.min_free), clock)
        database = Database.open(state / "journal.db")
        stack.callback(database.close)
        _refuse_copy(database, state, restored=restored)
        history = SqliteHistory(database)
        stack.push_async_callback(history.close)
        journal = SqliteJournal(database)
        stack.push_async_callback(journal.close)
        ledger = await journal.load()
        await _begin_life(journal, ledger, clock.now(), restored=restored)
        life, keep_records = secrets.token_hex(8), _memory_of_nodes(files.catalog)
        reports = await open_reports(
            lambda: files.settings,
            stack,
            clock=clock,
            database=database,
            state=state,
            desired=desired,
            daemon=ledger.daemon,
            restored=restored,
        )

        ssh = SshExecutor(
            clock=clock,
            nodes=desired,
            state_directory=state,
            daemon_id=ledger.daemon,
            generation=ledger.generation,
            life=life,
            keep_records=keep_records,
        )
        local = LocalExecutor(
            clock=clock,
            spool_directory=state / "spool",
            daemon_id=ledger.daemon,
            generation=ledger.generation,
            life=life,
            keep_records=keep_records,
        )
        executors: dict[str, Executor] = {
            "ssh": ssh,
            "local": local,
        }
        for executor in executors.values():
            stack.push_async_callback(executor.close)
        manager = Manager()
        engine = Engine(
            clock=clock,
            journal=journal,
            history=history,
            ledger=ledger,
            executors=executors,
            desired=desired,
            definitions=files,
            vault=HostVault(os.environ, settings.secret_files()),
            host_keys={"ssh": ssh.trust},
            examiners={"ssh": ssh, "local": local},
            health_check_interval=settings.health_check_interval,
            quarantine=settings.quarantine,
            outboxes=reports.outboxes,
            free_bytes=database.free,
            journal_size=database.size,
            min_free=settings.journal.min_free,
            keep=settings.journal.retention,
            renew=lambda: _renew(reports, api),
            beat=lambda: manager.beat(_status(desired.catalog, engine.queries.health()["reasons"])),
            boot=boot_id(),
        )
        api = Api(
            control=engine.control,
            queries=engine.queries,
            clock=clock,
            tokens=TokenBook(state / "tokens.json", clock),
            unix=UnixAddress(settings.socket, settings.socket_mode, settings.socket_group),
            tcp=_tcp_address(settings),
            allowed_hosts=settings.allowed_hosts,
            pages=pages(),
        )
        await stack.enter_async_context(api)
        desired.observe(Following(lambda: files.settings, engine=engine, api=api).changed)
        yield Daemon(engine=engine, api=api, reports=reports, clock=clock)


async def serve(
    settings: Settings,
    *,
    restored: bool = False,
    reread: Callable[[], Settings] | None = None,
    greet: Callable[[str], None] | None = None,
) -> None:
    """Run the daemon in the foreground until a signal ends it.

    Args:
        settings: what it is told.
        restored: the state directory came back from a backup.
        reread: reads the settings again.
        greet: gets the one-time link for a browser, which is a secret and so never goes to the log.
    """
    # What is being read now is new enough: a reload asked for too early must not end the daemon.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: None)
    async with build(settings, restored=restored, reread=reread) as daemon:
        daemon.obey_signals()
        _log.info("distcrond %s listens on %s and %s", __version__, settings.socket, daemon.api.url)
        if greet is not None and daemon.api.url is not None:
            greet(daemon.api.invite())
        await daemon.run()


async def _await_room(state: Path, least: int, clock: Clock) -> None:
    """Begin no life that could not be written down: ending instead would be a restart every second."""
    if free_bytes(state) >= least:
        return
    why = f"the disk of {state} has less than {format_size(least)} left: the start waits for room"
    _log.critical("%s", why)
    while free_bytes(state) < least:
        notify(f"STATUS={why}", f"EXTEND_TIMEOUT_USEC={int(_PATIENCE * 1e6)}")
        await clock.sleep(1)


def _renew(reports: Reports, api: Api) -> None:
    """Read or open again what is no part of the files and settings: certificate, secrets, files of reports."""
    reports.reopen()
    api.renew_certificate()


def _tcp_address(settings: Settings) -> TcpAddress | None:
    if settings.listen is None:
        return None
    host, port = settings.listen
    files = settings.tls_certificate_file, settings.tls_key_file, settings.tls_client_ca_file
    certificate = Certificate(files[0], *files[1:]) if files[0] else None
    return TcpAddress(host=host, port=port, certificate=certificate, behind_proxy=settings.behind_proxy)


def _refuse_copy(database: Database, state: Path, *, restored: bool) -> None:
    if database.is_copy() and not restored:
        raise JournalCopied(
            f"{state} is a copy of a state directory, and does not know what was started since it was made. If it came "
            "back from a backup or was moved here, start once with --restored. If the original is in use, name another "
            "--state-directory"
        )
    database.settle()


async def _begin_life(journal: Journal, ledger: Ledger, now: datetime, *, restored: bool) -> None:
    """Record this start before any node hears of its generation, so that a generation is never used twice.

    Who stands back keeps its number: a higher one would push aside the daemon for which it stands back. A restored
    journal does not know how high its number has been: the seconds since 1970 are above any count of starts, and above
    themselves when it is restored once more.
    """
    following = ledger.generation if ledger.stood_back and not restored else ledger.generation + 1
    started = DaemonStarted(
        at=now,
        daemon=ledger.daemon or secrets.token_hex(8),
        generation=max(following, int(now.timestamp())) if restored else following,
        version=__version__,
    )
    events: tuple[Event, ...] = (started, JournalRestored(at=now)) if restored else (started,)
    for event in events:
        fold(ledger, event)
    await journal.append(Batch(events=events))
    if restored:
        _log.warning("the journal is said to be an older copy: nothing that was due until now is started")


def _memory_of_nodes(catalog: Catalog) -> timedelta:
    """How long nodes keep records at least: as long as an occurrence may still be made up for (LAUNCHER rule 10)."""
    jobs = catalog.jobs.values()
    return max([timedelta(hours=48), *(max(job.catch_up.window, job.start_deadline or timedelta(0)) for job in jobs)])


def _status(catalog: Catalog, troubles: Sequence[str]) -> str:
    files = f"{len(catalog.jobs)} jobs, {len(catalog.nodes)} nodes, {len(catalog.problems)} problems in files"
    return f"not healthy ({', '.join(troubles)}); {files}" if troubles else files


def _own_directory(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to another user")
    return path
