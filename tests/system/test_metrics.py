"""`/metrics` of a real daemon, and the alert rules over it, as Prometheus' own tool judges them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support import parts
from support.daemon import Place, until

RULES = Path(__file__).parents[2] / "etc-example/prometheus/distcrond.rules.yml"


def promtool(*words: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool")
    if found is None:
        parts.not_found("promtool", "no promtool in PATH")
    return subprocess.run([found, *words], input=text, check=False, capture_output=True, text=True, timeout=60)


def scrape(place: Place) -> str:
    answer = place.ask("GET", "/metrics")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return answer.body.decode()


def samples(text: str) -> dict[str, float]:
    """Values by name and labels."""
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


@pytest.fixture
def here(place: Place) -> Place:
    place.node("here")
    place.job("good", shell_command="true")
    place.job("bad", shell_command="exit 3")
    place.start("--storage", "plain", "--log-directory", str(place.root / "reports"))
    return place


def test_what_happened_is_counted_and_prometheus_likes_the_format(here: Place):
    for name in ("good", "good", "bad"):
        here.run_job(name)
    text = scrape(here)
    judged = promtool("check", "metrics", text=text)
    assert (judged.returncode, judged.stdout + judged.stderr) == (0, "")
    seen = samples(text)
    assert seen['distcrond_runs_total{job_name="good",outcome="success"}'] == 2
    assert seen['distcrond_runs_total{job_name="good",outcome="failure"}'] == 0
    assert seen['distcrond_runs_total{job_name="bad",outcome="failure"}'] == 1
    assert seen['distcrond_job_failing{job_name="bad"}'] == 1
    assert seen["distcrond_run_duration_seconds_count"] == 3
    assert seen['distcrond_node_up{node="here"}'] == 1
    assert seen['distcrond_outbox_up{sink="plain"}'] == 1
    assert seen["distcrond_healthy"] == 1
    assert seen['distcrond_trouble{reason="disk_full"}'] == 0
    assert seen["distcrond_journal_bytes"] > 4096
    assert seen["distcrond_disk_free_bytes"] > 0
    assert until(lambda: samples(scrape(here))["distcrond_loop_lag_seconds_count"])


def test_when_a_job_succeeded_last_outlives_a_restart(here: Place):
    here.run_job("good")
    name = 'distcrond_job_last_success_timestamp_seconds{job_name="good"}'
    before = samples(scrape(here))[name]
    assert before > 1.7e9
    here.kill()
    here.start()
    seen = samples(scrape(here))
    assert seen[name] == before
    assert seen['distcrond_runs_total{job_name="good",outcome="success"}'] == 0
    assert 'job_name="bad"' not in "".join(line for line in seen if "last_success" in line)


def test_the_alert_rules_are_rules():
    judged = promtool("check", "rules", RULES)
    assert judged.returncode == 0, judged.stderr


def test_the_alert_rules_ask_for_what_there_is(here: Place):
    there = {re.split("[{ ]", line)[0] for line in scrape(here).splitlines()}
    here.run_job("good")
    there |= {re.split("[{ ]", line)[0] for line in scrape(here).splitlines()}
    asked = set(re.findall(r"distcrond_\w+", " ".join(re.findall("expr: (.*)", RULES.read_text()))))
    assert asked <= there


def test_the_alert_rules_raise_what_they_should(tmp_path: Path):
    shutil.copy(RULES, tmp_path)
    trial = shutil.copy(Path(__file__).with_name("alerts.yml"), tmp_path)
    judged = promtool("test", "rules", trial)
    assert judged.returncode == 0, judged.stdout + judged.stderr
