"""Values ⇄ the JSON they are stored as. The only file that knows the stored shape of an event, a job or a job's state.

An event is stored as (type, version, body). A version that a release has written is read for ever: when the meaning of
a type changes, raise its number in `_VERSIONS` and add an upcaster from the old one to `UPCASTERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime, time, timedelta
from types import MappingProxyType
from typing import Any, Final, get_args, get_type_hints

import msgspec

from distcrond.errors import JournalError, JournalTooNew
from distcrond.model import event as ev
from distcrond.model.command import Argv, Command, Script, ShellCommand
from distcrond.model.job import Job
from distcrond.model.ledger import JobState
from distcrond.model.report import Document, ReportedRun, run_document
from distcrond.model.run import Run
from distcrond.model.spec import (
    CronSpec,
    DecaySpec,
    FuzzySpec,
    IntervalSpec,
    OnceSpec,
    RestrictedSpec,
    ScheduleSpec,
    UnionSpec,
)

Fields = dict[str, Any]
Stored = tuple[str, int, bytes]
"""Type, version and body of an event."""
Upcaster = Callable[[Fields], tuple[str, int, Fields]]
"""Rewrites the fields of one (type, version) into a newer one's."""

UPCASTERS: Final[dict[tuple[str, int], Upcaster]] = {}
_VERSIONS: Final[dict[str, int]] = {}  # of types whose current version is not 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_TYPES: Final[Mapping[str, type[Any]]] = MappingProxyType({cls.__name__: cls for cls in get_args(ev.Event)})
_NAMES: Final = MappingProxyType({cls: (name, _VERSIONS.get(name, 1)) for name, cls in _TYPES.items()})


def _plain(value: object) -> object:
    """Show to msgspec what it does not know: mappings that are no dict, such as a read-only view of one."""
    if isinstance(value, Mapping):
        return dict(value)
    raise NotImplementedError(f"a {type(value).__name__} cannot be stored")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)
_JOB_STATE = msgspec.json.Decoder(JobState)
_REPORTED = msgspec.json.Decoder(ReportedRun)
_KEPT = msgspec.json.Decoder(tuple[str, int, msgspec.Raw])


# ---------------------------------------------------------------- events


def encode_event(event: ev.Event) -> Stored:
    """Show an event as it is stored, in the current version of its type."""
    name, version = _NAMES[type(event)]
    if isinstance(event, ev.JobDefined):
        return name, version, _ENCODER.encode({"at": event.at, "job": _job_fields(event.job)})
    return name, version, _ENCODER.encode(event)


def decode_event(name: str, version: int, body: bytes) -> ev.Event:
    """Read a stored event of any version that this release or an older one has written.

    Raises:
        JournalTooNew: a type or version that this release does not know.
        JournalError: the body is not what the type says.
    """
    try:
        return _decode_event(name, version, body)
    except (msgspec.DecodeError, TypeError, KeyError) as error:
        raise JournalError(f"the journal holds a damaged {name} event: {error}") from error


def encode_kept(event: ev.Event) -> str:
    """Show an event as one text, for a row that keeps the latest of its kind."""
    name, version, body = encode_event(event)
    return _ENCODER.encode([name, version, msgspec.Raw(body)]).decode()


def decode_kept(text: str) -> ev.Event:
    """Read `encode_kept`.

    Raises:
        JournalTooNew, JournalError: as `decode_event`.
    """
    try:
        name, version, body = _KEPT.decode(text)
    except msgspec.DecodeError as error:
        raise JournalError(f"the journal holds a damaged event: {error}") from error
    return decode_event(name, version, bytes(body))


def _decode_event(name: str, version: int, body: bytes) -> ev.Event:
    if (name, version) in UPCASTERS:
        name, version, body = _upcast(name, version, body)
    cls = _TYPES.get(name)
    if cls is None or version != _NAMES[cls][1]:
        raise JournalTooNew(f"the journal holds an event {name} version {version}, unknown to this release")
    if cls is ev.JobDefined:
        return _decode_job_defined(body)
    event: ev.Event = _decoder(cls).decode(body)
    return event


def _upcast(name: str, version: int, body: bytes) -> Stored:
    content: Fields = msgspec.json.decode(body)
    while upcaster := UPCASTERS.get((name, version)):
        name, version, content = upcaster(content)
    return name, version, _ENCODER.encode(content)


def _decode_job_defined(body: bytes) -> ev.JobDefined:
    content: Fields = msgspec.json.decode(body)
    return ev.JobDefined(at=msgspec.convert(content["at"], datetime), job=_job(content["job"]))


_DECODERS: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def _decoder(cls: type[Any]) -> msgspec.json.Decoder[Any]:
    if cls not in _DECODERS:
        _DECODERS[cls] = msgspec.json.Decoder(cls)
    return _DECODERS[cls]


# ---------------------------------------------------------------- jobs

# msgspec cannot tell apart untagged dataclasses in a union: the stored form carries a `kind`.
_KINDS: Final[Mapping[str, type[Any]]] = MappingProxyType(
    {
        "argv": Argv,
        "shell": ShellCommand,
        "script": Script,
        "cron": CronSpec,
        "interval": IntervalSpec,
        "once": OnceSpec,
        "decay": DecaySpec,
        "fuzzy": FuzzySpec,
        "restricted": RestrictedSpec,
        "union": UnionSpec,
    }
)
_KIND_OF: Final = MappingProxyType({cls: kind for kind, cls in _KINDS.items()})


def encode_job(job: Job) -> bytes:
    """Show a job definition as it is stored."""
    return _ENCODER.encode(_job_fields(job))


def decode_job(body: bytes) -> Job:
    """Read a stored job definition.

    Raises:
        JournalError: the body is not a job.
    """
    try:
        return _job(msgspec.json.decode(body))
    except (msgspec.DecodeError, TypeError, KeyError) as error:
        raise JournalError(f"the journal holds a damaged job definition: {error}") from error


def _job_fields(job: Job) -> Fields:
    content = {field.name: getattr(job, field.name) for field in fields(job)}
    return content | {"command": _tagged(job.command), "schedule": job.schedule and _tagged(job.schedule)}


def _tagged(value: Command | ScheduleSpec) -> Fields:
    content = {field.name: getattr(value, field.name) for field in fields(value)}
    match value:
        case UnionSpec():
            content["members"] = [_tagged(member) for member in value.members]
        case RestrictedSpec():
            content["base"] = _tagged(value.base)
    return {"kind": _KIND_OF[type(value)]} | content


_JOB_TYPES = get_type_hints(Job)


def _job(content: Fields) -> Job:
    known = {name: content[name] for name in _JOB_TYPES.keys() & content.keys() - {"command", "schedule"}}
    plain = {name: msgspec.convert(value, _JOB_TYPES[name]) for name, value in known.items()}
    schedule = content["schedule"] and _untagged(content["schedule"])
    return Job(**plain, command=_untagged(content["command"]), schedule=schedule)


def _untagged(content: Fields) -> Any:
    cls = _KINDS[content["kind"]]
    if cls is UnionSpec:
        return UnionSpec(members=tuple(_untagged(member) for member in content["members"]))
    if cls is RestrictedSpec:
        return _restricted(content)
    if cls is IntervalSpec:
        return _interval(content)
    return msgspec.convert(content, cls)


_RESTRICTED_TYPES = get_type_hints(RestrictedSpec)


def _restricted(content: Fields) -> RestrictedSpec:
    known = {name: content[name] for name in _RESTRICTED_TYPES.keys() & content.keys() - {"base"}}
    plain = {name: msgspec.convert(value, _RESTRICTED_TYPES[name]) for name, value in known.items()}
    return RestrictedSpec(base=_untagged(content["base"]), **plain)


def _interval(content: Fields) -> IntervalSpec:
    """`reference` is a time of day or an instant, and msgspec refuses a union of two texts."""
    reference = content["reference"]
    kind = datetime if reference and "T" in reference else time
    return IntervalSpec(
        interval=msgspec.convert(content["interval"], timedelta),
        reference=msgspec.convert(reference, kind | None),
        timezone=content["timezone"],
    )


# ---------------------------------------------------------------- the rest


def encode_state(state: JobState) -> bytes:
    """Show what is remembered of a job as it is stored."""
    return _ENCODER.encode(state)


def decode_state(body: bytes) -> JobState:
    """Read what is remembered of a job.

    Raises:
        JournalError: the body is no job state.
    """
    try:
        return _JOB_STATE.decode(body)
    except msgspec.DecodeError as error:
        raise JournalError(f"the journal holds a damaged job state: {error}") from error


def encode_run(run: Run) -> tuple[bytes, int | None]:
    """Show a run as the API serves it, as JSON, and its duration in milliseconds."""
    document = run_document(run)
    return _ENCODER.encode(document), document["duration_ms"]


def decode_document(body: bytes) -> Document:
    """Read a document of `encode_run`."""
    document: Document = msgspec.json.decode(body)
    return document


def without_output(body: bytes) -> bytes:
    """Make a document of `encode_run` say that nothing of what the run printed is readable any more."""
    document = decode_document(body)
    for target in document["targets"]:
        for printed in (target, *target["attempts"]):
            printed["output"]["kept"] = 0
    return _ENCODER.encode(document)


def decode_reported(body: bytes) -> ReportedRun:
    """Read of such a document what reports need of it.

    Raises:
        JournalError: the body is no such document.
    """
    try:
        return _REPORTED.decode(body)
    except msgspec.DecodeError as error:
        raise JournalError(f"the journal holds a damaged run: {error}") from error


def encode_words(words: Iterable[str | int]) -> str:
    """Show texts or numbers as a JSON array, for SQLite's `json_each`."""
    return _ENCODER.encode(list(words)).decode()


def encode_numbers(numbers: Iterable[int]) -> str:
    """As `encode_words`, of numbers."""
    return _ENCODER.encode(list(numbers)).decode()


def to_micros(moment: datetime) -> int:
    """Turn an aware instant into microseconds since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Turn microseconds since 1970 into an aware UTC instant."""
    return _EPOCH + timedelta(microseconds=micros)
