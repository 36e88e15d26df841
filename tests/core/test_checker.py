"""The checker itself on trial: a clean history is clean, and every fault that is planted into it is found."""

from __future__ import annotations

import random  # noqa: TID251  seeded
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.checker import Case, Execution, Plan, check, digest, read_notes

SECOND = timedelta(seconds=1)
START = datetime(2026, 11, 21, 3, 0, 0, tzinfo=UTC)
STOP = START + timedelta(minutes=2)
PLANS = (
    Plan("each", every=2 * SECOND),
    Plan("pair", every=7 * SECOND, targets=2, alone=True),
    Plan("minutely", cron="* * * * *"),
    Plan("queued", every=5 * SECOND, merges=True),
    Plan("plain", every=6 * SECOND, durable=False),
)


@dataclass(slots=True)
class History:
    """A clean trial in lists that a fault may change."""

    executions: list[Execution] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)
    recorded: dict[str, str] = field(default_factory=dict)
    outages: list[tuple[datetime, datetime]] = field(default_factory=list)

    def case(self, **changes: Any) -> Case:
        facts = {"runs": self.runs, "said": self.said, "recorded": self.recorded, "outages": self.outages}
        return Case(PLANS, START, STOP, self.executions, **(facts | changes))

    def pick(self, chance: random.Random, job: str = "each") -> int:
        return chance.choice([index for index, each in enumerate(self.executions) if each.job == job])

    def run_of(self, index: int) -> dict[str, Any]:
        return next(run for run in self.runs if run["id"] == self.executions[index].run)


def history() -> History:
    made = History()
    for plan in PLANS:
        for instant in plan.due(START, STOP):
            _happen(made, plan, instant)
    return made


def _happen(made: History, plan: Plan, instant: datetime) -> None:
    run = f"{plan.job}@{instant:%Y%m%dT%H%M%SZ}-0123456789"
    targets = []
    for index in range(plan.targets):
        attempt, node = f"{run}.{index}.1", f"n{index}"
        began = instant + timedelta(milliseconds=3)
        made.executions.append(Execution(run, attempt, node, instant, began, began + SECOND, 0))
        made.said[attempt] = made.recorded[attempt] = digest(attempt.encode())
        tried = [{"number": 1, "node": node, "outcome": "success", "exit_code": 0}]
        targets.append({"index": index, "outcome": "success", "attempts": tried})
    made.runs.append(
        {
            "id": run,
            "job": plan.job,
            "scheduled_at": instant.isoformat(),
            "state": "finished",
            "outcome": "success",
            "reason": None,
            "targets": targets,
        }
    )


# ---------------------------------------------------------------- faults, each with the kind it must be found as


def lose(made: History, chance: random.Random) -> None:
    made.executions.pop(made.pick(chance))


def lose_one_target(made: History, chance: random.Random) -> None:
    made.executions.pop(made.pick(chance, "pair"))


def lose_a_cron_minute(made: History, chance: random.Random) -> None:
    made.executions.pop(made.pick(chance, "minutely"))


def lose_what_may_merge(made: History, chance: random.Random) -> None:
    index = made.pick(chance, "queued")
    made.runs.remove(made.run_of(index))
    made.executions.pop(index)


def lose_a_plain_one(made: History, chance: random.Random) -> None:
    index = made.pick(chance, "plain")
    made.run_of(index).update(outcome="missed", reason="unreachable", targets=[])
    made.executions.pop(index)


def call_a_durable_one_lost(made: History, chance: random.Random) -> None:
    made.run_of(made.pick(chance))["targets"][0]["attempts"][0].update(outcome="lost", exit_code=None)


def shift(by: timedelta) -> Callable[[History, random.Random], None]:
    def fault(made: History, chance: random.Random) -> None:
        index = made.pick(chance)
        each = made.executions[index]
        made.executions[index] = replace(each, started=each.started + by, ended=each.started + by + SECOND)

    return fault


def twice_in_one_attempt(made: History, chance: random.Random) -> None:
    each = made.executions[made.pick(chance)]
    assert each.ended is not None
    made.executions.append(replace(each, started=each.ended + SECOND, ended=each.ended + 2 * SECOND))


def twice_by_a_second_attempt(made: History, chance: random.Random) -> None:
    each = made.executions[made.pick(chance)]
    again = each.started + 2 * SECOND
    made.executions.append(replace(each, attempt=f"{each.run}.0.2", started=again, ended=again + SECOND))


def pair_on_one_node(made: History, chance: random.Random) -> None:
    index = made.pick(chance, "pair")
    made.executions[index] = replace(made.executions[index], node="n0" if made.executions[index].node == "n1" else "n1")


def overlap_with_the_next(made: History, chance: random.Random) -> None:
    index = chance.choice([at for at, each in enumerate(made.executions) if each.job == "pair"][:-2])
    made.executions[index] = replace(made.executions[index], ended=made.executions[index].started + 10 * SECOND)


def run_off_schedule(made: History, chance: random.Random) -> None:
    each = made.executions[made.pick(chance)]
    odd = each.scheduled + SECOND
    run = f"each@{odd:%Y%m%dT%H%M%SZ}-0123456789"
    made.executions.append(replace(each, run=run, attempt=f"{run}.0.1", scheduled=odd))


def run_an_unknown_job(made: History, chance: random.Random) -> None:
    each = made.executions[made.pick(chance)]
    made.executions.append(replace(each, run="stranger@x", attempt="stranger@x.0.1"))


def never_end(made: History, chance: random.Random) -> None:
    index = made.pick(chance)
    made.executions[index] = replace(made.executions[index], ended=None, code=None)


def forget_a_report(made: History, chance: random.Random) -> None:
    made.runs.remove(made.run_of(made.pick(chance)))


def claim_a_success_that_never_began(made: History, chance: random.Random) -> None:
    made.executions.pop(made.pick(chance))


def claim_a_success_of_a_failure(made: History, chance: random.Random) -> None:
    index = made.pick(chance)
    made.executions[index] = replace(made.executions[index], code=3)


def tell_another_exit_code(made: History, chance: random.Random) -> None:
    made.run_of(made.pick(chance))["targets"][0]["attempts"][0]["exit_code"] = 1


def tell_another_node(made: History, chance: random.Random) -> None:
    made.run_of(made.pick(chance))["targets"][0]["attempts"][0]["node"] = "elsewhere"


def call_a_run_better_than_its_targets(made: History, chance: random.Random) -> None:
    made.run_of(made.pick(chance))["targets"][0]["outcome"] = "lost"


def give_no_reason(made: History, chance: random.Random) -> None:
    made.run_of(made.pick(chance))["outcome"] = "missed"


def lose_output(made: History, chance: random.Random) -> None:
    del made.recorded[made.executions[made.pick(chance)].attempt]


def repeat_output(made: History, chance: random.Random) -> None:
    attempt = made.executions[made.pick(chance)].attempt
    made.recorded[attempt] = digest(attempt.encode() * 2)


FAULTS = [
    (lose, "lost"),
    (lose_one_target, "lost"),
    (lose_a_cron_minute, "lost"),
    (lose_what_may_merge, "lost"),
    (lose_a_plain_one, "lost"),
    (call_a_durable_one_lost, "report_wrong"),
    (shift(5 * SECOND), "late"),
    (shift(5 * SECOND), "lost"),
    (shift(-SECOND), "early"),
    (shift(-timedelta(milliseconds=4)), "early"),
    (twice_in_one_attempt, "duplicated"),
    (twice_by_a_second_attempt, "duplicated"),
    (pair_on_one_node, "duplicated"),
    (overlap_with_the_next, "overlapping"),
    (run_off_schedule, "unexplained"),
    (run_an_unknown_job, "unexplained"),
    (never_end, "unfinished"),
    (forget_a_report, "report_lost"),
    (claim_a_success_that_never_began, "report_extra"),
    (claim_a_success_of_a_failure, "report_wrong"),
    (tell_another_exit_code, "report_wrong"),
    (tell_another_node, "report_wrong"),
    (call_a_run_better_than_its_targets, "report_wrong"),
    (give_no_reason, "report_wrong"),
    (lose_output, "output_wrong"),
    (repeat_output, "output_wrong"),
]


def test_a_clean_history_is_clean():
    verdict = check(history().case())
    assert verdict.is_clean, verdict
    assert verdict.counts == {"occurrences": 123, "executions": 140, "reports": 123, "attempts": 140, "outputs": 140}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("fault", "kind"), FAULTS, ids=[f"{fault.__name__}-{kind}" for fault, kind in FAULTS])
def test_a_planted_fault_is_found(fault, kind, seed):
    made = history()
    fault(made, random.Random(seed))
    assert check(made.case()).found[kind]


def test_without_reports_the_nodes_alone_are_judged():
    verdict = check(history().case(runs=(), recorded={}, is_reported=False))
    assert verdict.is_clean, verdict


def test_an_occurrence_that_joined_another_is_explained_by_its_report():
    made = history()
    index = made.pick(random.Random(1), "queued")
    made.run_of(index).update(outcome="skipped", reason="coalesced", targets=[])
    made.executions.pop(index)
    assert check(made.case()).is_clean


def test_a_plain_command_may_be_lost_if_that_is_what_is_told():
    made = history()
    index = made.pick(random.Random(1), "plain")
    run = made.run_of(index)
    run.update(outcome="lost", reason="connection_lost")
    run["targets"][0].update(outcome="lost")
    run["targets"][0]["attempts"][0].update(outcome="lost", exit_code=None)
    assert check(made.case()).is_clean
    made.executions.pop(index)
    assert check(made.case()).is_clean


def test_a_late_start_is_excused_by_an_outage_and_by_nothing_else():
    made = history()
    index = next(at for at, each in enumerate(made.executions) if each.job == "each")
    each = made.executions[index]
    late = each.scheduled + timedelta(seconds=30)
    made.executions[index] = replace(each, started=late, ended=late + SECOND)
    assert not check(made.case()).is_clean
    made.outages = [(each.scheduled - SECOND, late - SECOND)]
    assert check(made.case()).is_clean
    made.outages = [(each.scheduled - SECOND, late - 10 * SECOND)]
    assert check(made.case()).found["late"]


@dataclass(slots=True)
class Outage:
    """Ten occurrences of a job that forgives two seconds, a second apart; an outage from the fourth to the eighth."""

    plan: Plan = field(default_factory=lambda: Plan("short", every=SECOND, forgives=2 * SECOND))
    made: History = field(default_factory=History)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    due: list[datetime] = field(init=False)

    def __post_init__(self) -> None:
        self.due = self.plan.due(START, START + 10 * SECOND)
        for instant in self.due:
            _happen(self.made, self.plan, instant)
        self.made.outages = [(self.due[3], self.due[7])]

    def give_up(self, index: int, *, told: bool) -> None:
        run = f"short@{self.due[index]:%Y%m%dT%H%M%SZ}-0123456789"
        report = next(each for each in self.made.runs if each["id"] == run)
        self.made.executions = [each for each in self.made.executions if each.run != run]
        if told:
            report.update(outcome="missed", reason="deadline", targets=[])
        else:
            self.made.runs.remove(report)

    def gap(self, first: int, last: int, count: int) -> None:
        span = {"from": self.due[first].isoformat(), "to": self.due[last].isoformat()}
        self.gaps.append({"job": "short", "count": count, "exact": True, "reason": "window_passed"} | span)

    def verdict(self):
        facts = {"runs": self.made.runs, "said": self.made.said, "recorded": self.made.recorded, "gaps": self.gaps}
        case = Case((self.plan,), START, START + 10 * SECOND, self.made.executions, outages=self.made.outages, **facts)
        return check(replace(case, patience=timedelta(milliseconds=500)))


def test_what_an_outage_kept_too_long_may_be_missed_if_that_is_told():
    story = Outage()
    story.give_up(3, told=True)
    assert story.verdict().is_clean
    story.give_up(4, told=False)
    assert story.verdict().found["lost"]
    story.gap(4, 4, 1)
    assert story.verdict().is_clean


def test_what_could_have_begun_in_time_must_have_begun():
    for index in (0, 6, 9):
        story = Outage()
        story.give_up(index, told=True)
        assert story.verdict().found["lost"], index


@pytest.mark.parametrize(("first", "last", "count"), [(3, 4, 1), (3, 4, 3), (2, 4, 3)])
def test_a_gap_counts_exactly_what_did_not_run(first, last, count):
    story = Outage()
    story.give_up(3, told=False)
    story.give_up(4, told=False)
    story.gap(first, last, count)
    assert story.verdict().found["report_wrong"]


def test_an_occurrence_is_counted_in_one_gap():
    story = Outage()
    story.give_up(3, told=False)
    story.gap(3, 3, 1)
    story.gap(3, 3, 1)
    assert story.verdict().found["report_wrong"]


@pytest.mark.parametrize(
    ("cron", "minutes"),
    [("* * * * *", 120), ("*/15 * * * *", 8), ("7 * * * *", 2), ("0 4 * * *", 1), ("0 4 * * 0", 0), ("0 4 21 11 6", 1)],
)
def test_the_naive_cron(cron, minutes):
    assert len(Plan("job", cron=cron).due(START, START + timedelta(hours=2))) == minutes


def test_the_naive_interval_begins_at_its_reference():
    plan = Plan("job", every=7 * SECOND, reference=START + 3 * SECOND)
    found = [(instant - START).total_seconds() for instant in plan.due(START, START + 20 * SECOND)]
    assert found == [3, 10, 17]


def test_notes_are_read_with_a_second_start_as_an_execution_of_its_own():
    lines = [
        "start each@x each@x.0.1 n0 2026-11-21T03:00:00Z 1795230000.250 -",
        "start each@x each@x.0.1 n0 2026-11-21T03:00:00Z 1795230001.250 -",
        "end each@x each@x.0.1 n0 2026-11-21T03:00:00Z 1795230002.500 7",
    ]
    first, second = read_notes(lines)
    assert (first.code, second.code) == (7, None)
    assert first.started == datetime(2026, 11, 21, 3, 0, 0, 250_000, tzinfo=UTC)
    assert (first.job, first.target, first.node) == ("each", "each@x.0", "n0")
