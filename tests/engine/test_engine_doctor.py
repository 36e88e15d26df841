"""What a look of the doctor costs the nodes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from world import World, a_node

from distcrond.engine.answers.doctor import Doctor
from distcrond.engine.room import Room
from distcrond.engine.telling.outboxes import Outboxes
from distcrond.errors import NodeUnreachable
from distcrond.model.reason import Reason


async def test_those_who_ask_at_the_same_time_share_one_look(world: World) -> None:
    looks: list[str] = []

    async def examine(node: object, **_: object) -> None:
        looks.append(node.name)
        await world.clock.sleep(5)
        raise NodeUnreachable(Reason.CONNECT_TIMEOUT, "silent")

    await world.start(a_node("a"), a_node("b"))
    doctor = Doctor(
        clock=world.clock,
        desired=world.desired,
        health=world.engine._health,
        outboxes=Outboxes(world.clock),
        room=Room(clock=world.clock, free=lambda: 2**40, changed=lambda: None),
        examiners={"scripted": SimpleNamespace(examine=examine)},
    )
    asking = [asyncio.create_task(doctor.examine()) for _ in range(20)]
    await world.pass_(seconds=1)
    asking.append(asyncio.create_task(doctor.examine()))
    asking[3].cancel()
    await world.pass_(seconds=10)
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert sorted(looks) == ["a", "b"]
    assert [type(each) for each in found].count(dict) == 20
    later = asyncio.create_task(doctor.examine())
    await world.pass_(seconds=10)
    assert (await later)["state"] == "fail"
    assert sorted(looks) == ["a", "a", "b", "b"]
