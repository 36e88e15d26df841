"""kill -9 of the daemon at random instants, judged by what the commands wrote on their nodes (GUARANTEES §2 and §7)."""

from __future__ import annotations

import os
import random  # noqa: TID251  seeded
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from support.checker import Case, Plan, Verdict, noting
from support.daemon import now, until
from support.trial import judge

KILLS = 20
SECOND = timedelta(seconds=1)
PATIENCE = 4 * SECOND
"""From due, or from the end of an outage, to the start; the machines of CI are slow and shared."""
EVERY_ONE = {"policy": "all", "window": "2h", "max": 10_000}
"""Catch-up after which nothing may be missing, on however slow a machine."""
CHATTY = "seq 1 20000; printf 'the last line has no end'"
SLOW = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $i; sleep 0.3; done"
BOTH = "for i in 1 2 3; do echo out $i; echo err $i >&2; sleep 0.1; done"

JOBS = {
    Plan("any", every=SECOND): {"shell_command": noting("echo $DISTCRON_RUN_ID")},
    Plan("fails", every=3 * SECOND): {"shell_command": noting("echo no", code=7)},
    Plan("all", every=4 * SECOND, targets=3): {
        "policy": {"hosts": "all", "roles": ["web"]},
        "shell_command": noting("echo all"),
    },
    Plan("two", every=3 * SECOND, targets=2): {
        "policy": {"hosts": 2, "roles": ["web"]},
        "shell_command": noting("echo two; sleep 0.5"),
    },
    Plan("local", every=2 * SECOND): {"policy": {"roles": ["here"]}, "shell_command": noting("sleep 0.2; echo here")},
    Plan("chatty", every=4 * SECOND): {"shell_command": noting(CHATTY)},
    Plan("slow", every=5 * SECOND): {"shell_command": noting(SLOW)},
    Plan("both", every=6 * SECOND): {"script": {"interpreter": ["/bin/sh"], "source": noting(f"{{ {BOTH}; }} 2>&1")}},
    Plan("apart", every=6 * SECOND): {"shell_command": noting(BOTH), "output": {"streams": "separate"}},
    Plan("plain", every=5 * SECOND, durable=False): {
        "shell_command": noting("sleep 0.5; echo plain"),
        "durable": False,
    },
    Plan("queued", every=SECOND, merges=True, alone=True): {
        "overlap": "queue",
        "catch_up": {"policy": "latest", "window": "5m"},
        "policy": {"hosts": ["web1"]},
        "shell_command": noting("sleep 1.4; echo queued"),
    },
}


@pytest.mark.parametrize("seed", [1])
def test_twenty_random_kills_lose_and_double_nothing(place, farm, seed):
    verdict = trial(place, farm, kills=KILLS, seed=seed, limit=timedelta(minutes=5))
    print(verdict)
    assert verdict.is_clean, verdict
    assert verdict.counts["outputs"] > 100, verdict


@pytest.mark.long
def test_many_random_kills_lose_and_double_nothing(place, farm):
    """`KILLS=1000 SEED=1 python -m pytest -m long -s tests/system/test_kill9.py`: about 1.3 s a kill.

    With `CUTS=1` connections of nodes are cut as well, one at every second kill. `MINUTES` is a limit.
    """
    kills, seed, minutes = (
        int(os.environ.get(*each)) for each in (("KILLS", "100"), ("SEED", "1"), ("MINUTES", "600"))
    )
    limit = timedelta(minutes=minutes)
    verdict = trial(place, farm, kills=kills, seed=seed, limit=limit, cuts=os.environ.get("CUTS") == "1")
    print(f"seed {seed}: {verdict}")
    assert verdict.is_clean, verdict


def trial(place, farm, *, kills: int, seed: int, limit: timedelta, cuts: bool = False) -> Verdict:
    """Kill so often, or until the time is over, let the work end, and judge."""
    _configure(place, farm)
    place.start()
    place.await_nodes(web1="up", web2="up", web3="up", here="up")
    start = now() + SECOND
    servers = [farm.host(index) for index in range(3)] if cuts else []
    deaths = _kill_often(place, kills, start + limit, random.Random(seed), servers)
    patience = PATIENCE * deaths.slowest * (2 if cuts else 1)
    case = Case(plans=tuple(JOBS), start=start, stop=now(), outages=deaths.outages, patience=patience)
    verdict = judge(place, case, seconds=60 * deaths.slowest)
    verdict.counts["kills"], verdict.counts["kills of a ready daemon"] = deaths.count, len(deaths.outages)
    return verdict


def _configure(place, farm) -> None:
    for index, name in enumerate(("web1", "web2", "web3")):
        place.ssh_node(name, farm.node(farm.host(index)).options, roles=["web"], capacity=50)
    place.node("here", roles=["here"], capacity=50)
    usual = {"overlap": "allow", "catch_up": EVERY_ONE, "policy": {"hosts": "any", "roles": ["web"]}}
    for plan, keys in JOBS.items():
        assert plan.every is not None
        place.job(plan.job, **(usual | {"schedule": f"@every {plan.every.total_seconds():g}s"} | keys))


@dataclass(slots=True)
class Deaths:
    """What was done to the daemon. `pace` is how much longer than usual lives have to be, `slowest` its maximum."""

    count: int = 0
    outages: list[tuple[datetime, datetime]] = field(default_factory=list)
    down_since: datetime | None = None
    pace: float = 1.0
    slowest: float = 1.0

    def died(self) -> None:
        """Note a death. Lives of which hardly one gets ready show nothing: they become longer until half of them do."""
        self.count += 1
        self.pace = max(1.0, self.pace * (1.25 if self.down_since else 0.8))
        self.slowest = max(self.slowest, self.pace)
        self.down_since = self.down_since or now()

    def ready(self) -> None:
        """Note the end of an outage."""
        if self.down_since is not None:
            self.outages.append((self.down_since, now()))
            self.down_since = None


def _kill_often(place, kills: int, latest: datetime, chance: random.Random, servers) -> Deaths:
    """Kill at random instants, some before the daemon is ready, and start the next at once.

    In about half of these lives the connections to one of `servers` are cut.
    """
    deaths = Deaths()
    while deaths.count < kills and now() < latest:
        length = chance.uniform(0.2, 2.4) * deaths.pace
        instant = time.perf_counter() + length
        cut = instant - chance.uniform(-length, length)
        while time.perf_counter() < instant:
            if servers and time.perf_counter() >= cut:
                chance.choice(servers).drop_connections()
                cut = instant
            if deaths.down_since and place.is_ready():
                deaths.ready()
            time.sleep(0.01)
        deaths.died()
        place.kill()
        place.spawn()
    until(place.is_ready, 30 * deaths.slowest, what=place.log)
    deaths.ready()
    return deaths
