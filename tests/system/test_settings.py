"""Settings that change while the daemon runs."""

from __future__ import annotations

import http.client
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from support.daemon import until

START = """
log_level: info
journal: {retention: 30d}
timezone: UTC
"""
CHANGED = """
log_level: warning
journal: {retention: 2d}
timezone: Asia/Tokyo
allow_no_owner: true
log_format: json
api:
  allowed_hosts: [cron.example.com]
  socket_mode: "0600"
calendars:
  free: {weekdays: [sun]}
"""


@pytest.fixture
def here(place):
    place.node("here")
    return place


@pytest.fixture
def written(here):
    path = here.root / "distcrond.yaml"
    path.write_text(START)
    here.flags += ["--config", str(path)]
    return path


def _status_as(here, host: str) -> int:
    url = urlsplit(here.url)
    with closing(http.client.HTTPConnection(url.hostname, url.port, timeout=20)) as connection:
        connection.request("GET", "/-/healthy", headers={"Host": host})
        return connection.getresponse().status


def test_a_reload_follows_what_it_can_and_names_what_needs_a_restart(here, written):
    here.job("tea", command=["true"], schedule="0 12 * * *")
    here.start()
    assert _status_as(here, "cron.example.com") == 421
    written.write_text(CHANGED)
    here.job("free", command=["true"], owners=[], schedule={"cron": "0 12 * * *", "calendar": "free"})
    assert "settings/journal.retention\n           journal.retention: 30d → 2d" in here.ctl("diff", code=1).stdout
    assert here.get("jobs/tea/next?count=1")["items"][0]["due_at"][11:16] == "12:00"

    told = here.ctl("reload")
    assert "changed  settings/timezone" in told.stdout
    assert "added    jobs/free" in told.stdout
    assert here.get("jobs/tea/next?count=1")["items"][0]["due_at"][11:16] == "03:00"
    assert _status_as(here, "cron.example.com") == 200
    [problem] = here.get("config/problems")["items"]
    assert (problem["file"], problem["line"], problem["active"]) == (str(written), 9, "last_good")
    assert problem["message"] == "needs a restart: socket_mode"
    lines = [line for line in here.log().splitlines() if "needs a restart: socket_mode" in line]
    assert len(lines) == 1
    assert "reloaded by" not in here.log(), "the level is warning by now"

    written.write_text("log_level: 7")
    here.hang_up()
    [problem] = until(
        lambda: [one for one in here.get("config/problems")["items"] if one["code"] != "needs_restart"], what=here.log
    )
    assert (problem["file"], problem["line"], problem["active"]) == (str(written), 1, "last_good")
    assert problem["hint"] == "one of debug, info, warning, error"
    assert '"log.level": "error"' in here.log().splitlines()[-1], "still JSON"
    assert here.get("jobs/tea/next?count=1")["items"][0]["due_at"][11:16] == "03:00"

    written.write_text(START)
    here.job("free", command=["true"])
    here.ctl("reload")
    assert here.get("config/problems")["items"] == []
    assert _status_as(here, "cron.example.com") == 421


def test_the_days_of_an_icalendar_file_count_and_so_does_a_change_of_it(here, written):
    events = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:test\n{}END:VCALENDAR\n"
    free = "BEGIN:VEVENT\nUID:1\nDTSTART;VALUE=DATE:20260101\nRRULE:FREQ=DAILY;BYMONTH={}\nEND:VEVENT\n"
    file = written.parent / "free.ics"
    file.write_text(events.format(free.format("1,2,3,4,5,6,7,8,9,10,11")))
    written.write_text(START + "calendars: {free: {ical: free.ics}}\n")
    here.job("tea", command=["true"], schedule={"cron": "0 12 * * *", "exclude": "free"})
    here.start()

    def month() -> str:
        return here.get("jobs/tea/next?count=1")["items"][0]["due_at"][5:7]

    assert month() == "12"
    file.write_text(events.format(free.format("1,2,3,4,5,6,7,8,9,10,12")))
    until(lambda: month() == "11", what=here.log)
    file.write_text("BEGIN:VCALENDAR\n")
    [problem] = until(lambda: here.get("config/problems")["items"], what=here.log)
    assert (problem["file"], problem["active"]) == (str(file), "last_good")
    assert month() == "11"


def test_a_shorter_retention_holds_for_what_is_there(here, written):
    here.job("tick", command=["true"], schedule="* * * * * *")
    here.start()
    first = until(lambda: here.all_runs("&state=finished"), what=here.log)[-1]["id"]
    written.write_text("journal: {retention: 1s}")
    here.ctl("reload")
    until(lambda: first not in {run["id"] for run in here.all_runs()}, what=here.log)
