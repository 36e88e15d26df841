"""What is counted, and what a scrape of many jobs costs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import pytest
from world import World, a_job, a_node, cron, every, once

from distcrond.api.metrics import exposition
from distcrond.engine.telling import figures
from distcrond.engine.telling.metrics import Family, Sample
from distcrond.model.run import Exit
from distcrond.testing import Script


def shown(families: Iterable[Family]) -> dict[str, str]:
    lines = [line for text in exposition(families) for line in text.splitlines()]
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def scrape(world: World) -> dict[str, str]:
    return shown(world.engine.queries.metrics())


async def test_runs_are_counted_once_by_job_and_outcome(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=3)))
    world.executor.script(Script(exit=Exit(code=1)), job="bad")
    jobs = [a_job("good", every(minutes=1)), a_job("bad", every(minutes=2)), a_job("never")]
    await world.start(*jobs, a_node("a"))
    await world.until(minutes=4, seconds=30)
    seen = scrape(world)
    assert seen['distcrond_runs_total{job_name="good",outcome="success"}'] == "4"
    assert seen['distcrond_runs_total{job_name="bad",outcome="failure"}'] == "2"
    assert seen['distcrond_runs_total{job_name="never",outcome="success"}'] == "0"
    assert (seen['distcrond_job_failing{job_name="bad"}'], seen['distcrond_job_failing{job_name="good"}']) == ("1", "0")
    assert 'distcrond_job_failing{job_name="never"}' not in seen
    assert seen["distcrond_start_lateness_seconds_count"] == "6"
    assert seen['distcrond_start_lateness_seconds_bucket{le="0.001"}'] == "6"
    assert seen['distcrond_run_duration_seconds_bucket{le="1.0"}'] == "2"
    assert seen['distcrond_run_duration_seconds_bucket{le="5.0"}'] == "6"
    assert float(seen["distcrond_run_duration_seconds_sum"]) == pytest.approx(4 * 3 + 2 * 1)
    assert float(seen['distcrond_job_last_success_timestamp_seconds{job_name="good"}']) == pytest.approx(
        world.clock.now().timestamp() - 27, abs=0.1
    )


async def test_the_present_state(world: World) -> None:
    world.executor.script(Script(takes=timedelta(hours=1)))
    await world.start(a_job(schedule=once(minutes=1)), a_job("idle"), a_node("a", capacity=1))
    await world.until(minutes=2)
    seen = scrape(world)
    assert (seen["distcrond_jobs"], seen["distcrond_healthy"]) == ("2", "1")
    assert (seen['distcrond_runs_open{state="running"}'], seen['distcrond_runs_open{state="waiting"}']) == ("1", "0")
    assert (seen['distcrond_node_up{node="a"}'], seen['distcrond_node_running{node="a"}']) == ("1", "1")
    assert int(seen["distcrond_loop_lag_seconds_count"]) > 10
    assert float(seen["distcrond_loop_lag_seconds_sum"]) == pytest.approx(0)
    world.free = 1
    await world.pass_(seconds=2)
    seen = scrape(world)
    assert (seen["distcrond_healthy"], seen['distcrond_trouble{reason="disk_full"}']) == ("0", "1")
    assert seen["distcrond_disk_free_bytes"] == "1"


async def test_what_became_no_run_is_counted_by_reason(world: World) -> None:
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"))
    await world.until(minutes=1, seconds=30)
    await world.crash()
    await world.until(minutes=30)
    await world.start()
    await world.until(minutes=31, seconds=30)
    counted = {name: int(value) for name, value in scrape(world).items() if "gapped" in name}
    assert sum(counted.values()) + len(await world.runs()) == 31, "each minute is a run or counted"
    assert set(counted) == {
        f'distcrond_gapped_occurrences_total{{reason="{reason}"}}' for reason in ("window_passed", "superseded")
    }


async def test_more_jobs_than_have_names_are_counted_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MOST_JOBS", 2)
    await world.start(*[a_job(name, once(minutes=1)) for name in "abcd"], a_node("a"))
    await world.until(minutes=2)
    counted = {name: value for name, value in scrape(world).items() if "runs_total" in name and "success" in name}
    assert sum(map(int, counted.values())) == 4
    assert counted['distcrond_runs_total{job_name="(other)",outcome="success"}'] == "2"


def test_labels_are_escaped() -> None:
    family = Family("x_total", "counter", "Help.", [Sample(1, {"a": 'one "two" \\ \n three'}), Sample(0.5)])
    assert "".join(exposition([family])) == (
        '# HELP x_total Help.\n# TYPE x_total counter\nx_total{a="one \\"two\\" \\\\ \\n three"} 1\nx_total 0.5\n'
    )


def test_a_family_without_samples_has_no_lines() -> None:
    assert list(exposition([Family("x_total", "counter", "Help.", [])])) == []
