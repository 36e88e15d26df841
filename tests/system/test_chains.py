"""Chains and gates of a daemon as a process, over a real sshd."""

from __future__ import annotations

import json

from support.daemon import until


def test_a_chain_goes_on_once_over_a_kill_of_the_daemon(place, farm) -> None:
    server = farm.add(1)[0]
    place.ssh_node("web1", farm.node(server).options)
    place.job("load", shell_command="sleep 2; echo loaded")
    place.job("count", command=["true"])
    place.job("report", shell_command='echo "$DISTCRON_TRIGGER $DISTCRON_UPSTREAM_RUN_IDS"', after={"jobs": ["load"]})
    place.job("both", command=["true"], after={"jobs": ["load", "count"], "within": "1h"})
    place.start()
    place.await_nodes(web1="up")
    run = place.trigger("load")
    until(lambda: place.get(f"runs/{run}")["state"] == "running", what=place.log)
    place.kill()
    place.start()
    (report,) = until(lambda: [each for each in place.all_runs("&job=report") if each["outcome"]], what=place.log)
    assert (report["outcome"], report["upstream"][0]["run"]) == ("success", run)
    assert report["scheduled_at"] == place.get(f"runs/{run}")["scheduled_at"]
    assert place.output(report["id"], "web1") == f"chain {run}\n".encode()
    said = place.ctl("why", "both").stdout
    assert "waiting" in said
    assert "count has not ended as success yet" in said
    place.kill()
    place.start()
    place.await_nodes(web1="up")
    place.run_job("count")
    both = until(lambda: [each for each in place.all_runs("&job=both") if each["outcome"]], what=place.log)
    assert [each["outcome"] for each in both] == ["success"]
    assert len(place.all_runs("&job=report")) == 1


def test_a_gate_and_a_circle(place) -> None:
    place.node("here")
    place.job("dump", shell_command="exit 1")
    place.job("use", command=["true"], schedule="@every 1s", requires=[{"job": "dump", "else": "fail"}])
    place.start()
    place.await_nodes(here="up")
    failed = until(lambda: place.all_runs("&job=use&outcome=failure"), what=place.log)
    assert (failed[0]["reason"], failed[0]["targets"]) == ("gate", [])
    answer = place.ask("POST", "/api/v1/jobs/use/run").document
    assert answer["unmet"] == ["dump has never ended as success"]
    assert "dump has never ended as success" in place.ctl("run", "use", "--force").stderr
    place.job("dump", command=["true"], after={"jobs": ["use"]})
    refused = place.run("--check")
    assert refused.returncode == 1
    assert "dump.json" in refused.stdout
    assert "dump → use → dump" in refused.stdout
    assert json.loads(place.ctl("job", "dump", "-o", "json").stdout)["after"] is None
