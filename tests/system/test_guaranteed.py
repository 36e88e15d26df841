"""Every occurrence of a guaranteed job runs once, oldest first, although the daemon is killed while it catches up."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta

from support.checker import noting, read_ledger
from support.daemon import now, until

EVERY = timedelta(milliseconds=400)


def test_caught_up_over_kills(place):
    place.node("here")
    place.job("job", shell_command=noting("echo ran"), schedule={"interval": "400ms"}, catch_up={"guaranteed": True})
    place.start()
    until(lambda: read_ledger(place.ledger), 60)
    for away, begun in ((4, 4), (0.5, 11)):
        place.kill()
        time.sleep(away)
        place.start()
        until(lambda wanted=begun: len(read_ledger(place.ledger)) >= wanted, 60, what=place.log)
    caught_up = now()
    until(lambda: max(one.scheduled for one in read_ledger(place.ledger)) >= caught_up, 60, what=place.log)
    ran = read_ledger(place.ledger)
    nominal = [one.scheduled for one in sorted(ran, key=lambda one: one.started)]
    assert nominal == [nominal[0] + EVERY * number for number in range(len(nominal))]
    assert set(Counter(one.run for one in ran).values()) == {1}
    assert {item["reason"] for item in place.get("occurrences?limit=1000")["items"]} <= {None, "overlap"}
