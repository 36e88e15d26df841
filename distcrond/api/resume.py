"""Going on after a broken connection, as browsers' EventSource does by itself."""

from __future__ import annotations

from distcrond.api.call import Call
from distcrond.api.problems import Fault, invalid

EVENT_STREAM = "text/event-stream"


def last_event_id(call: Call) -> int | None:
    """What the client had seen when its connection broke, or None if it says nothing of that.

    Raises:
        Problem: 400, an id that none of our events has.
    """
    text = call.request.headers.get("Last-Event-ID")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise invalid([Fault(pointer="Last-Event-ID", message="not a number that an event of ours had as its id")])
    return int(text)
