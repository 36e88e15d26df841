"""Why a job ran or did not, waits or will run: the past from the ledger, the rest by the rules as they are now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from distcrond.engine.answers.why_chains import chain_facts, gate_facts
from distcrond.engine.arriving.timetable import Timetable
from distcrond.engine.desired import Desired, Group, group_of
from distcrond.engine.dispatch.health import Health
from distcrond.engine.dispatch.placing import Placing
from distcrond.engine.dispatch.rivals import remaining
from distcrond.engine.dispatch.zones import Zones
from distcrond.engine.holds import Holds
from distcrond.model.hold import Hold
from distcrond.model.ids import RunId
from distcrond.model.job import Job
from distcrond.model.ledger import Ledger
from distcrond.model.node import Node
from distcrond.model.reason import Reason
from distcrond.model.report import Document
from distcrond.model.run import Run, State
from distcrond.model.span import format_duration, format_instant, parse_instant
from distcrond.placement import NodeView, obstacle
from distcrond.ports import Clock, History, RunQuery
from distcrond.rules.deadline import admission_deadline, target_deadline
from distcrond.schedule import clock_note, due_of, muting, newest, nominal_of

_TICK = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_LOOK_BACK = timedelta(days=400)
"""How far a previous instant is looked for."""
_NAMED = 5
"""Nodes that are named in a sentence; `considered` has all."""
_DID_NOT_RUN = {reason.value: "skipped" for reason in (Reason.PAUSED, Reason.CALENDAR, Reason.DISABLED)}
"""What a gap record is called by its reason; else missed."""


@dataclass(frozen=True, slots=True)
class _Point:
    """Something considered: `verdict` is `ok`, `no` or what it is; `reason` is a word, if it stands in the way."""

    what: str
    verdict: str
    reason: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    """What is on record, and for whom it is put into words."""

    decision: str
    reason: str | None
    sentence: str
    run: Document | None = None


class Why:
    """Answers for one instant of one job, or for the job as it is now."""

    def __init__(
        self,
        *,
        clock: Clock,
        ledger: Ledger,
        history: History,
        desired: Desired,
        timetable: Timetable,
        health: Health,
        holds: Holds,
        placing: Placing,
        zones: Zones,
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._history = history
        self._desired = desired
        self._timetable = timetable
        self._health = health
        self._holds = holds
        self._placing = placing
        self._zones = zones

    async def explain(self, job: Job, at: datetime | None) -> Document:
        """`{job, at, decision, reason, considered: [{what, verdict, reason, detail}], text: [sentences]}`.

        `decision` is the outcome or state of a run, `skipped` or `missed` for a gap record, `expected` or
        `not_expected` for what is to come, `not_recorded` for what is past and unknown. Without `at` it is about the
        run that waits or runs now, else about the last record.
        """
        found = await self._on_record(job, at) or self._by_the_rules(job, at)
        points = [*self._rules(job, at), *self._others(job, at, found.run), *self._nodes(job, found.run)]
        return {
            "job": job.name,
            "at": format_instant(at or self._clock.now()),
            "decision": found.decision,
            "reason": found.reason,
            "considered": [asdict(point) for point in points],
            "text": [found.sentence, *_sentences(points)],
        }

    # ------------------------------------------------------------ on record

    async def _on_record(self, job: Job, at: datetime | None) -> _Found | None:
        run = self._open_run(job) if at is None else None
        document = await self._history.run(run.id) if run is not None else None
        document = document or await self._recorded_run(job, at)
        gap = None if run is not None else await self._recorded_gap(job, at)
        if document is None and gap is None:
            return None
        if document is None or (gap is not None and at is None and _later(gap["to"], document["scheduled_at"])):
            return _gap_found(gap or {})
        return _run_found(document)

    def _open_run(self, job: Job) -> Run | None:
        """One that waits before one that runs: it is the one that is asked about."""
        runs = [run for run in self._ledger.of_job(job.name) if run.state is not State.FINISHED]
        return min(runs, key=lambda run: (run.state is not State.WAITING, run.occurrence.due), default=None)

    async def _recorded_run(self, job: Job, at: datetime | None) -> Document | None:
        """The one of that second which is nearest; without an instant the latest."""
        begin = at and at.replace(microsecond=0)
        query = RunQuery(job=job.name, since=begin, until=begin and begin + _SECOND, limit=1 if at is None else 1000)
        runs = (await self._history.search(query)).items
        return min(runs, key=lambda run: abs(parse_instant(run["scheduled_at"]) - at) if at else _TICK, default=None)

    async def _recorded_gap(self, job: Job, at: datetime | None) -> Document | None:
        gaps = await self._history.gaps(job=job.name, since=at, until=at and at + _TICK, limit=1)
        is_meant = at is None or self._is_due(job, at) or bool(self._calendar(job, at))
        return gaps[0] if gaps and is_meant else None

    # ------------------------------------------------------------ by the rules

    def _by_the_rules(self, job: Job, at: datetime | None) -> _Found:
        now = self._clock.now()
        if at is None:
            return _Found("not_recorded", None, f"{job.name} has not run yet, and nothing of it is on record.")
        shown = format_instant(at)
        if calendar := self._calendar(job, at):
            text = f"{job.name} does not run on the day of {shown}: calendar {calendar} keeps it free."
            return _Found("not_expected", Reason.CALENDAR.value, text)
        if not self._is_due(job, at):
            decision = "not_expected" if at > now else "not_recorded"
            return _Found(decision, "not_due", f"By its schedule {job.name} is not due at {shown}.")
        if at <= now:
            return self._past(job, at, shown)
        obstacle = self._standing_in_the_way(job, at)
        if obstacle is not None:
            return _Found("not_expected", obstacle, f"{job.name} is due at {shown}, but it is {obstacle}.")
        return _Found("expected", None, f"{job.name} is due at {shown}.")

    def _past(self, job: Job, at: datetime, shown: str) -> _Found:
        mark = self._ledger.job(job.name).mark
        if not job.enabled and mark is not None and at > mark:
            return _Found("skipped", Reason.DISABLED.value, f"{job.name} was due at {shown}, but it is disabled.")
        if job.catch_up.guaranteed and mark is not None and at > mark:
            text = f"{job.name} was due at {shown} and is still to run: what was missed is made up for, oldest first."
            return _Found("expected", None, text)
        text = f"{job.name} would be due at {shown} by its present schedule, but nothing is on record: it was another"
        return _Found("not_recorded", None, f"{text} one then, or did not exist.")

    def _standing_in_the_way(self, job: Job, at: datetime) -> str | None:
        pause = self._holds.pause(job.name)
        if not job.enabled:
            return Reason.DISABLED.value
        return Reason.PAUSED.value if pause is not None and not pause.is_over(at) else None

    def _is_due(self, job: Job, at: datetime) -> bool:
        return job.schedule is not None and due_of(self._timetable.schedule(job), at) is not None

    def _calendar(self, job: Job, at: datetime) -> str:
        """Name the calendar that keeps this instant free; empty if none does."""
        return "" if job.schedule is None else muting(self._timetable.schedule(job), at)

    def _rules(self, job: Job, at: datetime | None) -> Iterator[_Point]:
        moment = at or self._clock.now()
        yield self._schedule(job, moment)
        yield _Point("enabled", "ok") if job.enabled else _Point("enabled", "no", Reason.DISABLED.value)
        pause = self._holds.pause(job.name)
        rests = pause is not None and not pause.is_over(moment)
        yield _Point("pause", "no", Reason.PAUSED.value, _words(pause)) if rests else _Point("pause", "ok")
        yield self._catch_up(job)
        yield self._overlap(job)

    def _catch_up(self, job: Job) -> _Point:
        policy = job.catch_up
        if policy.guaranteed:
            mark = self._ledger.job(job.name).mark
            reached = f", decided up to {format_instant(mark)}" if mark else ""
            return _Point("catch_up", "guaranteed", None, f"after a downtime: all, oldest first{reached}")
        window = f"{policy.policy} of the last {format_duration(policy.window)}"
        return _Point("catch_up", policy.policy.value, None, f"after a downtime: {window}, at most {policy.limit}")

    def _schedule(self, job: Job, at: datetime) -> _Point:
        if job.schedule is None:
            otherwise = "after other jobs, or when asked for" if job.after else "only when asked for"
            return _Point("schedule", "by_hand", None, f"it has no schedule and runs {otherwise}")
        schedule = self._timetable.schedule(job)
        due, following = due_of(schedule, at), schedule.next_after(at)
        previous = newest(schedule, at - _LOOK_BACK, at - _TICK, 1)
        parts = [
            f"previous {format_instant(nominal_of(schedule, previous[0]))}" if previous else "",
            f"next {format_instant(nominal_of(schedule, following))}" if following else "no next one",
            clock_note(schedule, due) if due else "",
            f"put off to {format_instant(due)}" if due and due != at else "",
        ]
        verdict = "not_due" if due is None else "due"
        return _Point("schedule", verdict, None, ", ".join(filter(None, parts)))

    def _overlap(self, job: Job) -> _Point:
        """What runs is in the way of the next one, by the rule of the job."""
        running = [
            *(_in_the_way(run) for run in self._ledger.of_job(job.name) if run.state is State.RUNNING),
            *(
                f"{left.run} (was to end; {left.node} has not said yet that nothing is left of it)"
                for left in remaining(self._ledger, self._desired, job.name)
            ),
        ]
        if not running:
            return _Point("overlap", job.overlap.value)
        return _Point("overlap", job.overlap.value, Reason.OVERLAP.value, f"running now: {', '.join(running[:_NAMED])}")

    def _others(self, job: Job, at: datetime | None, run: Document | None) -> Iterator[_Point]:
        """What other jobs have to do with it."""
        open_run = self._ledger.runs.get(RunId(run["id"])) if run is not None else None
        due = open_run.occurrence.due if open_run is not None else at or self._clock.now()
        facts = [*chain_facts(job, run, open_run), *gate_facts(job, run, due, self._ledger.job)]
        yield from (_Point(*each) for each in facts)

    # ------------------------------------------------------------ nodes

    def _nodes(self, job: Job, run: Document | None) -> Iterator[_Point]:
        """As they were for a run that is over, else as they are."""
        if run is not None and run["state"] == State.FINISHED:
            yield from _nodes_then(run)
            return
        waiting = self._ledger.runs.get(RunId(run["id"])) if run is not None else None
        if waiting is not None:
            yield from _deadlines(waiting)
        yield from self._zone_points(job, waiting)
        yield from self._nodes_now(job, waiting)

    def _zone_points(self, job: Job, run: Run | None) -> Iterator[_Point]:
        """As they are now, by what the run takes of them, or the job's next one."""
        job = run.job if run is not None else job
        for name in job.zones:
            is_there, detail = self._zones.use(job, name, None if run is None else run.id)
            verdict, reason = ("ok", None) if is_there else ("no", Reason.ZONE_FULL.value)
            yield _Point(f"zone {name}", verdict, reason, detail)

    def _nodes_now(self, job: Job, run: Run | None) -> Iterator[_Point]:
        group: Group = group_of(run) if run is not None else (job.placement, ())
        found = self._desired.candidates(group)
        for node in found.nodes:
            yield self._node(job, run, node)
        for name, reason in found.rejected.items():
            yield _Point(f"node {name}", "no", reason.value)

    def _node(self, job: Job, run: Run | None, node: Node) -> _Point:
        status, drain = self._health.status(node.name), self._holds.drain(node.name)
        refused = [target.refused[node.name] for target in run.targets if node.name in target.refused] if run else []
        view = NodeView(
            node=node,
            state=status.state,
            reason=status.reason,
            running=self._placing.running_on(node.name),
            drained=drain is not None,
            zone_full=run is not None and self._zones.is_full_on(run, node.name),
        )
        reason = obstacle(view, refused[-1] if refused else None, durable=job.durable)
        load = f"{view.running} of {node.capacity} running"
        detail = _words(drain) if drain is not None else status.detail or load
        quarantine = self._holds.quarantine(node.name)
        if reason is None and quarantine is not None:
            detail = f"{_words(quarantine)}: {quarantine.why}; it is taken if no other node can be"
            return _Point(f"node {node.name}", "last", Reason.QUARANTINED.value, detail)
        return _Point(f"node {node.name}", "ok" if reason is None else "no", reason and reason.value, detail)


def _in_the_way(run: Run) -> str:
    by = next((target.superseded_by for target in run.targets if target.superseded_by is not None), None)
    to = next((target.preempted_by for target in run.targets if target.preempted_by is not None), None)
    if by is not None:
        return f"{run.id} (being stopped, {by} takes its place)"
    return run.id if to is None else f"{run.id} (being stopped, gives way to {to})"


def _later(one: str, other: str) -> bool:
    return parse_instant(one) > parse_instant(other)


def _words(hold: Hold | None) -> str:
    if hold is None:
        return ""
    end = f"until {format_instant(hold.until)}" if hold.until else "until somebody ends it"
    return f"since {format_instant(hold.since)} by {hold.by}, {end}"


def _gap_found(gap: Document) -> _Found:
    decision = _DID_NOT_RUN.get(gap["reason"], "missed")
    count = f"{'' if gap['exact'] else 'at least '}{gap['count']}"
    span = gap["from"] if gap["from"] == gap["to"] else f"{gap['from']} to {gap['to']}"
    what = "occurrence" if gap["count"] == 1 else "occurrences"
    return _Found(decision, gap["reason"], f"{count} {what} of {gap['job']}, {span}: {decision} ({gap['reason']}).")


def _run_found(run: Document) -> _Found:
    waits = next((target for target in run["targets"] if target["state"] == State.WAITING and target["reason"]), run)
    facts = run if run["reason"] or run["outcome"] else waits
    decision = run["outcome"] or run["state"]
    because = f" ({facts['reason']})" if facts["reason"] else ""
    detail = f": {facts['detail']}" if facts["detail"] else ""
    asked = f", asked for by {run['requested_by']}" if run["requested_by"] else ""
    again = f", a rerun of {run['origin']}" if run.get("origin") else ""
    sentence = f"Run {run['id']}{again}, scheduled at {run['scheduled_at']}{asked}, is {decision}{because}{detail}."
    if run["outcome"] is None and run.get("progress"):
        sentence += f" So far: {run['progress']['text']}."
    if run.get("stuck_since"):
        sentence += f" It takes longer than it should, since {run['stuck_since']}."
    return _Found(decision, facts["reason"], sentence, run)


def _nodes_then(run: Document) -> Iterator[_Point]:
    for target in run["targets"]:
        for name, reason in target["refused"].items():
            yield _Point(f"node {name}", "no", reason)
        for attempt in target["attempts"]:
            outcome, number = attempt["outcome"] or "running", attempt["number"]
            yield _Point(f"node {attempt['node']}", outcome, attempt["reason"], f"attempt {number}")
        if target["node"] and not target["attempts"] and target["node"] not in target["refused"]:
            yield _Point(f"node {target['node']}", target["outcome"] or "", target["reason"], target["detail"])


def _deadlines(run: Run) -> Iterator[_Point]:
    ends = [target_deadline(run, target) for target in run.targets] or [admission_deadline(run)]
    latest = [end for end in ends if end is not None]
    detail = f"missed after {format_instant(min(latest))}" if latest else "it waits as long as it takes"
    yield _Point("start_deadline", "ok", None, detail)


def _sentences(points: list[_Point]) -> Iterator[str]:
    """What stands in the way, and when it is due otherwise."""
    nodes = [point for point in points if point.what.startswith("node ")]
    tried = [point for point in nodes if point.detail.startswith("attempt ")]
    for point in points:
        if point.what == "schedule":
            yield f"Schedule: {point.detail}."
        elif point.reason is not None and point not in nodes:
            yield f"{point.what.capitalize()}: {', '.join(filter(None, (point.reason, point.detail)))}."
    if tried:
        yield f"{', '.join(map(_ended, tried[:_NAMED]))}{_more(tried)}."
    free = [point for point in nodes if point.verdict == "ok"]
    if free:
        yield f"It could start on {_some(free)}."
    barred = [point for point in nodes if point not in tried and point.reason not in (None, Reason.NOT_IN_POLICY)]
    if barred:
        yield f"Not on {_some(barred)}."


def _some(points: list[_Point]) -> str:
    names = [f"{point.what.removeprefix('node ')}{f' ({point.reason})' if point.reason else ''}" for point in points]
    return ", ".join(names[:_NAMED]) + _more(points)


def _more(points: list[_Point]) -> str:
    return f" and {len(points) - _NAMED} more" if len(points) > _NAMED else ""


def _ended(attempt: _Point) -> str:
    because = f" ({attempt.reason})" if attempt.reason else ""
    return f"{attempt.detail.capitalize()} on {attempt.what.removeprefix('node ')}: {attempt.verdict}{because}"
