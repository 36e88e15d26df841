"""Commands over SSH, ours against others: `python tests/bench/bench_ssh.py [--commands N] [--rounds N] [--hosts N]`.

Ten real sshd on loopback, all engines in one run, rounds interleaved, medians and ratios (PERFORMANCE §7, G2 and G5).
Client CPU is this process and the clients it started; the servers are in neither. parallel-ssh and ansible are left out
if they are not installed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import asyncssh

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.ssh import begin, collect, open_executor, order
from support.sshd import Farm, find_sshd, open_farm

from distcrond.ports import Ended

Command = Callable[[int], Awaitable[None]]
LIMIT = timedelta(seconds=60)
TASKS = 10


@dataclass
class Engine:
    """One way to run `true` on the n-th host.

    `at_once` calls are in flight, each of which runs `each` commands; slow engines get a `share` of all commands. What
    the processes `pids` use counts as client CPU too.
    """

    name: str
    run: Command
    at_once: int
    share: float = 1.0
    pids: tuple[int, ...] = ()
    each: int = 1


@dataclass
class Figure:
    """Of one round: commands per second, client CPU milliseconds per command."""

    rate: float
    cpu: float


async def in_flight(run: Command, commands: int, at_once: int) -> None:
    numbers = iter(range(commands))

    async def worker() -> None:
        for number in numbers:
            await run(number)

    await asyncio.gather(*[worker() for _ in range(at_once)])


def cpu_seconds(pids: tuple[int, ...]) -> float:
    used = sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        used += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used


async def measure(engine: Engine, commands: int) -> Figure:
    calls = max(engine.at_once, int(commands * engine.share / engine.each))
    cpu, begun = cpu_seconds(engine.pids), time.perf_counter()
    await in_flight(engine.run, calls, engine.at_once)
    seconds = time.perf_counter() - begun
    return Figure(calls * engine.each / seconds, 1000 * (cpu_seconds(engine.pids) - cpu) / calls / engine.each)


@contextlib.asynccontextmanager
async def ours(farm: Farm, directory: Path, *, durable: bool, at_once: int) -> AsyncIterator[Engine]:
    nodes = [farm.node(server) for server in farm.servers]
    async with open_executor(directory) as executor:

        async def run(number: int) -> None:
            node = nodes[number % len(nodes)]
            session = await begin(executor, node, order(("true",), durable=durable))
            seen = await collect(session)
            assert isinstance(seen.end, Ended), seen.end
            assert seen.code == 0, seen.end
            await session.release()

        for number in range(len(nodes)):
            await run(number)
        yield Engine(f"distcrond {'durable' if durable else 'plain'} c={at_once}", run, at_once)


@contextlib.asynccontextmanager
async def bare_asyncssh(farm: Farm) -> AsyncIterator[Engine]:
    async with contextlib.AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(stock(farm, index)) for index in range(len(farm.servers))]

        async def run(number: int) -> None:
            assert (await connections[number % len(connections)].run("true")).exit_status == 0

        yield Engine("asyncssh conn.run c=32", run, 32)


def stock(farm: Farm, index: int):
    server = farm.servers[index]
    options = {"known_hosts": str(farm.known_hosts), "client_keys": [str(farm.key_file)], "config": None}
    return asyncssh.connect(server.host, server.port, username=farm.user, **options)


@contextlib.contextmanager
def masters(farm: Farm) -> Iterator[tuple[str, tuple[int, ...]]]:
    """One ControlMaster per host; their socket directory and pids."""
    with tempfile.TemporaryDirectory(prefix="mux") as directory:
        started = [subprocess.Popen([*ssh(farm, index, directory), "-M", "-N"]) for index in range(len(farm.servers))]
        try:
            while len(list(Path(directory).iterdir())) < len(started):
                time.sleep(0.01)
            yield directory, tuple(master.pid for master in started)
        finally:
            for master in started:
                master.terminate()
                master.wait()


@contextlib.asynccontextmanager
async def control_master(farm: Farm) -> AsyncIterator[Engine]:
    with masters(farm) as (directory, pids):

        async def run(number: int) -> None:
            process = await asyncio.create_subprocess_exec(*ssh(farm, number % len(pids), directory), "true")
            assert await process.wait() == 0

        yield Engine("OpenSSH ControlMaster c=16", run, 16, 0.25, pids)


def ssh(farm: Farm, index: int, directory: str) -> list[str]:
    server = farm.servers[index]
    settings = {
        "UserKnownHostsFile": farm.known_hosts,
        "IdentityFile": farm.key_file,
        "ControlPath": f"{directory}/{index}",
        "KexAlgorithms": "curve25519-sha256",
    }
    words = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    return ["ssh", "-F", "none", *words, "-p", str(server.port), f"{farm.user}@{server.host}"]


@contextlib.asynccontextmanager
async def parallel_ssh(farm: Farm) -> AsyncIterator[Engine | None]:
    """It has its own event loop, so one call is one command on every host."""
    try:
        from pssh.clients import ParallelSSHClient
        from pssh.config import HostConfig
    except ImportError:
        yield None
        return
    hosts = [server.host for server in farm.servers]
    config = [HostConfig(port=server.port) for server in farm.servers]
    client = ParallelSSHClient(hosts, user=farm.user, pkey=str(farm.key_file), host_config=config)

    async def run(_: int) -> None:
        output = client.run_command("true")
        client.join(output)
        assert all(host.exit_code == 0 for host in output)

    await run(0)
    yield Engine("parallel-ssh (all hosts)", run, 1, 0.25, each=len(hosts))


@contextlib.asynccontextmanager
async def ansible(farm: Farm) -> AsyncIterator[Engine | None]:
    """One call is a playbook of ten `raw` tasks on every host, over connections that stand (ControlPersist)."""
    program = shutil.which("ansible-playbook")
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="ans") as directory:
        words, environment = playbook(farm, Path(directory))

        async def run(_: int) -> None:
            process = await asyncio.create_subprocess_exec(
                program, *words, env=os.environ | environment, stdout=asyncio.subprocess.DEVNULL
            )
            assert await process.wait() == 0

        await run(0)
        yield Engine("ansible-playbook raw", run, 1, 0.1, each=TASKS * len(farm.servers))


def playbook(farm: Farm, directory: Path) -> tuple[list[str], dict[str, str]]:
    """What `ansible-playbook` is told: arguments and environment."""
    options = f"-o ControlPersist=60s -o UserKnownHostsFile={farm.known_hosts} -o KexAlgorithms=curve25519-sha256"
    hosts = [
        f"h{number} ansible_host={server.host} ansible_port={server.port} ansible_user={farm.user} "
        f'ansible_ssh_private_key_file={farm.key_file} ansible_ssh_common_args="{options}"\n'
        for number, server in enumerate(farm.servers)
    ]
    tasks = "    - raw: 'true'\n" * TASKS
    (directory / "hosts").write_text("".join(hosts))
    (directory / "play.yml").write_text(f"- hosts: all\n  gather_facts: false\n  strategy: free\n  tasks:\n{tasks}")
    (directory / "ansible.cfg").touch()
    environment = {"ANSIBLE_CONFIG": str(directory / "ansible.cfg"), "ANSIBLE_SSH_CONTROL_PATH_DIR": str(directory)}
    return ["-f", "10", "-i", str(directory / "hosts"), str(directory / "play.yml")], environment | {
        "HOME": str(directory)
    }


async def cold_ours(farm: Farm, directory: Path, index: int) -> float:
    async with open_executor(directory) as executor:
        node = farm.node(farm.servers[index])
        begun = time.perf_counter()
        assert (await collect(await begin(executor, node, order(("true",), durable=True)))).code == 0
        return time.perf_counter() - begun


async def cold_stock(farm: Farm, index: int) -> float:
    begun = time.perf_counter()
    async with stock(farm, index) as connection:
        await connection.run("true")
        return time.perf_counter() - begun


async def burst(farm: Farm, directory: Path, commands: int) -> tuple[float, float]:
    """Starts that are due together: milliseconds until the last is written, CPU microseconds each until all ended."""
    nodes = [farm.node(server) for server in farm.servers]
    async with open_executor(directory) as executor:
        for node in nodes:
            await executor.prepare(node, timeout=LIMIT, durable=True)
        numbers = range(commands * len(nodes))
        sessions = [executor.session(nodes[n % len(nodes)], order(("true",), durable=True)) for n in numbers]
        cpu, begun = cpu_seconds(()), time.perf_counter()
        for session in sessions:
            session.start()
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, lambda: None))
        written = time.perf_counter() - begun
        await asyncio.gather(*[collect(session) for session in sessions])
        return 1000 * written, 1e6 * (cpu_seconds(()) - cpu) / len(sessions)


def report(rounds: dict[str, list[Figure]]) -> None:
    medians = {
        name: Figure(statistics.median(one.rate for one in figures), statistics.median(one.cpu for one in figures))
        for name, figures in rounds.items()
    }
    base = next(iter(medians.values()))
    targets = {"parallel-ssh": 4.0, "OpenSSH": 2.5, "ansible": 15.0, "asyncssh": 0.85}
    print(f"{'engine':32} {'commands/s':>10} {'CPU ms':>8} {'rate ratio':>11} {'CPU ratio':>10}  G2")
    for name, figure in medians.items():
        ratio = base.rate / figure.rate
        goal = next((target for word, target in targets.items() if name.startswith(word)), None)
        verdict = "" if goal is None else f">= {goal}: {'reached' if ratio >= goal else 'MISSED'}"
        print(f"{name:32} {figure.rate:10.0f} {figure.cpu:8.3f} {ratio:11.2f} {figure.cpu / base.cpu:10.1f}  {verdict}")


async def main(arguments: argparse.Namespace, farm: Farm, directory: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        engines = [
            await stack.enter_async_context(ours(farm, directory, durable=True, at_once=100)),
            await stack.enter_async_context(ours(farm, directory, durable=True, at_once=200)),
            await stack.enter_async_context(ours(farm, directory, durable=False, at_once=32)),
            await stack.enter_async_context(bare_asyncssh(farm)),
            await stack.enter_async_context(control_master(farm)),
            await stack.enter_async_context(parallel_ssh(farm)),
            await stack.enter_async_context(ansible(farm)),
        ]
        rounds: dict[str, list[Figure]] = {engine.name: [] for engine in engines if engine}
        for _ in range(arguments.rounds):
            for engine in filter(None, engines):
                rounds[engine.name].append(await measure(engine, arguments.commands))
    report(rounds)
    cold = [(await cold_ours(farm, directory, n), await cold_stock(farm, n)) for n in range(len(farm.servers))]
    own, others = (1000 * statistics.median(times) for times in zip(*cold, strict=True))
    verdict = "reached" if own <= 60 and others / own >= 1.7 else "MISSED"
    print(f"cold connect + first run p50: ours {own:.0f} ms, stock asyncssh {others:.0f} ms, ratio {others / own:.2f}")
    print(f"  G5 <= 60 ms and >= 1.7: {verdict}")
    written, cpu = await burst(farm, directory, arguments.commands // len(farm.servers))
    print(f"burst of {arguments.commands}: last start written after {written:.1f} ms, {cpu:.0f} us client CPU each")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hosts", type=int, default=10)
    chosen = parser.parse_args()
    if find_sshd() is None:
        sys.exit("no sshd found")
    with open_farm(chosen.hosts) as opened, tempfile.TemporaryDirectory() as state:
        asyncio.run(main(chosen, opened, Path(state)))
