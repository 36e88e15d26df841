"""Zones by a real daemon over real sshd: all at once or none, in turn, also over kill -9."""

from __future__ import annotations

import pytest
from support.checker import noting, read_ledger
from support.daemon import until

WAITS_FOR_LEAVE = 'while ! [ -e "$LEDGER/go-$DISTCRON_JOB" ]; do sleep 0.05; done'


@pytest.fixture
def shop(place, farm):
    """Two nodes, which are one machine here, and the zones of a shop."""
    for name in ("n1", "n2"):
        place.ssh_node(name, farm.node(farm.host(0)).options)
    config = place.root / "distcrond.yaml"
    config.write_text("zones: {db: {capacity: 1}, disk: {capacity: 1, scope: node}}\n")
    place.flags += ["--config", str(config)]
    return place


def let_go(place, *jobs: str) -> None:
    for job in jobs:
        (place.ledger / f"go-{job}").touch()


def begun(place) -> list[str]:
    """Jobs in the order in which their commands began."""
    return [execution.job for execution in sorted(read_ledger(place.ledger), key=lambda each: each.started)]


def test_a_zone_has_its_holders_and_its_line_in_the_next_life_too(shop):
    for name, priority in (("first", 0), ("second", 0), ("urgent", 9)):
        shop.job(name, shell_command=noting(WAITS_FOR_LEAVE), zones={"db": 1}, priority=priority)
    shop.start()
    first = shop.trigger("first")
    until(lambda: begun(shop) == ["first"], what=shop.log)
    waiting = [shop.trigger("second"), shop.trigger("urgent")]
    until(lambda: shop.get("stats")["zones"]["db"]["waiting"] == 2, what=shop.log)
    shop.kill()
    shop.start()
    zone = {"capacity": 1, "scope": "global", "taken": 1, "nodes": {}, "waiting": 2}
    until(lambda: shop.get("stats")["zones"]["db"] == zone, what=lambda: f"{shop.get('stats')}\n{shop.log()}")
    told = " ".join(shop.ctl("why", "urgent").stdout.split())
    assert f"is waiting (zone_full): zone db: 1 of 1 taken by {first}." in told
    assert "zones: db 1 of 1, 2 waiting · disk 0 of 1 on the fullest node" in shop.ctl("status").stdout
    let_go(shop, "first", "second", "urgent")
    assert [shop.finished(run)["outcome"] for run in (first, *waiting)] == ["success"] * 3
    assert begun(shop) == ["first", "urgent", "second"]


def test_a_zone_of_each_node_spreads_runs_and_is_missed_with_its_reason(shop):
    for name in ("a", "b", "c"):
        shop.job(name, shell_command=noting(WAITS_FOR_LEAVE), zones={"disk": 1})
    shop.start()
    shop.await_nodes(n1="up", n2="up")
    shop.trigger("a")
    shop.trigger("b")
    until(lambda: {execution.node for execution in read_ledger(shop.ledger)} == {"n1", "n2"}, what=shop.log)
    waits = shop.trigger("c")
    until(lambda: shop.get("stats")["zones"]["disk"]["waiting"] == 1, what=shop.log)
    shop.job(
        "late",
        command=["true"],
        zones={"disk": 1},
        schedule="@every 1s",
        start_deadline="100ms",
        catch_up={"policy": "none"},
    )
    shop.hang_up()
    missed = until(lambda: shop.all_runs("&job=late&outcome=missed"), what=shop.log)
    assert missed[-1]["reason"] == "zone_full"
    let_go(shop, "a", "c")
    assert shop.finished(waits)["outcome"] == "success"


def test_a_job_that_asks_for_what_can_never_be_there_is_refused(shop):
    shop.job("typo", command=["true"], zones={"disc": 1})
    shop.job("greedy", command=["true"], zones={"db": 2})
    said = shop.run("--check").stdout
    assert 'there is no zone "disc" (did you mean `disk`?)' in said
    assert "zone db has 1 in all, so a run that takes 2 could never start" in said


def test_one_that_gives_way_is_stopped_and_begins_anew_also_over_kill9(shop):
    """The daemon dies while the command, which heeds no TERM, is in its grace."""
    stubborn = f"trap '' TERM; echo begun; {WAITS_FOR_LEAVE}"
    shop.job("soft", shell_command=noting(stubborn), zones={"db": 1}, preemptible=True, kill_grace="4s")
    shop.job("hard", shell_command=noting("true"), zones={"db": 1}, preempt=True)
    shop.start()
    soft = shop.trigger("soft")
    until(lambda: begun(shop) == ["soft"], what=shop.log)
    hard = shop.trigger("hard")
    until(lambda: f"gives way to {hard}" in " ".join(shop.ctl("why", "soft").stdout.split()), what=shop.log)
    shop.kill()
    shop.start()
    assert shop.finished(hard, 60)["outcome"] == "success"
    until(lambda: begun(shop) == ["soft", "hard", "soft"], what=shop.log)
    let_go(shop, "soft")
    run = shop.finished(soft)
    ends = [(one["number"], one["outcome"], one["reason"]) for one in run["targets"][0]["attempts"]]
    assert ends == [(1, "cancelled", "preempted"), (2, "success", None)]
    first = next(each for each in read_ledger(shop.ledger) if each.job == "soft" and each.attempt.endswith("1"))
    assert first.ended is None, "it was killed, and nothing of it went on"
