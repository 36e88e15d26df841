"""Validated data → Job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
from distcrond.model.policy import OnNodeLost, Overlap
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
    draft = Job(name=name, definition="", command=_NOTHING if command is None else command)
    job = _with_rules(_with_place(_with_times(draft, reader, options), reader), reader, options)
    if findings or command is None:
        return None
    return replace(job, definition=definition_of(data, command))


def definition_of(data: Mapping[str, Any], command: object) -> str:
    """Name a definition by its content: `sha256:` of the sorted-key JSON after defaults (CONTRACT §3).

    A script counts with its text, wherever that was read from: another text is another definition.
    """
    if isinstance(command, Script):
        data = {**data, "script": {"interpreter": command.interpreter, "source": command.source}}
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


_NOTHING = Script(interpreter=(), source="")
"""Stands in for a command that is missing while the rest of the job is looked at."""


def _check_owners(reader: Reader, options: Options) -> None:
    if options.allow_no_owner or reader.get(("owners",)) or reader.is_wrong(("owners",)):
        return
    hint = 'add "owners": [{"name": "…"}] here or in _defaults.json, or start with --allow-no-owner'
    reader.object(("owners",), "the job has no owner", hint, code="missing_owner")


def _with_times(job: Job, reader: Reader, options: Options) -> Job:
    def schedule(value: Any) -> Any:
        return parse_schedule(value, job=job.name, zone=options.zone, calendars=options.calendars)

    return replace(
        job,
        schedule=reader.take(("schedule",), schedule, None),
        timeout=reader.take(("timeout",), parse_duration, job.timeout),
        kill_grace=reader.take(("kill_grace",), parse_duration, job.kill_grace),
        connect_timeout=reader.take(("connect_timeout",), _positive_duration, job.connect_timeout),
        start_deadline=reader.take(("start_deadline",), _positive_duration, None),
        node_lost_after=reader.take(("node_lost_after",), _positive_duration, job.node_lost_after),
        catch_up=parse_catch_up(reader),
    )


def _with_place(job: Job, reader: Reader) -> Job:
    placement = parse_policy(reader)
    return replace(
        job,
        placement=placement,
        rollout=parse_rollout(reader, placement.select),
        environment=reader.take(("environment",), dict, {}),
        secrets=_secrets(reader),
        working_directory=reader.take(("working_directory",), str, None),
        umask=reader.take(("umask",), _octal, None),
        run_as=reader.take(("run_as",), str, None),
    )


def _with_rules(job: Job, reader: Reader, options: Options) -> Job:
    return replace(
        job,
        description=reader.take(("description",), str, ""),
        owners=reader.take(("owners",), _owners, ()),
        success=_success(reader),
        overlap=reader.take(("overlap",), Overlap, job.overlap),
        retry=parse_retry(reader, job.placement),
        output=OutputPolicy(
            streams=reader.take(("output", "streams"), Streams, job.output.streams),
            max_bytes=reader.take(("output", "max_bytes"), int, job.output.max_bytes),
            retention=reader.take(("output", "retention"), _retention, None),
        ),
        durable=reader.take(("durable",), bool, job.durable),
        on_node_lost=_on_node_lost(reader),
        idempotent=reader.take(("idempotent",), bool, job.idempotent),
        after=reader.take(("after",), parse_after, None),
        requires=reader.take(("requires",), parse_requires, ()),
        zones=reader.take(("zones",), lambda wanted: parse_units(wanted, options.zones), {}),
        priority=reader.take(("priority",), int, job.priority),
        enabled=reader.take(("enabled",), bool, job.enabled),
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
