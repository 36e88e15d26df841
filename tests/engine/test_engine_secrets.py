"""Secrets of jobs: read when a run starts, given to the command alone, masked in what it prints."""

from __future__ import annotations

from datetime import timedelta

from world import World, a_job, a_node, once

from distcrond.model.run import RunId, Stream
from distcrond.model.secret import SecretKind, SecretSource
from distcrond.testing import Script

FILE = "/secrets/token"
TOKEN = {"TOKEN": SecretSource(kind=SecretKind.FILE, place=FILE)}
CANARY = "canary-1f8e"


def prints(*pieces: tuple[float, str]) -> Script:
    made = tuple((timedelta(seconds=seconds), text.encode()) for seconds, text in pieces)
    return Script(takes=timedelta(seconds=5), prints=made)


async def output(world: World, run: str) -> bytes:
    piece = await world.history.output(RunId(run), target=0, attempt=1, stream=Stream.MERGED, offset=0, limit=1_000_000)
    return piece.data


async def test_a_command_gets_its_secrets_and_its_output_is_masked(world: World) -> None:
    world.vault[FILE] = CANARY
    world.executor.script(prints((1, f"login {CANARY}\nagain {CANARY[:6]}"), (2, f"{CANARY[6:]}\n")))
    await world.start(a_job(schedule=once(minutes=1), secrets=TOKEN), a_node("a"))
    await world.pass_(minutes=2)
    (execution,) = world.executor.executions
    assert execution.order.environment["TOKEN"] == CANARY
    assert CANARY not in repr(execution.order)
    run = await world.run()
    assert await output(world, run["id"]) == b"login ***********\nagain ***********\n"
    assert run["targets"][0]["output"]["bytes"] == len(execution.printed(1e9))


async def test_the_journal_never_holds_the_value(world: World) -> None:
    world.vault[FILE] = CANARY
    world.executor.script(prints((1, CANARY)))
    await world.start(a_job(schedule=once(minutes=1), secrets=TOKEN), a_node("a"))
    await world.pass_(minutes=2)
    stored = world.backup()
    assert FILE.encode() in stored
    assert CANARY.encode() not in stored


async def test_no_request_can_put_another_value_in_its_place(world: World) -> None:
    world.vault[FILE] = CANARY
    await world.start(a_job(secrets=TOKEN), a_node("a"))
    await world.trigger(environment={"TOKEN": "mine"})
    assert world.executor.executions[0].order.environment["TOKEN"] == CANARY


async def test_without_its_secret_a_run_does_not_start(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1), secrets=TOKEN), a_node("a"))
    await world.until(seconds=59.9)
    assert (await world.run())["state"] == "waiting", "nothing is decided before it is due"
    await world.until(seconds=61)
    run = await world.run()
    assert (run["outcome"], run["reason"]) == ("missed", "secret_missing")
    assert run["targets"][0]["detail"] == f"secret TOKEN (file {FILE}): there is none"
    assert world.begun() == []


async def test_a_secret_that_comes_at_the_last_moment_is_in_time(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1), secrets=TOKEN), a_node("a"))
    await world.until(seconds=59.9)
    world.vault[FILE] = CANARY
    await world.until(minutes=2)
    assert world.begun() == [("a", 60.0)]


async def test_a_cancelled_run_does_not_wait_for_its_secret(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1), secrets=TOKEN), a_node("a"))
    await world.until(seconds=59.9)
    await world.cancel((await world.run())["id"])
    await world.until(minutes=2)
    assert await world.outcomes() == [("cancelled", "cancelled")]


async def test_a_rotated_secret_counts_from_the_next_run_on(world: World) -> None:
    world.vault[FILE] = CANARY
    await world.start(a_job(secrets=TOKEN), a_node("a"))
    await world.trigger()
    await world.pass_(seconds=5)
    world.vault[FILE] = "rotated"
    await world.trigger()
    assert [one.order.environment["TOKEN"] for one in world.executor.executions] == [CANARY, "rotated"]


async def test_an_adopted_run_is_masked_too(world: World) -> None:
    world.vault[FILE] = CANARY
    world.executor.script(prints((1, f"one {CANARY[:7]}"), (3, f"{CANARY[7:]} two\n")))
    job, node = a_job(secrets=TOKEN), a_node("a")
    await world.start(job, node)
    run = await world.trigger()
    await world.pass_(seconds=2)
    await world.restart(job, node)
    await world.pass_(seconds=10)
    assert await output(world, run) == b"one *********** two\n"


async def test_an_adopted_run_whose_secret_is_gone_is_withheld(world: World) -> None:
    world.vault[FILE] = CANARY
    world.executor.script(prints((1, "one\n"), (3, f"{CANARY}\n")))
    job, node = a_job(secrets=TOKEN), a_node("a")
    await world.start(job, node)
    run = await world.trigger()
    await world.pass_(seconds=2)
    await world.crash()
    world.vault.clear()
    await world.start(job, node)
    await world.pass_(seconds=10)
    assert await output(world, run) == b"one\n***********\n"
    assert await world.outcomes() == [("success", None)]
