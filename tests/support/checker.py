"""Judges a scheduler by what its commands wrote on the nodes; fed with files only, and shares no code with it.

Every test command appends one line to its node's ledger when it starts and one when it ends, each on the disk before it
goes on (`noting` makes such a command). A `Plan` says by naive arithmetic which occurrences were due. `check` compares
the two in the way of Jepsen's analysis of Chronos: by time alone, without believing a word of the scheduler, and then
by the ids that the lines carry. What the scheduler reports is not believed either: it is a third file to be judged.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

KINDS = (
    "lost", "late", "early", "duplicated", "overlapping", "unexplained", "unfinished",
    "report_lost", "report_extra", "report_wrong", "output_wrong",
)  # fmt: skip
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTE = r"""
note() {
  set -- "$1 $DISTCRON_RUN_ID $DISTCRON_ATTEMPT_ID $DISTCRON_NODE $DISTCRON_SCHEDULED_AT $(date +%s.%N) $2"
  printf '%s\n' "$1" |
    dd of="$LEDGER/$DISTCRON_NODE.notes" oflag=append conv=notrunc,fsync status=none
}
said=$LEDGER/$DISTCRON_ATTEMPT_ID
note start -
"""


def noting(body: str, code: int = 0) -> str:
    """A shell command that runs `body`, keeps what it printed beside the ledger, and exits with `code`."""
    return f'{_NOTE}{{ {body}\n}} | tee "$said"\nmv "$said" "$said.said"\nnote end {code}\nexit {code}\n'


# ---------------------------------------------------------------- what is compared


@dataclass(frozen=True, slots=True)
class Plan:
    """A job as the oracle sees it.

    `every` and `reference` or `cron` (five fields of `*`, `*/n` and numbers, in UTC) say when; `targets` on how many
    nodes. `merges`: newer occurrences may join a waiting one, or only the latest of a downtime runs: then an occurrence
    without execution is no loss as long as the reports explain it. `alone`: executions on one node must not overlap.
    `durable`: without it, `lost` is a true answer, which says that nobody can know. `forgives`: what an outage kept
    from beginning for so long may be given up, as long as a report or a gap record says so.
    """

    job: str
    every: timedelta | None = None
    reference: datetime = EPOCH
    cron: str = ""
    targets: int = 1
    merges: bool = False
    alone: bool = False
    durable: bool = True
    forgives: timedelta | None = None

    def due(self, start: datetime, stop: datetime) -> list[datetime]:
        """Instants from `start`, before `stop`."""
        return list(self._by_interval(start, stop) if self.every else self._by_cron(start, stop))

    def _by_interval(self, start: datetime, stop: datetime) -> Iterator[datetime]:
        assert self.every is not None
        instant = self.reference
        instant += (start - self.reference) // self.every * self.every
        while instant < stop:
            if instant >= start:
                yield instant
            instant += self.every

    def _by_cron(self, start: datetime, stop: datetime) -> Iterator[datetime]:
        instant = start.replace(second=0, microsecond=0)
        while instant < stop:
            facts = (instant.minute, instant.hour, instant.day, instant.month, instant.isoweekday() % 7)
            fits = all(_fits(field, fact) for field, fact in zip(self.cron.split(), facts, strict=True))
            if fits and instant >= start:
                yield instant
            instant += timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Execution:
    """A command that began on a node, by the node's own lines; `ended` and `code` are None if it did not end."""

    run: str
    attempt: str
    node: str
    scheduled: datetime
    started: datetime
    ended: datetime | None = None
    code: int | None = None

    @property
    def job(self) -> str:
        return self.run.split("@")[0]

    @property
    def target(self) -> str:
        """What may be executed once: run and target, whichever attempt it is."""
        return self.attempt.rsplit(".", 1)[0]


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that is known of one trial.

    `runs` are run documents and `gaps` counted gap records as the scheduler reports them; `recorded` is the output that
    it kept and `said` what commands printed, both as attempt → sha256. `outages` are the spans in which the scheduler
    was down: nothing needs to start before the last of them that follows without a pause of `patience`.
    """

    plans: Sequence[Plan]
    start: datetime
    stop: datetime
    executions: Sequence[Execution] = ()
    runs: Sequence[Mapping[str, Any]] = ()
    gaps: Sequence[Mapping[str, Any]] = ()
    recorded: Mapping[str, str] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)
    outages: Sequence[tuple[datetime, datetime]] = ()
    patience: timedelta = timedelta(seconds=2)
    is_reported: bool = True


@dataclass(slots=True)
class Verdict:
    """What was found, by kind, and how much there was to find it in."""

    found: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def is_clean(self) -> bool:
        return not any(self.found.values())

    def add(self, kind: str, text: object) -> None:
        self.found[kind].append(str(text))

    def __str__(self) -> str:
        numbers = ", ".join(f"{kind} {len(texts)}" for kind, texts in self.found.items())
        sizes = ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items()))
        lines = [f"  {kind}: {text}" for kind, texts in self.found.items() for text in texts[:5]]
        return "\n".join([f"{numbers} (in {sizes})", *lines])


# ---------------------------------------------------------------- judging


def check(case: Case) -> Verdict:
    """Compare what was due, what happened and what is reported."""
    verdict = Verdict()
    for plan in case.plans:
        _check_plan(case, plan, verdict)
    _check_executions(case, verdict)
    if case.is_reported:
        _check_reports(case, verdict)
    return verdict


def _check_plan(case: Case, plan: Plan, verdict: Verdict) -> None:
    due = plan.due(case.start, case.stop)
    done = [each for each in case.executions if each.job == plan.job]
    verdict.counts["occurrences"] += len(due)
    verdict.counts["executions"] += len(done)
    _match_by_time(case, plan, due, done, verdict)
    _check_gaps(case, plan, due, {each.scheduled for each in done}, verdict)
    by_instant = defaultdict(list)
    for each in done:
        by_instant[each.scheduled].append(each)
    for instant in due:
        _check_occurrence(case, plan, instant, by_instant.pop(instant, []), verdict)
    for instant, extra in by_instant.items():
        if case.start <= instant < case.stop:
            verdict.add("unexplained", f"{plan.job} was not due at {instant}: {extra[0].attempt}")


def _match_by_time(
    case: Case, plan: Plan, due: Sequence[datetime], done: Sequence[Execution], verdict: Verdict
) -> None:
    """Every occurrence takes the first executions that nobody took and that began in its window."""
    if plan.merges or plan.forgives is not None or not plan.durable:
        return
    free = sorted(done, key=lambda each: each.started)
    for instant in due:
        limit = deadline(case, instant)
        taken = [each for each in free if instant <= each.started <= limit][: plan.targets]
        free = [each for each in free if each not in taken]
        if len(taken) < plan.targets:
            verdict.add("lost", f"{plan.job} {instant}: {len(taken)} of {plan.targets} began until {limit}")


def _check_occurrence(case: Case, plan: Plan, instant: datetime, done: Sequence[Execution], verdict: Verdict) -> None:
    name = f"{plan.job} {instant}"
    if len(done) < plan.targets and not (not done and _explained(case, plan, instant)):
        verdict.add("lost", f"{name}: {len(done)} of {plan.targets}")
    nodes = Counter(each.node for each in done)
    if len(done) > plan.targets or any(count > 1 for count in nodes.values()):
        verdict.add("duplicated", f"{name}: {len(done)} instead of {plan.targets} on {dict(nodes)}")
    for each in done:
        if each.started < instant:
            verdict.add("early", f"{each.attempt} by {instant - each.started}")
        if not plan.merges and each.started > deadline(case, instant):
            verdict.add("late", f"{each.attempt} by {each.started - instant}")


def deadline(case: Case, instant: datetime) -> datetime:
    """Until when an occurrence must have begun: in time, or soon after the outage in which it fell."""
    limit = instant + case.patience
    for begin, end in sorted(case.outages):
        if begin <= limit and end >= instant:
            limit = max(limit, end + case.patience)
    return limit


def _explained(case: Case, plan: Plan, instant: datetime) -> bool:
    """Whether a report says why an occurrence did not run; a gap is counted over a span and is not in the runs."""
    is_forgiven = _is_forgiven(case, plan, instant)
    good = (["skipped", "missed"] if plan.merges else []) + ([] if plan.durable else ["lost"])
    good += ["missed"] if is_forgiven else []
    reports = [run for run in case.runs if run["job"] == plan.job and moment(run["scheduled_at"]) == instant]
    if reports:
        return reports[0]["outcome"] in good and bool(reports[0]["reason"])
    if is_forgiven and any(_covers(gap, plan, instant) for gap in case.gaps):
        return True
    return plan.merges and any(begin <= instant + case.patience and end >= instant for begin, end in case.outages)


def _is_forgiven(case: Case, plan: Plan, instant: datetime) -> bool:
    """Whether the scheduler was down, or had just come back, when the occurrence's time was up."""
    if plan.forgives is None:
        return False
    limit = instant + plan.forgives
    return any(begin <= limit <= end + case.patience for begin, end in case.outages)


def _covers(gap: Mapping[str, Any], plan: Plan, instant: datetime) -> bool:
    return gap["job"] == plan.job and moment(gap["from"]) <= instant <= moment(gap["to"])


def _check_gaps(case: Case, plan: Plan, due: Sequence[datetime], ran: AbstractSet[datetime], verdict: Verdict) -> None:
    """A gap counts what did not run: no more, no less, and each once."""
    counted: Counter[datetime] = Counter()
    for gap in case.gaps:
        inside = [instant for instant in due if _covers(gap, plan, instant)]
        counted.update(inside)
        verdict.counts[f"gapped by {gap['reason']}"] += len(inside)
        is_whole = case.start <= moment(gap["from"]) and moment(gap["to"]) < case.stop
        if gap["job"] == plan.job and is_whole and gap["count"] != len(inside):
            verdict.add("report_wrong", f"{plan.job}: a gap counts {gap['count']} instead of {len(inside)}")
    for instant, count in counted.items():
        if count > 1 or instant in ran:
            verdict.add("report_wrong", f"{plan.job} {instant}: in {count} gaps, ran: {instant in ran}")


def _check_executions(case: Case, verdict: Verdict) -> None:
    alone = {plan.job for plan in case.plans if plan.alone}
    known = {plan.job for plan in case.plans}
    targets, places = defaultdict(list), defaultdict(list)
    for each in case.executions:
        if each.job not in known:
            verdict.add("unexplained", f"nobody planned {each.attempt}")
        if each.ended is None:
            verdict.add("unfinished", each.attempt)
        targets[each.target].append(each)
        if each.job in alone:
            places[each.job, each.node].append(each)
    for target, tries in targets.items():
        if len({each.attempt for each in tries}) < len(tries):
            verdict.add("duplicated", f"{target} began {len(tries)} times")
    for group in (*targets.values(), *places.values()):
        _check_overlap(group, verdict)


def _check_overlap(group: Sequence[Execution], verdict: Verdict) -> None:
    ordered = sorted(group, key=lambda each: each.started)
    for before, after in pairwise(ordered):
        if before.ended is None or before.ended > after.started:
            verdict.add("overlapping", f"{before.attempt} and {after.attempt}")


def _check_reports(case: Case, verdict: Verdict) -> None:
    """What is reported of an attempt must be what its node wrote: no more, no less, nothing else."""
    jobs = {plan.job for plan in case.plans}
    fragile = {plan.job for plan in case.plans if not plan.durable}
    done = {each.attempt: each for each in case.executions}
    told: dict[str, Mapping[str, Any]] = {}
    for run in (run for run in case.runs if run["job"] in jobs):
        verdict.counts["reports"] += 1
        if run["state"] == "finished":
            _check_run(run, verdict)
        for target in run["targets"]:
            for attempt in target["attempts"]:
                told[f"{run['id']}.{target['index']}.{attempt['number']}"] = attempt
    for name, attempt in told.items():
        if attempt["outcome"] == "lost" and name.split("@")[0] in fragile:
            verdict.counts["truly lost"] += 1
            continue
        _check_attempt(case, name, attempt, done.get(name), verdict)
    for name, each in done.items():
        if name not in told and each.job in jobs:
            verdict.add("report_lost", name)
    verdict.counts["attempts"] += len(told)


def _check_run(run: Mapping[str, Any], verdict: Verdict) -> None:
    outcomes = {target["outcome"] for target in run["targets"]}
    if run["outcome"] == "success" and outcomes != {"success"}:
        verdict.add("report_wrong", f"{run['id']} is a success of {outcomes or 'nothing'}")
    if run["outcome"] != "success" and not run["reason"]:
        verdict.add("report_wrong", f"{run['id']} is {run['outcome']} without a reason")


def _check_attempt(case: Case, name: str, attempt: Mapping[str, Any], done: Execution | None, verdict: Verdict) -> None:
    if attempt["outcome"] is None:
        return
    if done is None:
        if attempt["outcome"] in ("success", "failure"):
            verdict.add("report_extra", f"{name} is {attempt['outcome']}, but never began")
        return
    truth = {None: "lost", 0: "success"}.get(done.code, "failure")
    facts = (attempt["outcome"], attempt["exit_code"], attempt["node"])
    if facts != (truth, done.code, done.node):
        verdict.add("report_wrong", f"{name}: {facts} instead of {(truth, done.code, done.node)}")
    if name in case.said and case.recorded.get(name) != case.said[name]:
        verdict.add("output_wrong", name)
    verdict.counts["outputs"] += name in case.said


def _fits(text: str, fact: int) -> bool:
    if text == "*":
        return True
    if text.startswith("*/"):
        return fact % int(text[2:]) == 0
    return fact == int(text)


# ---------------------------------------------------------------- files


def read_ledger(directory: Path) -> list[Execution]:
    """The executions that nodes noted.

    A line tells its attempt; a second `start` of the same one is an execution of its own.
    """
    found: list[Execution] = []
    for path in sorted(directory.glob("*.notes")):
        found += read_notes(path.read_text().splitlines())
    return found


def read_notes(lines: Iterable[str]) -> list[Execution]:
    """The executions that the lines of one node tell."""
    found: list[Execution] = []
    open_ones: dict[str, list[int]] = defaultdict(list)
    for line in lines:
        word, run, attempt, node, scheduled, seconds, code = line.split()
        instant = datetime.fromtimestamp(float(seconds), UTC)
        if word == "start":
            open_ones[attempt].append(len(found))
            found.append(Execution(run, attempt, node, moment(scheduled), instant))
        else:
            index = open_ones[attempt].pop(0)
            began = found[index]
            found[index] = Execution(run, attempt, node, began.scheduled, began.started, instant, int(code))
    return found


def read_said(directory: Path) -> dict[str, str]:
    """What commands printed: attempt → sha256."""
    return {path.name.removesuffix(".said"): digest(path.read_bytes()) for path in directory.glob("*.said")}


def read_reports(path: Path) -> list[Mapping[str, Any]]:
    """The run documents of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def digest(data: bytes) -> str:
    """How outputs are compared."""
    return hashlib.sha256(data).hexdigest()


def moment(text: str) -> datetime:
    """Read an instant of RFC 3339."""
    return datetime.fromisoformat(text)
