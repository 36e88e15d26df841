"""Validated data → Job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from distcrond.config.faults import Finding, Wrong
from distcrond.config.parse_catch_up import parse_catch_up
from distcrond.config.parse_chain import parse_after, parse_requires
from distcrond.config.parse_command import ReadScript, parse_command
from distcrond.config.parse_policy import parse_policy
from distcrond.config.parse_retry import parse_retry
from distcrond.config.parse_rollout import parse_rollout
from distcrond.config.parse_schedule import parse_schedule
from distcrond.config.reader import Reader
from distcrond.config.zones import parse_units
from distcrond.model.command import Script
from distcrond.model.ids import JobName
from distcrond.model.job import Job, OutputPolicy, Owner, Streams, Success
from distcrond.model.policy import OnNodeLost, Overlap, PlacementPolicy
from distcrond.model.secret import SecretKind, SecretSource
from distcrond.model.span import parse_duration
from distcrond.model.spec import Calendar
from distcrond.model.zone import Zone


@dataclass(frozen=True, slots=True)
class Options:
    """What the settings say about reading jobs: may they have no owner; time zone and calendars of schedules; zones."""

    allow_no_owner: bool = False
    zone: str = "UTC"
    calendars: Mapping[str, Calendar] = field(default_factory=dict)
    zones: Mapping[str, Zone] = field(default_factory=dict)


Facts = dict[str, Any]
"""Some fields of a job. To lay each group over a Job would cost more than to read it."""


def parse_job(
    name: JobName, data: Mapping[str, Any], findings: list[Finding], *, options: Options, read_script: ReadScript
) -> Job | None:
    """Make a job of data after defaults.

    Args:
        name: the job's name.
        data: the merged data.
        findings: what the schema objects to; what is found here is added.
        options: what the settings say.
        read_script: reads the file that `script.file` names.

    Returns:
        The job, or None if there are findings.
    """
    reader = Reader(data, findings)
    _check_owners(reader, options)
    command = parse_command(reader, read_script)
    times, place = _times(_USUAL, reader, options, name), _place(reader)
    rules = _rules(_USUAL, reader, options, place["placement"])
    if findings or command is None:
        return None
    return Job(name=name, definition=definition_of(data, command), command=command, **times, **place, **rules)


def definition_of(data: Mapping[str, Any], command: object) -> str:
    """Name a definition by its content: `sha256:` of the sorted-key JSON after defaults (CONTRACT §3).

    A script counts with its text, wherever that was read from: another text is another definition.
    """
    if isinstance(command, Script):
        data = {**data, "script": {"interpreter": command.interpreter, "source": command.source}}
    return f"sha256:{hashlib.sha256(_CANONICAL.encode(data).encode()).hexdigest()}"


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
_USUAL = Job(name=JobName("usual"), definition="", command=Script(interpreter=(), source=""))
"""Says what holds where a file says nothing."""


def _check_owners(reader: Reader, options: Options) -> None:
    if options.allow_no_owner or reader.get(("owners",)) or reader.is_wrong(("owners",)):
        return
    hint = 'add "owners": [{"name": "…"}] here or in _defaults.json, or start with --allow-no-owner'
    reader.object(("owners",), "the job has no owner", hint, code="missing_owner")


def _facts(**values: Any) -> Facts:
    return values


def _times(usual: Job, reader: Reader, options: Options, name: JobName) -> Facts:
    def schedule(value: Any) -> Any:
        return parse_schedule(value, job=name, zone=options.zone, calendars=options.calendars)

    return _facts(
        schedule=reader.take(("schedule",), schedule, None),
        timeout=reader.take(("timeout",), parse_duration, usual.timeout),
        total_timeout=reader.take(("total_timeout",), parse_duration, usual.total_timeout),
        idle_timeout=reader.take(("idle_timeout",), parse_duration, usual.idle_timeout),
        deadline=_deadline(reader),
        warn_after=reader.take(("warn_after",), parse_duration, None),
        kill_grace=reader.take(("kill_grace",), parse_duration, usual.kill_grace),
        connect_timeout=reader.take(("connect_timeout",), _positive_duration, usual.connect_timeout),
        start_deadline=reader.take(("start_deadline",), _positive_duration, None),
        node_lost_after=reader.take(("node_lost_after",), _positive_duration, usual.node_lost_after),
        catch_up=parse_catch_up(reader),
    )


def _place(reader: Reader) -> Facts:
    placement = parse_policy(reader)
    return _facts(
        placement=placement,
        rollout=parse_rollout(reader, placement.select),
        environment=reader.take(("environment",), dict, {}),
        secrets=_secrets(reader),
        working_directory=reader.take(("working_directory",), str, None),
        umask=reader.take(("umask",), _octal, None),
        run_as=reader.take(("run_as",), str, None),
    )


def _rules(usual: Job, reader: Reader, options: Options, placement: PlacementPolicy) -> Facts:
    return _facts(
        description=reader.take(("description",), str, ""),
        owners=reader.take(("owners",), _owners, usual.owners),
        success=_success(reader),
        overlap=reader.take(("overlap",), Overlap, usual.overlap),
        retry=parse_retry(reader, placement),
        output=OutputPolicy(
            streams=reader.take(("output", "streams"), Streams, usual.output.streams),
            max_bytes=reader.take(("output", "max_bytes"), int, usual.output.max_bytes),
            retention=reader.take(("output", "retention"), _retention, None),
        ),
        durable=reader.take(("durable",), bool, usual.durable),
        on_node_lost=_on_node_lost(reader),
        idempotent=reader.take(("idempotent",), bool, usual.idempotent),
        after=reader.take(("after",), parse_after, None),
        requires=reader.take(("requires",), parse_requires, usual.requires),
        zones=reader.take(("zones",), lambda wanted: parse_units(wanted, options.zones), usual.zones),
        priority=reader.take(("priority",), int, usual.priority),
        preempt=reader.take(("preempt",), bool, usual.preempt),
        preemptible=reader.take(("preemptible",), bool, usual.preemptible),
        enabled=reader.take(("enabled",), bool, usual.enabled),
        labels=reader.take(("labels",), dict, {}),
        runbook_url=reader.take(("runbook_url",), str, ""),
    )


def _secrets(reader: Reader) -> Mapping[str, SecretSource]:
    both = sorted({*(reader.get(("environment",)) or {})} & {*(reader.get(("secrets",)) or {})})
    if both:
        hint = "keep one of them"
        reader.object(("secrets", both[0]), f"`{both[0]}` is in `environment` too", hint, code="conflicting_keys")
    return reader.take(("secrets",), _sources, {})


def _sources(given: Mapping[str, Mapping[str, str]]) -> Mapping[str, SecretSource]:
    """Each entry has exactly one key, the kind: so the schema has it."""
    kinds = {name: next(iter(source.items())) for name, source in given.items()}
    return {name: SecretSource(kind=SecretKind(kind), place=place) for name, (kind, place) in kinds.items()}


def _deadline(reader: Reader) -> int:
    percent = reader.take(("deadline",), lambda text: int(text.removesuffix("%")), 0)
    if percent and reader.get(("schedule",)) is None and not reader.is_wrong(("schedule",)):
        text = "the deadline is a part of the period, and the job has no schedule"
        reader.object(("deadline",), text, "write total_timeout, or a schedule", code="conflicting_keys")
    return percent


def _on_node_lost(reader: Reader) -> OnNodeLost:
    choice = reader.take(("on_node_lost",), OnNodeLost, OnNodeLost.WAIT)
    if choice is OnNodeLost.RERUN and not reader.get(("idempotent",)) and not reader.is_wrong(("idempotent",)):
        text = "`rerun` may run the command a second time while the first one still runs on the silent node"
        hint = "add `idempotent: true` if that does no harm, else write `wait` or `fail`"
        reader.object(("on_node_lost",), text, hint, code="not_idempotent")
    return choice


def _success(reader: Reader) -> Success:
    good = reader.take(("success", "exit_codes"), _codes, Success().exit_codes)
    partial = reader.take(("success", "partial_exit_codes"), _codes, Success().partial_exit_codes)
    if both := sorted(good & partial):
        reader.object(
            ("success", "partial_exit_codes"),
            f"exit code {both[0]} cannot be success and partial success",
            "keep it in one of the lists",
        )
    return Success(exit_codes=good, partial_exit_codes=partial)


def _codes(values: list[float]) -> frozenset[int]:
    return frozenset(map(int, values))


def _owners(values: list[dict[str, str]]) -> tuple[Owner, ...]:
    return tuple(Owner(**value) for value in values)


def _retention(value: str | float) -> timedelta:
    span = parse_duration(value)
    if span < timedelta(hours=1):
        raise Wrong(f"{value!r} is too short for a retention", "1h or more: what is too old is removed once an hour")
    return span


def _positive_duration(value: str | float) -> timedelta:
    span = parse_duration(value)
    if not span:
        raise Wrong("the duration must be longer than nothing", "leave it out for the default")
    return span


def _octal(text: str) -> int:
    return int(text, 8)
