"""The targets that wait for a node, in the order of their turns."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterator
from datetime import datetime
from heapq import merge
from typing import NamedTuple

from distcrond.engine.dispatch.rivals import Slot


class Place(NamedTuple):
    """Where a slot stands: its turn first, then what settles a tie the same way in every life of the daemon.

    `tries`: who has just given way to somebody comes after him.
    """

    turn: datetime
    tries: int
    due: datetime
    slot: Slot
    lane: Hashable


class Line:
    """One line in lanes: those in a lane need the same, so that while the first cannot go, none behind it can.

    A closed lane costs a pass nothing, however many wait there.
    """

    def __init__(self) -> None:
        self._places: dict[Slot, Place] = {}
        self._lanes: dict[Hashable, list[Place]] = {}
        self._closed: set[Hashable] = set()
        self._closed_for_now: set[Hashable] = set()

    def __contains__(self, slot: object) -> bool:
        return slot in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, place: Place) -> None:
        """Take in a slot, or give it another place."""
        self.remove(place.slot)
        self._places[place.slot] = place
        insort(self._lanes.setdefault(place.lane, []), place, key=_order)

    def remove(self, slot: Slot) -> None:
        """Let a slot go, if it is there."""
        place = self._places.pop(slot, None)
        if place is None:
            return
        lane = self._lanes[place.lane]
        del lane[bisect_left(lane, _order(place), key=_order)]
        if not lane:
            del self._lanes[place.lane]
            self._closed.discard(place.lane)

    def close(self, slot: Slot, *, for_now: bool) -> None:
        """Nobody in this slot's lane can go: during this pass (`for_now`), or until something is free."""
        if slot in self._places:
            closed = self._closed_for_now if for_now else self._closed
            closed.add(self._places[slot].lane)

    def open(self) -> None:
        """Something is free: the first of each lane may be able to go."""
        self._closed.clear()

    def ahead(self, slot: Slot) -> Iterator[Slot]:
        """The first of each lane, where it comes before this slot."""
        mine = _order(self._places[slot])
        return (lane[0].slot for lane in self._lanes.values() if _order(lane[0]) < mine)

    def turns(self, urgent: set[Slot]) -> Iterator[Slot]:
        """Go through all open lanes at once in the order of turns, and meet the urgent ones in closed lanes too.

        Slots may be removed and lanes closed on the way.
        """
        self._closed_for_now.clear()
        hurried = sorted((self._places[slot] for slot in urgent if slot in self._places), key=_order)
        lanes = [self._walk(lane) for lane in list(self._lanes) if lane not in self._closed]
        met: set[Slot] = set()
        for place in merge(hurried, *lanes, key=_order):
            slot = place.slot
            if slot in self._places and slot not in met:
                if slot in urgent:
                    met.add(slot)
                yield slot

    def _walk(self, lane: Hashable) -> Iterator[Place]:
        for place in tuple(self._lanes[lane]):
            if lane in self._closed or lane in self._closed_for_now:
                return
            yield place


def _order(place: Place) -> tuple[datetime, int, datetime, Slot]:
    return place.turn, place.tries, place.due, place.slot
