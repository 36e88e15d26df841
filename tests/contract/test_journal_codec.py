"""Values survive being stored, and every version that was ever written can be read."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import EnumType
from types import MappingProxyType, NoneType
from typing import NewType, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distcrond.errors import JournalError, JournalTooNew
from distcrond.journals import codec
from distcrond.model import event as ev
from distcrond.model.command import ShellCommand
from distcrond.model.job import Job
from distcrond.model.ledger import JobState

COMMAND = ShellCommand(text="true")
instants = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
PLAIN = {
    datetime: instants,
    date: st.dates(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    timedelta: st.timedeltas(timedelta(days=-40_000), timedelta(days=40_000)),
    time: st.times(),
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    int: st.integers(-(2**62), 2**62),
    bool: st.booleans(),
    NoneType: st.none(),
}


def values(kind):
    """Any value of a type that the model uses."""
    if kind in PLAIN:
        return PLAIN[kind]
    if isinstance(kind, NewType):
        return values(kind.__supertype__)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return st.builds(kind, **{field.name: values(hints[field.name]) for field in fields(kind)})
    if isinstance(kind, EnumType):
        return st.sampled_from(kind)
    parts = get_args(kind)
    match get_origin(kind):
        case origin if origin is tuple:
            if parts[-1] is not Ellipsis:
                return st.tuples(*map(values, parts))
            return st.lists(values(parts[0]), max_size=3).map(tuple)
        case origin if origin is frozenset:
            return st.frozensets(values(parts[0]), max_size=3)
        case origin if origin is Mapping:
            return st.dictionaries(values(parts[0]), values(parts[1]), max_size=3)
        case _:
            return st.one_of(*(values(part) for part in parts))


@pytest.mark.parametrize("kind", get_args(ev.Event), ids=lambda kind: kind.__name__)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data())
def test_every_event_survives(kind, data):
    event = data.draw(values(kind))
    assert codec.decode_event(*codec.encode_event(event)) == event


@settings(max_examples=40, deadline=None, derandomize=True)
@given(job=values(Job))
def test_every_job_survives(job):
    assert codec.decode_job(codec.encode_job(job)) == job


@settings(max_examples=40, deadline=None, derandomize=True)
@given(state=values(JobState))
def test_every_job_state_survives(state):
    assert codec.decode_state(codec.encode_state(state)) == state


def test_a_read_only_mapping_is_stored_as_what_it_shows():
    job = Job(name="a", definition="d", command=COMMAND, environment=MappingProxyType({"A": "1"}))
    assert codec.decode_job(codec.encode_job(job)).environment == {"A": "1"}


@given(moment=instants)
def test_instants_are_exact(moment):
    assert codec.from_micros(codec.to_micros(moment)) == moment


def test_an_old_job_without_a_new_field_gets_its_default():
    old = msgspec.json.decode(codec.encode_job(Job(name="a", definition="d", command=COMMAND)))
    del old["runbook_url"], old["labels"]
    job = codec.decode_job(msgspec.json.encode(old | {"field_of_tomorrow": 1}))
    assert job == Job(name="a", definition="d", command=COMMAND)


def test_old_versions_are_rewritten_step_by_step(monkeypatch):
    monkeypatch.setitem(codec.UPCASTERS, ("Stopped", 1), lambda fields: ("Stopped", 2, fields | {"why": "x"}))
    monkeypatch.setitem(codec.UPCASTERS, ("Stopped", 2), lambda fields: ("DaemonStopped", 1, {"at": fields["when"]}))
    for version in (1, 2):
        event = codec.decode_event("Stopped", version, b'{"when": "2026-11-21T03:10:00Z"}')
        assert event == ev.DaemonStopped(at=datetime(2026, 11, 21, 3, 10, tzinfo=UTC))


@pytest.mark.parametrize(("name", "version"), [("Teleported", 1), ("DaemonStopped", 2), ("DaemonStopped", 0)])
def test_what_is_newer_is_refused(name, version):
    with pytest.raises(JournalTooNew):
        codec.decode_event(name, version, b"{}")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"at": 1}', b'{"at": "2026-11-21T03:10:00Z"}', b"\xff"])
@pytest.mark.parametrize("name", ["RunClosed", "JobDefined"])
def test_damage_is_an_error_of_ours(name, body):
    with pytest.raises(JournalError):
        codec.decode_event(name, 1, body)
