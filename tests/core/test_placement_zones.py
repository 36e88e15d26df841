"""Zones, pure: what a run takes, whose turn it is, and that nobody starves whatever comes after him."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distcrond.model.ids import NodeName
from distcrond.model.zone import Scope, Zone
from distcrond.placement.zones import PATIENCE, WORTH, Stock, needs, turn

T0 = datetime(2026, 11, 21, tzinfo=UTC)
A, B = NodeName("a"), NodeName("b")
ZONES = {
    "db": Zone(name="db", capacity=2),
    "net": Zone(name="net", capacity=3),
    "disk": Zone(name="disk", capacity=1, scope=Scope.NODE),
}


@pytest.mark.parametrize(
    ("wanted", "node", "expected"),
    [
        ({}, None, {}),
        ({"db": 1, "disk": 1}, None, {("db", None): 1}),
        ({"db": 1, "disk": 1}, A, {("disk", A): 1}),
        ({"db": 5}, None, {("db", None): 2}),  # it was larger when the run was admitted
        ({"gone": 1}, None, {}),
        ({"gone": 1}, A, {}),
    ],
)
def test_what_a_run_takes(wanted, node, expected):
    assert needs(wanted, ZONES, node) == expected


def test_all_is_there_or_each_lack_is_named():
    stock = Stock()
    both = {("db", None): 1, ("net", None): 3}
    assert stock.lacking(both, ZONES) == {}
    stock.take({("db", None): 2, ("net", None): 1})
    assert stock.lacking(both, ZONES) == {("db", None): 1, ("net", None): 1}
    stock.give({("db", None): 2})
    assert stock.lacking(both, ZONES) == {("net", None): 1}


def test_a_zone_of_each_node_is_counted_there():
    stock = Stock()
    stock.take({("disk", A): 1})
    assert stock.lacking({("disk", A): 1}, ZONES) == {("disk", A): 1}
    assert stock.lacking({("disk", B): 1}, ZONES) == {}


def test_what_is_kept_is_kept_for_one_pass():
    stock = Stock()
    stock.take({("db", None): 1})
    large = {("db", None): 2}
    stock.keep(large, stock.lacking(large, ZONES))
    assert stock.lacking({("db", None): 1}, ZONES) == {("db", None): 2}
    stock.begin_pass()
    assert stock.lacking({("db", None): 1}, ZONES) == {}


def test_a_point_of_priority_is_worth_a_minute():
    minute = timedelta(minutes=1)
    assert turn(T0, 0) == T0
    assert turn(T0 + minute, 1) == turn(T0, 0)
    assert turn(T0 + 59 * minute, 60) < turn(T0, 0) < turn(T0 + 61 * minute, 60)


@given(
    mine=st.integers(-1000, 1000),
    other=st.integers(-1000, 1000),
    later=st.timedeltas(timedelta(0), timedelta(days=3)),
)
def test_who_comes_late_enough_cannot_overtake(mine, other, later):
    overtakes = turn(T0 + later, other) < turn(T0, mine)
    assert overtakes == (later < (other - mine) * WORTH)


# ---------------------------------------------------------------- a model of whole passes


@dataclass
class Waiter:
    """As the engine has one: it knows its needs, since when it waits, and how long it runs."""

    name: int
    since: datetime
    priority: int
    wanted: dict[str, int]
    takes: timedelta
    began: datetime | None = None

    def key(self):
        return turn(self.since, self.priority), self.name


def a_pass(stock: Stock, waiting: list[Waiter], now: datetime) -> list[Waiter]:
    """What `Placing.consider` does with zones; returns who may begin."""
    stock.begin_pass()
    begun = []
    for each in sorted(waiting, key=Waiter.key):
        units = needs(each.wanted, ZONES)
        lacking = stock.lacking(units, ZONES)
        if not lacking:
            stock.take(units)
            each.began = now
            begun.append(each)
            continue
        stock.keep(units, units if now - each.since >= PATIENCE else lacking)
    return begun


WANTED = st.fixed_dictionaries({}, optional={"db": st.integers(1, 2), "net": st.integers(1, 3)}).filter(bool)


@given(
    priority=st.integers(-5, 5),
    mine=WANTED,
    rivals=st.lists(st.tuples(WANTED, st.integers(-5, 5), st.integers(1, 4)), min_size=1, max_size=6),
)
@settings(max_examples=50)
def test_nobody_starves_however_many_come_and_whatever_they_need(priority, mine, rivals):
    """Rivals come without end, one each minute, so that both zones are always in demand."""
    minute = timedelta(minutes=1)
    me = Waiter(name=-1, since=T0, priority=priority, wanted=mine, takes=minute)
    stock, waiting, running = Stock(), [me], []
    stock.take(needs({"db": 2, "net": 3}, ZONES))
    # Those who may be before me come within ten minutes; after that and my patience nobody passes, and they end.
    bound = 10 * WORTH + PATIENCE + (10 + 2) * timedelta(minutes=4)
    now = T0
    while me.began is None:
        assert now - T0 <= bound
        name = (now - T0) // minute
        wanted, of_rival, minutes = rivals[name % len(rivals)]
        waiting.append(Waiter(name=name, since=now, priority=of_rival, wanted=wanted, takes=minutes * minute))
        if now == T0 + 3 * minute:
            stock.give(needs({"db": 2, "net": 3}, ZONES))
        for each in [each for each in running if each.began + each.takes <= now]:
            running.remove(each)
            stock.give(needs(each.wanted, ZONES))
        begun = a_pass(stock, waiting, now)
        running += begun
        waiting = [each for each in waiting if each.began is None]
        assert all(stock.taken[name, None] <= zone.capacity for name, zone in ZONES.items())
        now += minute
