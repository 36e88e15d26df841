"""The README's way, as it is written there: from a key to the answers, over a real sshd."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from support.checker import moment
from support.daemon import until

README = (Path(__file__).parents[2] / "README.md").read_text()
SETUP = README.split("## Set it up")[1].split("\n## ")[0]


def block(language: str) -> str:
    """The fenced block of that language in the set-up steps."""
    return SETUP.split(f"```{language}\n")[1].split("```")[0]


def commands(title: str) -> list[str]:
    """The indented lines of a step, without comments."""
    step = SETUP.split(f"**{title}")[1].split("**", 1)[1].split("\n**")[0].split("\n#")[0]
    return [re.sub(r"\s+#.*", "", line.strip()) for line in step.splitlines() if line.startswith("    ")]


@pytest.fixture(scope="module")
def readme(shared, farm):
    """The README's set-up with our place for /etc/distcron and a server of the farm for web1.example.com."""
    server = farm.add(1)[0]
    (shared.root / "home" / ".ssh").mkdir(mode=0o700)
    known_hosts = shared.root / "home" / ".ssh" / "known_hosts"

    def ours(text: str) -> str:
        text = text.replace("/etc/distcron/known_hosts", str(known_hosts)).replace("/etc/distcron", str(shared.root))
        return text.replace("web1.example.com", server.host).replace('"cron"', f'"{farm.user}"')

    make, keygen, copy, scan = commands("1. A key")
    subprocess.run(shlex.split(ours(make)), check=True)
    subprocess.run(shlex.split(ours(keygen)), check=True, capture_output=True)
    assert copy.startswith("ssh-copy-id ")
    with (farm.directory / "authorized_keys").open("a") as keys:
        keys.write((shared.root / "keys" / "id_ed25519.pub").read_text())
    subprocess.run(
        ours(scan).replace("keyscan", f"keyscan -p {server.port}"), shell=True, check=True, capture_output=True
    )
    assert server.known_hosts_line().split()[1] in known_hosts.read_text()
    node = json.loads(ours(block("json")))
    node["connection_options"]["ssh_host"] += f":{server.port}"
    (shared.nodes / "web1.json").write_text(json.dumps(node))
    (shared.jobs / "disk-report.yaml").write_text(block("yaml"))
    check, start = commands("4. Look")
    assert (check, start) == ("distcrond --check", "distcrond")
    assert shared.run("--check").stdout == "1 job and 1 node are good, nothing wrong\n"
    shared.start()
    shared.await_nodes(web1="up")
    shared.ctl("run", "disk-report", "--wait")
    return shared


@pytest.mark.parametrize("line", commands("5. Ask."))
def test_a_question_of_the_readme(readme, line):
    program, *words = shlex.split(line)
    assert program == "distcronctl"
    done = readme.ctl(*words)
    if "--search" in words:
        return  # what df says depends on the machine: see the next test
    assert "disk-report" in done.stdout or "Filesystem" in done.stdout


def test_output_is_found_by_its_words(readme):
    [found] = readme.ctl("runs", "--search", "Filesystem Avail", "-o", "name", "--limit", "1").stdout.split()
    assert found.startswith("disk-report@")
    assert not readme.ctl("runs", "--search", "no-such-word", "-o", "name").stdout


def test_status_answers_the_four_questions(readme):
    readme.job("long", shell_command="echo at work; sleep 300", policy={"roles": ["web"]})
    readme.job("broken", shell_command="echo broken; exit 4", policy={"roles": ["web"]})
    readme.hang_up()
    until(lambda: len(readme.get("jobs")["items"]) == 3, what=readme.log)
    readme.run_job("broken")
    run = readme.trigger("long")
    readme.await_output(run, "web1", b"at work\n")
    facts = json.loads(readme.ctl("status", "-o", "json").stdout)
    assert [each["id"] for each in facts["running"]] == [run]
    assert facts["failed"][0]["job"] == "broken"
    assert ["at work"] in [said["lines"] for said in facts["output"]]
    assert facts["usual"]["disk-report"]["durations_ms"]["p50"] > 0
    screen = readme.ctl("status").stdout
    assert re.search(r"running +long +web1", screen)
    assert re.search(r"failure +broken +web1 .* exit 4", screen)
    readme.ctl("cancel", run)
    readme.finished(run)


def test_logs_follow_a_run_to_its_end(readme):
    body = "for i in 1 2 3 4 5 6; do echo line $i; sleep 0.2; done"
    readme.job("talks", shell_command=body, policy={"roles": ["web"]})
    readme.hang_up()
    until(lambda: "talks" in readme.ctl("jobs", "-o", "name").stdout, what=readme.log)
    run = readme.trigger("talks")
    with subprocess.Popen(
        readme.ctl_command("logs", "-f", run), env=readme.environment, stdout=subprocess.PIPE, text=True
    ) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "line 1\n"
        assert readme.get(f"runs/{run}")["state"] == "running", "lines come while it runs"
        assert follower.stdout.read() == "".join(f"line {number}\n" for number in range(2, 7))
    assert follower.returncode == 0
    assert readme.ctl("logs", "talks", "-n", "2").stdout == "line 5\nline 6\n"


def test_followers_see_every_byte_once_over_kills_of_the_daemon(readme):
    body = "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); sleep 0.02; done; printf end; exit 7"
    readme.job("outlives", shell_command=body, policy={"roles": ["web"]})
    readme.hang_up()
    until(lambda: "outlives" in readme.ctl("jobs", "-o", "name").stdout, what=readme.log)
    with follow(readme, "run", "outlives", "--follow") as first:
        seen = {first: [first.stdout.readline()]}
        [run] = readme.all_runs("&job=outlives")
        with follow(readme, "logs", "-f", run["id"]) as second:
            seen[second] = []
            for lines in (40, 100):
                # Both have to be back before the daemon goes again: one that still waits sees a single absence.
                for follower, read in seen.items():
                    while len(read) < lines:
                        read.append(follower.stdout.readline())
                readme.kill()
                readme.start()
            told = {follower: (follower.stdout.read(), follower.stderr.read()) for follower in seen}
    expected = b"".join(b"line %d\n" % number for number in range(200)) + b"end"
    for follower, (rest, talk) in told.items():
        assert b"".join(seen[follower]) + rest == expected
        assert talk.count(b"distcrond is back") == 2, talk
        assert b"failure: exit 7" in talk
        assert follower.returncode == 7
    [attempt] = readme.get(f"runs/{run['id']}")["targets"][0]["attempts"]
    assert attempt["number"] == 1


def follow(place, *words: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(place.ctl_command(*words), env=place.environment, stdout=pipe, stderr=pipe)


def test_next_tells_what_the_schedule_says(readme):
    [item] = json.loads(readme.ctl("next", "--hours", "24", "-o", "json").stdout)
    instant = moment(item["due_at"])
    assert (item["job"], instant.hour, instant.minute) == ("disk-report", 4, 30)
    many = json.loads(readme.ctl("next", "disk-report", "--count", "3", "-o", "json").stdout)
    instants = [moment(each["due_at"]) for each in many]
    assert [after - before for before, after in pairwise(instants)] == [timedelta(days=1)] * 2


def test_reports_have_the_original_shape(readme):
    report = readme.get("jobs/disk-report/reports")[0]
    assert set(report) == {"job", "time", "duration", "success", "items"}
    assert (report["job"], report["success"]) == ("disk-report", True)
    assert set(report["time"]) == {"start", "stop"}
    assert set(report["duration"]) == {"milliseconds", "string"}
    took = moment(report["time"]["stop"]) - moment(report["time"]["start"])
    assert abs(took / timedelta(milliseconds=1) - report["duration"]["milliseconds"]) <= 1
    [item] = report["items"]
    assert set(item) == {"node", "time", "duration", "success", "output"}
    assert (item["node"], item["success"]) == ("web1", True)
    assert "Filesystem" in str(item["output"])


def test_unknown_names_exit_with_3_and_no_daemon_with_5(readme):
    assert "no job" in readme.ctl("run", "no-such-job", code=3).stderr
    readme.ctl("logs", "no-such-job", code=3)
    readme.ctl("cancel", "disk-report@20260101T000000Z-0123456789", code=3)
    readme.ctl("--socket", "/no/such/socket", "status", code=5)
