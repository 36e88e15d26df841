"""`distcronctl doctor` against a real daemon with real nodes."""

from __future__ import annotations

import json

from support.daemon import until

DOCUMENT = {"at", "state", "checks"}
CHECK = {"subject", "check", "state", "text", "remedy"}


def examined(place, code: int):
    done = place.ctl("doctor", "-o", "json", code=code)
    document = json.loads(done.stdout)
    assert set(document) == DOCUMENT
    assert all(set(check) == CHECK for check in document["checks"])
    return document, {(check["subject"], check["check"]): check for check in document["checks"]}


def test_a_healthy_place_and_one_with_troubles(place, farm):
    good, bad = farm.host(0), farm.host(1)
    place.ssh_node("web", farm.node(good).options)
    place.ssh_node("bare", farm.node(good).options, durable=False)
    place.node("here")
    gate = place.ledger / "go"
    command = f"echo up; until [ -e {gate} ]; do sleep 0.1; done"
    place.job("long", shell_command=command, policy={"hosts": ["web"]})
    place.start("--storage", "plain", "--log-directory", str(place.root / "reports"))
    place.await_nodes(web="up", bare="up", here="up")
    run = place.trigger("long")
    place.await_output(run, "web", b"up\n")

    document, checks = examined(place, code=0)
    assert document["state"] != "fail", document
    for check in ("reachable", "host_key", "shell", "spool", "space", "clock"):
        assert checks["node web", check]["state"] == "ok", checks["node web", check]
    assert checks["node web", "reachable"]["text"] == f"as {farm.user}"
    assert ("node bare", "spool") not in checks
    assert checks["node here", "spool"]["text"] == str(place.root / "state" / "spool")
    assert {checks["daemon", name]["state"] for name in ("disk", "time_zones", "files")} == {"ok"}
    assert ("sink plain", "reachable") in checks
    assert str(place.root / "reports") in checks["sink plain", "reachable"]["text"]
    assert place.ask("GET", "/api/v1/doctor").document["state"] == document["state"]

    place.ssh_node("stranger", farm.node(bad, ssh_known_hosts_file=str(place.root / "nothing")).options)
    (place.jobs / "broken.json").write_text("{")
    (good.home / "spool").chmod(0o755)
    place.hang_up()
    until(lambda: place.node_states().get("stranger", {}).get("reason") == "host_key_unknown", what=place.log)
    document, checks = examined(place, code=1)
    assert document["state"] == "fail"
    assert checks["node stranger", "host_key"]["remedy"] == "distcronctl trust stranger"
    assert "chmod 700" in checks["node web", "spool"]["remedy"]
    assert checks["daemon", "files"]["state"] == "warn"
    shown = place.ctl("doctor", code=1)
    assert "distcronctl trust stranger" in shown.stdout
    assert "nothing wrong" not in shown.stdout
    assert "ok" in place.ctl("doctor", "--all", code=1).stdout.split()

    (good.home / "spool").chmod(0o700)
    gate.touch()
    assert place.finished(run)["outcome"] == "success", "no run was disturbed"
