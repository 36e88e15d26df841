"""Retries as a user sees them: a real sshd, a daemon that is killed in the pause, the client's words."""

from __future__ import annotations

from support.daemon import until

ONE_IN_THREE = 'echo "try $DISTCRON_ATTEMPT on $DISTCRON_NODE"; test "$DISTCRON_ATTEMPT" -ge 3 || exit 75'


def test_kill_9_in_the_pause_then_the_next_attempt_on_the_other_node(place, farm):
    for index, node in enumerate(("web1", "web2")):
        place.ssh_node(node, farm.node(farm.host(index)).options)
    rule = {"max": 3, "delay": "4s", "factor": 1, "on": ["exit:75"]}
    place.job("job", shell_command=ONE_IN_THREE, policy={"hosts": "any"}, retry=rule)
    place.start()
    place.await_nodes(web1="up", web2="up")
    name = place.trigger("job")
    until(lambda: place.get(f"runs/{name}")["retry_at"], what=place.log)
    place.kill()
    place.start()
    waiting = place.get(f"runs/{name}")
    assert (waiting["state"], waiting["targets"][0]["state"]) == ("running", "waiting")
    assert waiting["targets"][0]["reason"] == "retry"
    why = place.get("jobs/job/why")
    assert "retry 1 of 3 at" in why["text"][0], why
    run = place.finished(name)
    assert run["outcome"] == "success", run
    attempts = run["targets"][0]["attempts"]
    assert [(one["number"], one["outcome"], one["exit_code"]) for one in attempts] == [
        (1, "failure", 75),
        (2, "failure", 75),
        (3, "success", 0),
    ]
    nodes = [one["node"] for one in attempts]
    assert nodes[0] != nodes[1] != nodes[2]
    for number, node in enumerate(nodes, 1):
        text = place.output(name, run["targets"][0]["node"], attempt=number)
        assert text == f"try {number} on {node}\n".encode()


def test_a_command_that_prints_nothing_any_more_is_ended_and_tried_again(place, farm):
    place.ssh_node("web1", farm.node(farm.host(0)).options)
    hangs_at_first = 'echo begun; test "$DISTCRON_ATTEMPT" -ge 2 || exec sleep 100'
    place.job("job", shell_command=hangs_at_first, idle_timeout="1s", total_timeout="1m", retry={"max": 1, "delay": 0})
    place.start()
    place.await_nodes(web1="up")
    run = place.run_job("job")
    attempts = run["targets"][0]["attempts"]
    assert run["outcome"] == "success", run
    ends = [(one["outcome"], one["reason"]) for one in attempts]
    assert ends == [("timeout", "idle_timeout"), ("success", None)]
    assert place.output(run["id"], "web1", attempt=1) == b"begun\n"
