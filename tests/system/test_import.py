"""A crontab on its way into a running daemon, and what comes of it: its lines, its runs, their report."""

from __future__ import annotations

import json

import yaml
from support.daemon import until


def test_a_crontab_becomes_jobs_that_run(place, farm):
    host = farm.host(0)
    place.ssh_node("web", farm.node(host).options)
    place.start()
    place.await_nodes(web="up")

    told = place.ask("GET", "/api/v1/nodes/web/crontabs").document
    assert (told["node"], told["user"]) == ("web", farm.user)
    assert all(set(tab) == {"file", "system", "user", "text"} for tab in told["items"])

    tab = place.root / "tab"
    tab.write_text("GREETING=hello\n# Say it\n0 0 1 1 * cat; echo $GREETING 100\\%%from%stdin\n@reboot x\n")
    done = place.ctl("import", "crontab", str(tab), "--run-on", "web", "--directory", str(place.jobs), code=1)
    assert done.stdout.split() == [str(place.jobs / "say-it.yaml")]
    assert "tab:4: not taken over" in done.stderr
    place.ctl("check", str(place.jobs / "say-it.yaml"))
    place.ctl("reload")
    run = place.trigger("say-it")
    assert place.finished(run)["outcome"] == "success"
    place.await_output(run, "web", b"from\nstdin\nhello 100%\n")

    report = json.loads(place.ctl("report", "--days", "1", "-o", "json").stdout)
    (job,) = [item for item in report["items"] if item["job"] == "say-it"]
    assert (job["outcomes"], job["success_rate"], job["durations_ms"]["of"]) == ({"success": 1}, 1.0, 1)
    assert "say-it" in place.ctl("report").stdout

    ahead = json.loads(place.ctl("simulate", "--days", "31", "-o", "json").stdout)
    assert {each["job"] for each in [*ahead["jobs"], *ahead["never"]]} == {"say-it"}


def test_the_crontabs_of_this_machine(place):
    """Whatever is installed here: each line becomes a job file, or is named."""
    place.node("here")
    place.start()
    until(lambda: place.node_states().get("here", {}).get("state") == "up", what=place.log)
    found = json.loads(place.ctl("import", "crontab", "--node", "here", "-o", "json", code=None).stdout)
    for job in found["jobs"]:
        assert job["job"]["policy"] == {"hosts": ["here"]}
        assert yaml.safe_load(json.dumps(job["job"])) == job["job"]
        assert job["file"].startswith("here/")
