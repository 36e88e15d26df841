"""How a command runs on a node, from a file to what it really saw: over real SSH and on this machine."""

from __future__ import annotations

import json
import shlex

import pytest
from support.daemon import marked, until

NODES = ["web1", "here"]
WORDS = [
    "plain",
    "",
    " two  blanks ",
    "it's",
    'a "quote"',
    "$HOME `id` $(id) \\",
    "line one\nline two\n",
    "tab\there",
    "-n",
    "--",
    "*?[a]{b,c}~",
    "; rm -rf nowhere & | > x",
    "naïve — 日本語 🚀 \u0301",
    "\x01\x1b[31m\x7f",
    "!history",
    "x" * 20_000,
]
RECORD_WORDS = 'for word do printf "%s\\0" "$word"; done'


def text_of(cluster, run) -> str:
    target = run["targets"][0]
    return cluster.output(run["id"], target["node"]).decode()


@pytest.mark.parametrize("node", NODES)
def test_words_arrive_byte_by_byte(cluster, add, node):
    add(f"words-{node}", command=["sh", "-c", RECORD_WORDS, "sh", *WORDS], policy={"hosts": [node]})
    run = cluster.run_job(f"words-{node}")
    assert run["outcome"] == "success", run
    assert text_of(cluster, run).split("\0") == [*WORDS, ""]


def test_words_of_a_yaml_file_arrive_byte_by_byte(cluster, add):
    path = cluster.jobs / "yaml-words.yaml"
    words = json.dumps(["sh", "-c", RECORD_WORDS, "sh", "it's", 'a "b"', "é", "03:10", "yes", "~"])
    path.write_text(
        f"owners: [{{name: Tests, email_address: tests@example.com}}]\npolicy: {{hosts: [web1]}}\ncommand: {words}\n"
    )
    cluster.hang_up()
    until(lambda: any(job["name"] == "yaml-words" for job in cluster.get("jobs")["items"]), what=cluster.log)
    assert text_of(cluster, cluster.run_job("yaml-words")).split("\0")[:-1] == [
        "it's",
        'a "b"',
        "é",
        "03:10",
        "yes",
        "~",
    ]


@pytest.mark.parametrize("node", NODES)
def test_environment_directory_and_umask(cluster, add, node):
    value = "a 'b' \"c\" $d\nsecond line é"
    add(
        f"surroundings-{node}",
        policy={"hosts": [node]},
        environment={"VALUE": value, "EMPTY": ""},
        working_directory="/usr/share",
        umask="0027",
        shell_command='printf "%s\\0" "$VALUE" "${EMPTY-unset}" "$PWD" "$(umask)" "$DISTCRON_JOB" "$DISTCRON_NODE"',
    )
    said = text_of(cluster, cluster.run_job(f"surroundings-{node}")).split("\0")
    assert said[:3] == [value, "", "/usr/share"]
    assert int(said[3], 8) == 0o027
    assert said[4:6] == [f"surroundings-{node}", node]


@pytest.mark.parametrize("node", NODES)
def test_what_every_command_is_told(cluster, add, node):
    add(f"told-{node}", command=["env"], policy={"hosts": [node]})
    run = cluster.run_job(f"told-{node}")
    seen = dict(line.split("=", 1) for line in text_of(cluster, run).splitlines())
    assert seen["DISTCRON_RUN_ID"] == run["id"]
    assert seen["DISTCRON_TRIGGER"] == "manual"
    assert seen["DISTCRON_ATTEMPT"] == "1"
    assert seen["DISTCRON_SCHEDULED_AT"] == run["scheduled_at"]
    assert seen["TRACEPARENT"].startswith("00-")
    assert "DISTCRON_SOCKET" not in seen, "the daemon's own environment is none of the job's business"


@pytest.mark.parametrize("node", NODES)
def test_a_script_goes_to_its_interpreter_and_to_no_file(cluster, add, node):
    source = 'cat <<\'X\'\nit\'s "quoted" $HOME\nX\necho "args: $#"; ls -l /proc/$$/fd/0 | grep -c pipe\n'
    add(f"script-{node}", script={"interpreter": ["/bin/sh"], "source": source}, policy={"hosts": [node]})
    assert text_of(cluster, cluster.run_job(f"script-{node}")) == 'it\'s "quoted" $HOME\nargs: 0\n1\n'


def test_a_script_of_a_file_beside_the_job(cluster, add):
    (cluster.jobs / "scripts").mkdir()
    (cluster.jobs / "scripts" / "hello.sh").write_text("echo from a file\n")
    add("script-file", script={"interpreter": ["/bin/sh"], "file": "scripts/hello.sh"}, policy={"hosts": ["web1"]})
    assert text_of(cluster, cluster.run_job("script-file")) == "from a file\n"


@pytest.mark.parametrize("node", NODES)
def test_separate_streams_are_kept_apart(cluster, add, node):
    add(
        f"apart-{node}",
        shell_command="echo one; echo two >&2; echo three; printf four >&2",
        output={"streams": "separate"},
        policy={"hosts": [node]},
    )
    run = cluster.run_job(f"apart-{node}")
    assert cluster.output(run["id"], node, "stdout") == b"one\nthree\n"
    assert cluster.output(run["id"], node, "stderr") == b"two\nfour"
    assert cluster.ctl("logs", run["id"], "--stderr", text=False).stdout == b"two\nfour"


@pytest.mark.parametrize("node", NODES)
def test_merged_output_is_in_true_order_and_whole(cluster, add, node):
    add(
        f"merged-{node}",
        shell_command="for i in $(seq 0 499); do echo out $i; echo err $i >&2; done; printf '\\377\\000end'",
        policy={"hosts": [node]},
    )
    run = cluster.run_job(f"merged-{node}")
    expected = b"".join(b"out %d\nerr %d\n" % (number, number) for number in range(500)) + b"\377\000end"
    assert cluster.output(run["id"], node) == expected
    assert cluster.ctl("logs", run["id"], text=False).stdout == expected


@pytest.mark.parametrize("node", NODES)
def test_a_cap_keeps_head_and_tail_and_counts_the_rest(cluster, add, node):
    add(
        f"capped-{node}",
        shell_command="seq -w 1 99999",
        output={"max_bytes": 65536},
        policy={"hosts": [node]},
    )
    run = cluster.run_job(f"capped-{node}")
    facts = run["targets"][0]["output"]
    whole = b"".join(b"%05d\n" % number for number in range(1, 100_000))
    kept = cluster.output(run["id"], node)
    assert (facts["bytes"], facts["truncated"], facts["kept"]) == (len(whole), True, len(kept))
    assert len(kept) <= 65536 * 1.5
    assert kept.startswith(whole[:20_000])
    assert kept.endswith(whole[-20_000:])


@pytest.mark.parametrize("node", NODES)
def test_a_timeout_ends_the_whole_tree(cluster, add, node):
    mark = f"TREE=tree-{node}"
    tree = "trap '' TERM; (setsid sleep 300 &); (sleep 300 & sleep 300 & wait) & sleep 300"
    add(
        f"tree-{node}",
        shell_command=f"{tree}; sleep 300",
        environment={"TREE": f"tree-{node}"},
        timeout="1s",
        kill_grace="500ms",
        policy={"hosts": [node]},
    )
    name = cluster.trigger(f"tree-{node}")
    until(lambda: len(marked(mark)) >= 5, what=lambda: marked(mark))
    run = cluster.finished(name)
    assert (run["outcome"], run["targets"][0]["reason"]) == ("timeout", "killed"), run
    until(lambda: not marked(mark), 1, what=lambda: marked(mark))


@pytest.mark.parametrize("node", NODES)
def test_cancel_ends_the_whole_tree(cluster, add, node):
    mark = f"TREE=cancel-{node}"
    add(
        f"cancel-{node}",
        shell_command="(sleep 300 & wait) & sleep 300",
        environment={"TREE": f"cancel-{node}"},
        policy={"hosts": [node]},
    )
    name = cluster.trigger(f"cancel-{node}")
    until(lambda: len(marked(mark)) >= 3, what=lambda: marked(mark))
    cluster.ctl("cancel", name)
    assert cluster.finished(name)["outcome"] == "cancelled"
    assert not marked(mark)
    assert "finished already" in cluster.ctl("cancel", name, code=6).stderr


EXITS = [
    ("true", {}, 0),
    ("exit 7", {}, 7),
    ("exit 124", {}, 124),
    ("kill -9 $$", {}, 128 + 9),
    ("sleep 60", {"timeout": "500ms", "kill_grace": "200ms"}, 124),
    ("echo never", {"working_directory": "/no/such/place"}, 125),
    ("exit 3", {"success": {"exit_codes": [0, 3]}}, 3),
]


@pytest.mark.parametrize(("command", "keys", "code"), EXITS, ids=[shlex.quote(each[0]) for each in EXITS])
def test_run_wait_exits_like_the_job(cluster, add, command, keys, code):
    name = f"exits-{EXITS.index((command, keys, code))}"
    add(name, shell_command=command, policy={"hosts": ["web1"]}, **keys)
    done = cluster.ctl("run", name, "--wait", code=code)
    outcome = "success" if code == 0 or "success" in keys else "timeout" if "timeout" in keys else "failure"
    if code != 125:
        assert outcome in done.stderr


def test_run_wait_exits_with_the_highest_code_of_all_targets(cluster, add):
    add(
        "several", shell_command="case $DISTCRON_NODE in web2) exit 9;; esac", policy={"hosts": "all", "roles": ["web"]}
    )
    assert "partial" in cluster.ctl("run", "several", "--wait", code=9).stderr


def test_a_run_by_hand_takes_variables_and_nodes(cluster, add):
    add("by-hand", shell_command='echo "$DISTCRON_NODE $MONTH"', environment={"MONTH": "0"}, policy={"hosts": ["web1"]})
    said = cluster.ctl("run", "by-hand", "-e", "MONTH=11", "--node", "web3", "--follow").stdout
    assert said == "web3 11\n"
    assert cluster.ctl("run", "by-hand", "--follow").stdout == "web1 0\n"


def test_a_second_run_by_hand_waits_and_a_third_is_refused(cluster, add):
    add("slow-by-hand", shell_command="sleep 300", policy={"hosts": ["web1"]})
    first = cluster.trigger("slow-by-hand")
    until(lambda: cluster.get(f"runs/{first}")["state"] == "running")
    second = cluster.trigger("slow-by-hand")
    assert "waits" in cluster.ctl("run", "slow-by-hand", code=6).stderr
    assert cluster.get(f"runs/{second}")["state"] == "waiting"
    cluster.ctl("cancel", second)
    cluster.ctl("cancel", first)
    assert (cluster.finished(first)["outcome"], cluster.finished(second)["outcome"]) == ("cancelled", "cancelled")


def test_a_rerun_runs_where_it_failed_with_the_variables_of_then(cluster, add):
    well = '[ "$DISTCRON_NODE" = web1 ] || [ "$DISTCRON_TRIGGER" = rerun ]'
    add(
        "again",
        shell_command=f'echo "$DISTCRON_NODE $MONTH $DISTCRON_TRIGGER"; {well}',
        policy={"hosts": "all", "roles": ["web"]},
    )
    run = cluster.run_job("again", environment={"MONTH": "11"})
    assert run["outcome"] == "partial"
    bad = sorted(target["node"] for target in run["targets"] if target["outcome"] == "failure")
    said = cluster.ctl("rerun", run["id"], "--failed", "--follow").stdout
    assert sorted(line.split()[-3:] for line in said.splitlines()) == [[node, "11", "rerun"] for node in bad]
    [again] = [each for each in cluster.all_runs("&job=again") if each["origin"]]
    assert (again["origin"], again["scheduled_at"], again["outcome"]) == (run["id"], run["scheduled_at"], "success")
    assert cluster.get(f"runs/{run['id']}") == run
    assert "nothing of run" in cluster.ctl("rerun", again["id"], "--failed", code=6).stderr
    cluster.ctl("rerun", again["id"], "--wait")


def test_the_same_key_asks_for_the_same_run(cluster, add):
    add("keyed", command=["true"], policy={"hosts": ["here"]})
    key = {"Idempotency-Key": "once"}
    first, again = (cluster.ask("POST", "/api/v1/jobs/keyed/run", {}, key) for _ in range(2))
    assert first.document["id"] == again.document["id"]
    cluster.finished(first.document["id"])
    assert len(cluster.all_runs("&job=keyed")) == 1


def test_a_backfill_makes_up_for_what_has_passed(cluster, add):
    keys = {"schedule": "0 3 * * *", "policy": {"hosts": ["web1"]}, "overlap": "skip"}
    add("nightly", shell_command='echo "$DISTCRON_TRIGGER $DISTCRON_SCHEDULED_AT"; exit 3', **keys)
    span = ("--from", "2026-01-01T00:00:00Z", "--to", "2026-01-04T00:00:00Z")
    plan = cluster.ctl("backfill", "nightly", *span, "--dry-run")
    assert "3 runs would be made" in plan.stderr
    done = cluster.ctl("backfill", "nightly", *span, "--wait", "-o", "name", code=3)
    runs = done.stdout.split()
    said = [cluster.output(run, "web1").decode() for run in runs]
    assert said == [f"backfill 2026-01-0{day}T03:00:00Z\n" for day in (1, 2, 3)]
    assert "more than 1000 times" in cluster.ctl("backfill", "nightly", "--from", "2020-01-01", code=2).stderr
