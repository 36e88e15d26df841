"""Who gives way: enough, the cheapest, and nobody in vain."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcrond.placement.preempt import Tenant, victims

T0 = datetime(2026, 11, 21, tzinfo=UTC)
DB, NET = ("db", None), ("net", None)


def tenant(key, priority=0, minutes=0, **units):
    places = {DB: units.get("db", 0), NET: units.get("net", 0)}
    began = T0 + timedelta(minutes=minutes)
    return Tenant(key=key, priority=priority, began=began, units={place: n for place, n in places.items() if n})


@pytest.mark.parametrize(
    ("lacking", "tenants", "chosen"),
    [
        ({}, [tenant("a", db=1)], []),
        ({DB: 0, NET: -1}, [tenant("a", db=1)], []),
        ({DB: 1}, [], None),
        ({DB: 1}, [tenant("a", net=1)], None),
        ({DB: 2}, [tenant("a", db=1)], None),
        ({DB: 1}, [tenant("a", db=1), tenant("b", net=1)], ["a"]),
        ({DB: 1}, [tenant("old", db=1), tenant("new", minutes=1, db=1)], ["new"]),
        ({DB: 1}, [tenant("low", -1, db=1), tenant("new", minutes=1, db=1)], ["low"]),
        ({DB: 2}, [tenant("small", minutes=2, db=1), tenant("large", db=2)], ["large"]),
        ({DB: 1, NET: 1}, [tenant("a", db=1), tenant("b", net=1)], ["a", "b"]),
        ({DB: 1, NET: 1}, [tenant("a", minutes=1, db=1), tenant("both", db=1, net=1)], ["both"]),
    ],
)
def test_who_gives_way(lacking, tenants, chosen):
    found = victims(lacking, tenants)
    assert (found if found is None else sorted(found)) == chosen


UNITS = st.fixed_dictionaries({"db": st.integers(0, 3), "net": st.integers(0, 3)})


@given(
    lacking=st.fixed_dictionaries({DB: st.integers(-1, 4), NET: st.integers(-1, 4)}),
    given_units=st.lists(st.tuples(UNITS, st.integers(-2, 2), st.integers(0, 9)), max_size=6),
)
def test_they_suffice_and_none_of_them_goes_in_vain(lacking, given_units):
    tenants = [tenant(key, priority, minutes, **units) for key, (units, priority, minutes) in enumerate(given_units)]

    def suffice(keys):
        return all(
            sum(each.units.get(place, 0) for each in tenants if each.key in keys) >= count
            for place, count in lacking.items()
        )

    chosen = victims(lacking, tenants)
    if chosen is None:
        assert not suffice(range(len(tenants)))
        return
    assert suffice(chosen)
    assert not any(suffice([key for key in chosen if key != one]) for one in chosen)
