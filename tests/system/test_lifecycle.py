"""The daemon from the first start to the last signal: files, reloads, lives that follow each other."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.checker import moment, noting, read_ledger
from support.daemon import now, until

GOOD = {"shell_command": "echo good", "policy": {"roles": ["here"]}}
HELD = "echo begun; while ! [ -e $LEDGER/go ]; do sleep 0.05; done; echo ended"


@pytest.fixture
def here(place):
    """A place whose only node is this machine."""
    place.node("here", roles=["here"])
    return place


# ---------------------------------------------------------------- before the start


def test_missing_directories_get_one_clear_line(place):
    place.jobs.rename(place.root / "away")
    done = place.run()
    assert (done.returncode, done.stdout) == (78, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"distcrond: {place.jobs} missing: ")
    assert f"mkdir -p {place.jobs}" in line
    assert "distcrond demo" in line


def test_check_of_good_files(here):
    here.job("good", **GOOD)
    done = here.run("--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "1 job and 1 node are good, nothing wrong\n"


BAD = {
    "jobs.d/typo.json": ('{"owners": [{"name": "a", "email_address": "a@b.c"}],\n "comand": ["x"]}', 2, "command"),
    "jobs.d/broken.yaml": ("command: [a\nother: b\n", 2, ""),
    "jobs.d/cron.yaml": ('owners: [{name: a, email_address: a@b.c}]\ncommand: [x]\nschedule: "61 * * * *"\n', 3, ""),
    "jobs.d/later.yaml": ("owners: [{name: a, email_address: a@b.c}]\ncommand: [x]\nnotify: [ops]\n", 3, "not yet"),
    "nodes.d/lost.json": ('{"connection_type": "ssh",\n "conection_options": {}}', 2, "connection_options"),
}


def test_check_names_every_fault_by_file_line_and_column(here):
    for name, (text, _, _) in BAD.items():
        (here.root / name).write_text(text)
    done = here.run("--check")
    assert (done.returncode, done.stderr) == (1, "")
    *lines, count = done.stdout.splitlines()
    faults = [re.fullmatch(r"(/[^:]+):(\d+):(\d+): error: (.+)", line) for line in lines]
    assert all(faults), done.stdout
    for name, (_, line, word) in BAD.items():
        here_are = [fault for fault in faults if fault[1] == str(here.root / name) and fault[2] == str(line)]
        assert any(word in fault[4] for fault in here_are), (name, done.stdout)
    assert re.fullmatch(r"0 jobs and 1 node are good, \d+ problems", count)
    assert here.ctl("check", str(here.root), code=1).stdout == done.stdout


def test_bad_files_never_stop_the_good_ones(here):
    here.job("good", **GOOD)
    for name, (text, _, _) in BAD.items():
        (here.root / name).write_text(text)
    here.start()
    assert here.run_job("good")["outcome"] == "success"
    assert {Path(problem["file"]).name for problem in here.get("config/problems")["items"]} == {
        Path(name).name for name in BAD
    }


def test_show_config_tells_where_each_value_comes_from(here):
    (here.root / "distcrond.yaml").write_text("timezone: Europe/Berlin\nlog_level: debug\n")
    environment = here.environment | {"DISTCRON_LOG_FORMAT": "json", "DISTCRON_LOG_LEVEL": "error"}
    command = here.command("--config", str(here.root / "distcrond.yaml"), "--show-config")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert lines["timezone"] == f"Europe/Berlin  # {here.root}/distcrond.yaml:1"
    assert lines["log_format"] == "json  # environment DISTCRON_LOG_FORMAT"
    assert lines["log_level"] == "error  # environment DISTCRON_LOG_LEVEL", "the environment wins over the file"
    assert lines["jobs_directory"] == f"{here.jobs}  # flag --jobs-directory"
    assert lines["allow_no_owner"] == "false  # default"


def test_older_spellings_of_flags(here):
    here.flags = ["--jobsDirectory", str(here.jobs), "--allowNoOwner", "--healthCheckInterval", "5"]
    done = here.run("--show-config")
    assert "allow_no_owner: true  # flag --allow-no-owner" in done.stdout
    assert "health_check_interval: 5s  # flag --health-check-interval" in done.stdout


def test_failpoints_are_listed_with_where_they_are(here):
    done = here.run("--list-failpoints")
    assert (done.returncode, done.stderr) == (0, "")
    names = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert len(names) == 10
    assert names["after_intent"].startswith("(b) the intent is on the disk")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("after_intend", "no failpoint 'after_intend' (did you mean `after_intent`?)"),
        ("after_intent:0", "hit '0' is no positive number"),
    ],
)
def test_an_unknown_failpoint_is_refused_at_start(here, text, words):
    here.variables["DISTCRON_FAILPOINT"] = text
    done = here.run()
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("distcrond: DISTCRON_FAILPOINT: ")
    assert words in line


def test_a_daemon_with_a_failpoint_says_so_and_dies_there(here):
    here.job("good", **GOOD)
    here.variables["DISTCRON_FAILPOINT"] = "before_intent"
    here.start()
    assert re.search(r"WARNING DISTCRON_FAILPOINT=before_intent: .* hit 1 of: \(a\)", here.log())
    name = here.trigger("good")
    here.await_death(137)
    here.variables.clear()
    here.start()
    assert here.finished(name)["outcome"] == "success"


# ---------------------------------------------------------------- reload


def test_reload_adds_changes_and_removes_jobs(here):
    here.job("first", **GOOD)
    here.start()
    here.job("second", **GOOD)
    here.job("first", **GOOD | {"shell_command": "echo changed"})
    here.hang_up()
    until(lambda: _names(here) == {"first", "second"}, what=here.log)
    run = here.run_job("first")
    assert here.output(run["id"], "here") == b"changed\n"
    (here.jobs / "second.json").unlink()
    here.hang_up()
    until(lambda: _names(here) == {"first"}, what=here.log)
    assert here.ctl("run", "second", code=3).stdout == ""


def test_files_are_looked_at_without_being_asked(here):
    here.job("first", **GOOD)
    here.start()
    here.job("second", **GOOD)
    until(lambda: _names(here) == {"first", "second"}, what=here.log)
    (here.jobs / "second.json").unlink()
    until(lambda: _names(here) == {"first"}, what=here.log)
    assert "reloaded by files: 1 added (jobs/second), 0 changed, 0 removed, 0 problems" in here.log()


def test_half_of_a_file_is_never_in_force(here):
    """What is there for a second means something, and not what its author means."""
    here.job("first", **GOOD)
    here.job("job", **GOOD, timeout="10m")
    here.start()
    here.job("job", **GOOD)
    time.sleep(1)
    here.job("job", **GOOD, timeout="20m")
    until(lambda: "reloaded by files" in here.log(), what=here.log)
    assert here.log().count("1 changed (jobs/job)") == here.log().count("reloaded by files") == 1
    assert here.ctl("diff").returncode == 0


def test_a_reload_tells_what_changed(here):
    here.job("first", **GOOD)
    here.start()
    here.job("second", **GOOD)
    (here.jobs / "third.json").write_text('{"owners": 7')
    done = here.ctl("reload")
    # the daemon may have looked a moment before
    assert done.stdout in ("added    jobs/second\n", "")
    assert "1 problems in files" in done.stderr
    assert _names(here) == {"first", "second"}


def test_an_empty_mount_leaves_everything_in_force(here):
    for name in ("first", "second"):
        here.job(name, **GOOD)
    here.start()
    here.jobs.rename(here.root / "away")
    here.jobs.mkdir()
    told = until(lambda: here.ask("GET", "/-/healthy").document["warnings"], what=here.log)
    assert told == [f"{here.jobs}: all 2 files are gone at once"]
    assert here.run_job("first")["outcome"] == "success"
    here.ctl("reload")
    assert _names(here) == {"first", "second"}
    here.jobs.rmdir()
    (here.root / "away").rename(here.jobs)
    until(lambda: not here.ask("GET", "/-/healthy").document["warnings"], what=here.log)


def test_a_bad_edit_keeps_the_last_good_version_and_is_told(here):
    path = here.job("job", **GOOD)
    here.start()
    path.write_text('{"owners": 7')
    here.hang_up()
    [problem] = until(lambda: here.get("config/problems")["items"], what=here.log)
    assert (problem["file"], problem["active"]) == (str(path), "last_good")
    assert "; in force: its last good version" in here.log()
    assert f"refused  {path}:1:13: " in here.ctl("diff", code=1).stdout
    run = here.run_job("job")
    assert here.output(run["id"], "here") == b"good\n"
    here.job("job", **GOOD)
    here.hang_up()
    until(lambda: not here.get("config/problems")["items"], what=here.log)
    assert here.ctl("diff").stderr == "files and daemon are the same\n"


def test_a_run_ends_under_the_definition_with_which_it_began(here):
    here.job("job", shell_command=HELD, success={"exit_codes": [0]})
    here.start()
    name = here.trigger("job")
    here.await_output(name, "here", b"begun\n")
    (here.jobs / "job.json").unlink()
    here.hang_up()
    until(lambda: not _names(here), what=here.log)
    (here.ledger / "go").touch()
    assert here.finished(name)["outcome"] == "success"
    assert here.output(name, "here") == b"begun\nended\n"


# ---------------------------------------------------------------- lives


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_running_work_goes_on_and_the_next_daemon_adopts_it(place, farm, end):
    place.ssh_node("web1", farm.node(farm.host(0)).options)
    place.node("here")
    for node in ("web1", "here"):
        place.job(f"on-{node}", shell_command=noting(HELD), policy={"hosts": [node]})
    place.start()
    runs = {node: place.trigger(f"on-{node}") for node in ("web1", "here")}
    for node, name in runs.items():
        place.await_output(name, node, b"begun\n")
    took = getattr(place, end)()
    assert took is None or took < 5
    (place.ledger / "go").touch()
    until(lambda: all(each.ended for each in read_ledger(place.ledger)))
    place.start()
    for node, name in runs.items():
        run = place.finished(name)
        assert (run["outcome"], run["targets"][0]["exit_code"]) == ("success", 0)
        assert place.output(name, node) == b"begun\nended\n"
    assert len(read_ledger(place.ledger)) == 2


def test_a_second_daemon_on_the_same_state_is_refused(here):
    here.job("good", **GOOD)
    here.start()
    second = here.run("--socket", str(here.root / "other.sock"))
    assert second.returncode == 1
    assert "in use by another distcrond" in second.stderr
    assert "Traceback" not in second.stderr
    assert here.run_job("good")["outcome"] == "success", "the first goes on"


def test_a_second_daemon_on_the_same_socket_is_refused(here):
    here.start()
    second = here.run("--state-directory", str(here.root / "other"))
    assert second.returncode == 1
    assert f"another distcrond answers on {here.socket}" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_port_that_is_taken_is_told_in_a_line(here):
    here.start()
    flags = ["--state-directory", str(here.root / "other"), "--socket", str(here.root / "other.sock")]
    second = here.run(*flags, "--listen", here.url.removeprefix("http://"))
    assert second.returncode == 1
    assert "ddress already in use" in second.stderr
    assert "Traceback" not in second.stderr


def test_the_state_is_private_and_the_socket_opens_to_the_group_only(here):
    here.start()
    assert (here.root / "state").stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in (here.root / "state").iterdir())
    assert here.socket.stat().st_mode & 0o007 == 0


def test_history_survives_restarts(here):
    here.job("good", **GOOD)
    here.start()
    run = here.run_job("good")
    here.terminate()
    here.start()
    assert here.get(f"runs/{run['id']}") == run
    assert here.output(run["id"], "here") == b"good\n"


# ---------------------------------------------------------------- time


def test_what_is_older_than_the_retention_is_forgotten_backwards_too(here):
    here.job("often", **GOOD, schedule="@every 1s")
    here.job("hand", shell_command="echo by hand", policy={"roles": ["here"]})
    here.start()
    by_hand = here.run_job("hand")["id"]
    old = until(lambda: here.get("runs?q=good")["items"])[-1]["id"]
    here.terminate()
    here.variables["DISTCRON_JOURNAL__RETENTION"] = "2s"
    here.start()
    until(lambda: here.ask("GET", f"/api/v1/runs/{old}").status == 404, what=here.log)
    assert old not in {run["id"] for run in here.get("runs?q=good")["items"]}
    assert here.get(f"runs/{by_hand}")["outcome"] == "success", "its key is good for a day"
    later = until(lambda: here.get("runs?job=often&outcome=success")["items"])[0]["id"]
    until(lambda: here.ask("GET", f"/api/v1/runs/{later}").status == 404, what=here.log)
    assert len(here.all_runs("&job=often")) < 10
    assert "the journal has let go what was too old" in here.log()


def test_after_a_downtime_the_latest_runs_and_the_others_are_counted(here):
    here.job("tick", schedule="@every 1s", shell_command=noting("echo tick"), overlap="allow")
    here.job("all", schedule="@every 1s", shell_command=noting("echo all"), overlap="allow",
             catch_up={"policy": "all", "window": "5m", "max": 100})  # fmt: skip
    here.job("none", schedule="@every 1s", shell_command=noting("echo none"), overlap="allow",
             catch_up={"policy": "none"})  # fmt: skip
    here.start()
    until(lambda: _ran(here) >= {"tick", "all", "none"}, what=here.log)
    here.kill()
    down = now()
    until(lambda: now() > down + timedelta(seconds=3.5))
    up = now()
    here.start()
    ready = now()
    until(
        lambda: all(_after(here, job, ready + timedelta(seconds=1)) for job in ("tick", "all", "none")), what=here.log
    )
    missed = _instants(down + timedelta(seconds=0.1), up - timedelta(seconds=1.1))
    assert len(missed) >= 2
    ran = {
        job: {each.scheduled for each in read_ledger(here.ledger) if each.job == job} for job in ("tick", "all", "none")
    }
    assert missed <= ran["all"]
    assert not missed & ran["none"]
    assert not (missed - {max(missed)}) & ran["tick"]
    assert any(up - timedelta(seconds=1.1) <= instant <= ready for instant in ran["tick"]), "the latest one"


def test_occurrence_ids_follow_from_job_and_instant(here):
    here.job("tick", schedule={"interval": "500ms"}, command=["true"], overlap="allow")
    here.start()
    runs = until(lambda: len(found := here.all_runs("&state=finished")) >= 4 and found, what=here.log)
    for run in runs:
        instant = moment(run["scheduled_at"])
        assert instant.timestamp() % 0.5 == 0
        stamp = f"{instant:%Y%m%dT%H%M%S}" + (f".{instant:%f}" if instant.microsecond else "") + "Z"
        facts = json.dumps(["tick", run["scheduled_at"], "schedule", ""], separators=(",", ":"))
        assert run["id"] == f"tick@{stamp}-{hashlib.sha256(facts.encode()).hexdigest()[:10]}"
        assert moment(run["started_at"]) >= instant


def test_starts_are_punctual(here):
    here.job("tick", schedule="@every 1s", shell_command=noting("true"), overlap="allow")
    here.start()
    done = until(lambda: len(found := read_ledger(here.ledger)) >= 4 and found, what=here.log)
    late = sorted((each.started - each.scheduled).total_seconds() for each in done)
    assert late[0] >= 0, late
    assert late[1] < 0.5, late


def test_sigterm_ends_an_idle_daemon_at_once_and_cleans_up(here):
    here.start()
    began = time.perf_counter()
    here.terminate()
    assert time.perf_counter() - began < 5
    assert not here.socket.exists()


def _names(place) -> set[str]:
    return set(place.ctl("jobs", "-o", "name").stdout.split())


def _ran(place) -> set[str]:
    return {each.job for each in read_ledger(place.ledger)}


def _after(place, job: str, instant: datetime) -> bool:
    return any(each.job == job and each.scheduled > instant for each in read_ledger(place.ledger))


def _instants(start: datetime, stop: datetime) -> set[datetime]:
    first = start.replace(microsecond=0) + timedelta(seconds=1)
    count = int((stop - first).total_seconds()) + 1
    return {first + timedelta(seconds=index) for index in range(count)}
