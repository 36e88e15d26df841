"""A timeout without a scheduler: kill -9, the node acts alone, and the next life tells it once (LAUNCHER rule 15)."""

from __future__ import annotations

from support.checker import noting, read_ledger
from support.daemon import MARK, marked, until

STUBBORN = "trap '' TERM; echo begun; setsid sh -c 'trap \"\" TERM; sleep 100; sleep 100' & sleep 100; sleep 100"
NODES = ("web", "here")


def test_what_ran_over_its_limit_meanwhile_has_timed_out_once(place, farm):
    place.ssh_node("web", farm.node(farm.host(0)).options)
    place.node("here")
    keys = {"policy": {"hosts": "all"}, "timeout": "3s", "kill_grace": "1s"}
    place.job("job", shell_command=noting(STUBBORN), **keys)
    place.start()
    place.await_nodes(web="up", here="up")
    name = place.trigger("job")
    for node in NODES:
        place.await_output(name, node, b"begun\n")
    place.kill()
    until(lambda: not marked(f"{MARK}={place.root}"), 60, what="processes of the job stay")
    place.start()
    run = place.finished(name)
    assert (run["outcome"], run["reason"]) == ("timeout", "killed"), run
    for target in run["targets"]:
        assert (target["outcome"], target["reason"]) == ("timeout", "killed")
        assert len(target["attempts"]) == 1
    assert len(read_ledger(place.ledger)) == len(NODES)
    place.terminate()
    place.start()
    assert place.get(f"runs/{name}") == run
