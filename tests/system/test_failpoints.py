"""The daemon dies at each failpoint, and the next one makes it good; judged by what the commands wrote on their nodes.

A chain is one place whose daemon dies again and again, each life at the failpoint of its leg; the life after it takes
up what was open, on its way to its own end. Chains differ in how long the place stays without a daemon, and in what
their jobs forgive: nothing, a late start, or an age beyond the catch-up window. They run side by side.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from support.checker import Case, Plan, Verdict, noting, read_ledger
from support.daemon import Place, now, open_place, until
from support.elasticsearch import Server
from support.sshd import Farm
from support.trial import judge, open_runs

from distcrond.failpoints import EXIT_CODE, Failpoint

SECOND = timedelta(seconds=1)
PATIENCE = 60 * SECOND
"""From due, or from the end of an outage, to the start: a matter of the machine, and not what is judged here."""
REPORTING = (Failpoint.JOURNALED, Failpoint.INDEXED)
RUNNING = tuple(point for point in Failpoint if point not in REPORTING)
BODY = "echo begun; sleep 1.5; echo ended"
Leg = tuple[Failpoint, int]


@dataclass(frozen=True, slots=True)
class Absence:
    """How long there is no daemon, what the jobs say about lateness, and after how much of it they do not run."""

    name: str
    length: timedelta
    keys: dict[str, Any]
    forgives: timedelta | None = None


ABSENCES = (
    Absence("at once", timedelta(0), {"catch_up": {"policy": "all", "window": "5m", "max": 1000}}),
    Absence(
        "after the start deadline",
        3.5 * SECOND,
        {"catch_up": {"policy": "all", "window": "5m", "max": 1000}, "start_deadline": "1s"},
        forgives=SECOND,
    ),
    Absence(
        "after the catch-up window",
        4.5 * SECOND,
        {"catch_up": {"policy": "all", "window": "2s", "max": 1000}},
        forgives=2 * SECOND,
    ),
)


@dataclass(slots=True)
class Chain:
    """One place, its absence, and what became of it. Two of them share the legs of an absence."""

    number: int
    place: Place
    absence: Absence
    outages: list[tuple[datetime, datetime]] = field(default_factory=list)
    returns: list[datetime] = field(default_factory=list)
    down: datetime = field(default_factory=now)

    @property
    def plans(self) -> tuple[Plan, ...]:
        # Names of its own: what runs on a node is looked up by the attempt, and all chains share one machine.
        names = (f"remote{self.number}", f"local{self.number}")
        return tuple(Plan(name, every=2 * SECOND, forgives=self.absence.forgives) for name in names)

    def configure(self, farm: Farm) -> None:
        self.place.ssh_node("web", farm.node(farm.host(self.number)).options, roles=[f"remote{self.number}"])
        self.place.node("here", roles=[f"local{self.number}"])
        for plan in self.plans:
            keys = {"schedule": "@every 2s", "overlap": "allow", "policy": {"roles": [plan.job]}}
            self.place.job(plan.job, shell_command=noting(BODY), **keys | self.absence.keys)

    @property
    def prefix(self) -> str:
        """Of its indices."""
        return f"chain{self.number}"

    def report_to(self, server: Server) -> None:
        """Let the daemon report there, where nothing of an earlier test is left."""
        server.wipe(self.prefix)
        settings = self.place.root / "distcrond.json"
        settings.write_text(json.dumps({"elasticsearch": {"urls": [server.url], "index_prefix": self.prefix}}))
        self.place.flags = ["--config", str(settings)]

    def drain(self) -> None:
        """Live once more, with nothing left to do, until every report is there."""
        for plan in self.plans:
            (self.place.jobs / f"{plan.job}.json").unlink()
        self.place.start()
        place = self.place
        until(lambda: not open_runs(place) and place.get("sinks")["items"][0]["lag"] == 0, 60, what=place.log)

    def run(self, legs: Sequence[Leg]) -> Verdict:
        """Live and die once for each leg, live on, and be judged."""
        self._live()
        start = now() + SECOND
        self.place.kill()
        for point, hit in legs:
            self._stay_away()
            self.place.variables["DISTCRON_FAILPOINT"] = f"{point.word}:{hit}"
            self._live(until_death=True)
        self._stay_away()
        self.place.variables.clear()
        self._live()
        case = Case(plans=self.plans, start=start, stop=now(), outages=self.outages, patience=PATIENCE)
        return judge(self.place, case)

    def _stay_away(self) -> None:
        self.down = now()
        until(lambda: now() >= self.down + self.absence.length)

    def _live(self, *, until_death: bool = False) -> None:
        """Start the daemon. A life that ends before it has seen its nodes was none: the outage goes on."""
        self.place.spawn()
        self.returns.append(now())
        until(lambda: self._is_in_contact() or (until_death and self.place.is_dead), 60, what=self.place.log)
        self.outages.append((self.down, now()))
        if until_death:
            self.place.await_death(EXIT_CODE)

    def _is_in_contact(self) -> bool:
        """Whether it works and its nodes answer."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return all(node["state"] == "up" for node in self.place.node_states().values())
        return False

    def overdue(self) -> list[str]:
        """Commands that began after an absence although their time had passed during it."""
        forgives = self.absence.forgives
        return [
            f"{each.attempt} began {each.started - each.scheduled} late"
            for each in read_ledger(self.place.ledger)
            for (down, _), up in zip(self.outages, self.returns, strict=True)
            if forgives is not None and down < each.scheduled + forgives < up < each.started
        ]


@pytest.fixture
def chains(farm: Farm) -> Iterator[list[Chain]]:
    """Two chains for each absence, on nodes of their own."""
    with contextlib.ExitStack() as stack:
        made = [Chain(number, stack.enter_context(open_place()), each) for number, each in enumerate(ABSENCES * 2)]
        for chain in made:
            chain.configure(farm)
        yield made


def test_a_kill_at_each_failpoint_loses_and_doubles_nothing(chains):
    run(chains, pairs(RUNNING))


@pytest.mark.long
def test_a_kill_on_the_way_to_elasticsearch_loses_no_report(chains, elastic):
    run_reporting(chains, elastic.of(9), pairs(REPORTING))


@pytest.mark.long
def test_every_failpoint_hit_and_absence(chains, elastic):
    """`python -m pytest -m long -s tests/system/test_failpoints.py`: 60 kills, some two minutes."""
    run_reporting(chains, elastic.of(9), {each.name: list(product(Failpoint, (1, 2))) for each in ABSENCES})


def pairs(points: Sequence[Failpoint]) -> dict[str, list[Leg]]:
    """By absence each point once, so that each point, hit and absence meets every other somewhere."""
    return {
        absence.name: [(point, 1 + (shift + index) % 2) for index, point in enumerate(points)]
        for shift, absence in enumerate(ABSENCES)
    }


def run_reporting(chains: Sequence[Chain], server: Server, legs: Mapping[str, Sequence[Leg]]) -> None:
    """The same while reports go to Elasticsearch; what arrives there is judged too."""
    for chain in chains:
        chain.report_to(server)
    run(chains, legs)
    for chain in chains:
        chain.drain()
        assert_same(server, chain)


def run(chains: Sequence[Chain], legs: Mapping[str, Sequence[Leg]]) -> None:
    """Run the chains side by side, the legs of an absence shared by its two, and look at the verdicts."""
    shares = [legs[chain.absence.name][chain.number // len(ABSENCES) :: 2] for chain in chains]
    with ThreadPoolExecutor(len(chains)) as threads:
        verdicts = list(threads.map(Chain.run, chains, shares))
    for chain, share, verdict in zip(chains, shares, verdicts, strict=True):
        print(f"killed {len(share)} times, restarted {chain.absence.name}: {verdict}")
    for chain, share, verdict in zip(chains, shares, verdicts, strict=True):
        assert verdict.is_clean, f"{chain.absence.name}: {verdict}\n{chain.place.log()}"
        assert chain.overdue() == []
        assert verdict.counts["outputs"] >= 1, verdict
        for point, hit in share:
            assert f"DISTCRON_FAILPOINT={point.word}:{hit}: this daemon will kill itself" in chain.place.log()


def assert_same(server: Server, chain: Chain) -> None:
    """What Elasticsearch knows of runs and attempts is what the journal and the nodes say."""
    runs = {run["id"]: run["outcome"] for run in chain.place.all_runs()}
    told = server.all(f"{chain.prefix}-runs-*")
    assert {name: source["distcron"]["outcome"] for name, (_, source) in told.items()} == runs
    attempts = {each.attempt: each.code for each in read_ledger(chain.place.ledger)}
    told = server.all(f"{chain.prefix}-executions-*")
    processes = [source["process"] for _, source in told.values()]
    assert {process["entity_id"]: process["exit_code"] for process in processes} == attempts
    assert len(processes) == len(attempts)
