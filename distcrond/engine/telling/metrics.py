"""What a monitoring system asks for: the present state and the counters, as families of samples."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple

from distcrond import __version__
from distcrond.engine.desired import Desired
from distcrond.engine.dispatch.health import Health
from distcrond.engine.dispatch.placing import Placing
from distcrond.engine.dispatch.zones import Zones
from distcrond.engine.holds import Holds
from distcrond.engine.pulse import TROUBLES, Pulse
from distcrond.engine.room import Room
from distcrond.engine.telling.figures import MOST_JOBS, Figures, Histogram
from distcrond.engine.telling.outboxes import Outboxes
from distcrond.model.ledger import Ledger
from distcrond.model.node import NodeState
from distcrond.model.occurrence import Trigger
from distcrond.model.run import Outcome, State
from distcrond.ports import Clock

_LATE: Final = timedelta(seconds=1)
_ALWAYS: Final = (Outcome.SUCCESS.value, Outcome.FAILURE.value)
"""Counted from zero on, so that the first one is an increase."""


class Sample(NamedTuple):
    """A value; `suffix` goes behind the name of its family."""

    value: float
    labels: Mapping[str, str] = {}
    suffix: str = ""


class Family(NamedTuple):
    """Samples of one name; `kind` is gauge, counter or histogram, units are in the name (seconds, bytes)."""

    name: str
    kind: str
    help: str
    samples: Iterable[Sample]


class Metrics:
    """Reads from the engine's parts; changes nothing."""

    def __init__(
        self,
        *,
        clock: Clock,
        ledger: Ledger,
        desired: Desired,
        health: Health,
        holds: Holds,
        placing: Placing,
        zones: Zones,
        outboxes: Outboxes,
        pulse: Pulse,
        room: Room,
        figures: Figures,
        journal_size: Callable[[], int],
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._desired = desired
        self._health = health
        self._holds = holds
        self._placing = placing
        self._zones = zones
        self._outboxes = outboxes
        self._pulse = pulse
        self._room = room
        self._figures = figures
        self._journal_size = journal_size
        self._started = clock.now()

    def families(self) -> Iterator[Family]:
        """Everything there is."""
        yield from self._daemon()
        yield from self._files()
        yield from self._runs()
        yield from self._by_job()
        yield from self._nodes()
        yield from self._by_zone()
        yield from self._keeping()

    def _daemon(self) -> Iterator[Family]:
        troubles = self._pulse.troubles()
        build = Sample(1, {"version": __version__, "python": platform.python_version()})
        yield Family("distcrond_build_info", "gauge", "Which release this is.", [build])
        started = Sample(self._started.timestamp())
        yield Family("distcrond_start_time_seconds", "gauge", "When the daemon started.", [started])
        yield Family("distcrond_healthy", "gauge", "1 while /-/healthy says so.", [Sample(not troubles)])
        each = [Sample(reason in troubles, {"reason": reason}) for reason in TROUBLES]
        yield Family("distcrond_trouble", "gauge", "1 for each reason of not being healthy.", each)
        yield _histogram("distcrond_loop_lag_seconds", "How late the scheduler loop woke.", self._figures.loop_lag)

    def _files(self) -> Iterator[Family]:
        catalog = self._desired.catalog
        yield Family("distcrond_jobs", "gauge", "Jobs in force.", [Sample(len(catalog.jobs))])
        problems = [Sample(len(catalog.problems))]
        yield Family("distcrond_config_problems", "gauge", "What is wrong with the files.", problems)

    def _runs(self) -> Iterator[Family]:
        now, figures = self._clock.now(), self._figures
        open_runs = list(self._ledger.runs.values())
        states = Counter(run.state for run in open_runs)
        each = [Sample(states[state], {"state": state.value}) for state in (State.WAITING, State.RUNNING)]
        yield Family("distcrond_runs_open", "gauge", "Runs that wait or run.", each)
        late = sum(
            run.state is State.WAITING
            and run.occurrence.trigger is Trigger.SCHEDULE
            and run.occurrence.due + _LATE < now
            for run in open_runs
        )
        yield Family("distcrond_runs_late", "gauge", "Runs that wait a second and more past due.", [Sample(late)])
        stuck = [Sample(sum(run.is_stuck for run in open_runs))]
        yield Family("distcrond_runs_stuck", "gauge", "Runs that take longer than they should.", stuck)
        gaps = [Sample(count, {"reason": reason}) for reason, count in figures.gapped.items()]
        yield Family("distcrond_gapped_occurrences_total", "counter", "What was due and became no run.", gaps)
        yield _histogram("distcrond_start_lateness_seconds", "From due to started, of punctual runs.", figures.lateness)
        yield _histogram("distcrond_run_queue_seconds", "From due to started, of ended runs.", figures.queued)
        yield _histogram("distcrond_run_duration_seconds", "From started to ended, of ended runs.", figures.duration)

    def _by_job(self) -> Iterator[Family]:
        counted = self._figures.runs
        names = list(islice(sorted(self._desired.catalog.jobs), MOST_JOBS))
        runs = (
            Sample(counted.get(name, {}).get(outcome, 0), {"job_name": name, "outcome": outcome})
            for name in dict.fromkeys([*names, *counted])
            for outcome in dict.fromkeys((*_ALWAYS, *counted.get(name, ())))
        )
        yield Family("distcrond_runs_total", "counter", "Ended runs.", runs)
        states = [(name, self._ledger.job(name)) for name in names]
        successes = (
            Sample(_seconds(state.last_success), {"job_name": name}) for name, state in states if state.last_success
        )
        yield Family("distcrond_job_last_success_timestamp_seconds", "gauge", "When the last run succeeded.", successes)
        failing = (
            Sample(state.last_outcome is not Outcome.SUCCESS, {"job_name": name})
            for name, state in states
            if state.last_outcome is not None
        )
        yield Family("distcrond_job_failing", "gauge", "1 if the last run that was not skipped failed.", failing)

    def _nodes(self) -> Iterator[Family]:
        nodes = self._desired.catalog.nodes.values()
        up = [Sample(self._health.status(node.name).state is NodeState.UP, {"node": node.name}) for node in nodes]
        yield Family("distcrond_node_up", "gauge", "1 while the node answers.", up)
        out = [Sample(self._holds.quarantine(node.name) is not None, {"node": node.name}) for node in nodes]
        yield Family("distcrond_node_quarantined", "gauge", "1 while other nodes are taken rather.", out)
        running = [Sample(self._placing.running_on(node.name), {"node": node.name}) for node in nodes]
        yield Family("distcrond_node_running", "gauge", "Targets that use the node.", running)

    def _by_zone(self) -> Iterator[Family]:
        zones = self._zones.documents()
        capacity = [Sample(zone["capacity"], {"zone": name}) for name, zone in zones.items()]
        yield Family("distcrond_zone_capacity", "gauge", "Units of the zone, in all or on each node.", capacity)
        taken = [Sample(zone["taken"], {"zone": name}) for name, zone in zones.items()]
        yield Family("distcrond_zone_taken", "gauge", "Units in use, in all or on the fullest node.", taken)
        waiting = [Sample(zone["waiting"], {"zone": name}) for name, zone in zones.items()]
        yield Family("distcrond_zone_waiting", "gauge", "Runs that wait for zones, this one among them.", waiting)

    def _keeping(self) -> Iterator[Family]:
        yield Family("distcrond_journal_bytes", "gauge", "Size of the journal.", [Sample(self._journal_size())])
        free = [Sample(self._room.free)]
        yield Family("distcrond_disk_free_bytes", "gauge", "Room on the disk of the journal.", free)
        lags = [Sample(lag, {"sink": sink}) for sink, lag in self._outboxes.lags().items()]
        yield Family("distcrond_outbox_lag_events", "gauge", "Events that the sink does not know of yet.", lags)
        well = [Sample(is_well, {"sink": sink}) for sink, is_well in self._outboxes.well().items()]
        yield Family("distcrond_outbox_up", "gauge", "1 while the sink takes reports.", well)


def _histogram(name: str, text: str, histogram: Histogram) -> Family:
    buckets = [Sample(count, {"le": str(bound)}, "_bucket") for bound, count in histogram.buckets()]
    whole = histogram.count
    ends = (Sample(whole, {"le": "+Inf"}, "_bucket"), Sample(histogram.sum, {}, "_sum"), Sample(whole, {}, "_count"))
    return Family(name, "histogram", text, (*buckets, *ends))


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment else 0.0
