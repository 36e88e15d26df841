"""How long each command's `--help` takes: `python -m tests.bench.bench_help [--rounds 15]`; CONTRACT §1: below 120 ms.

Whole processes, in rounds over all commands, so that a busy moment of the machine meets them all. The processor time is
the program's own; the time by the clock is also everybody else's.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import click

from distcrond.cli.main import cli

PROGRAM = Path(sys.executable).parent / "distcronctl"


def commands() -> list[tuple[str, ...]]:
    """Every command and sub-command by its words, the program itself first."""
    context = click.Context(cli)
    found: list[tuple[str, ...]] = [()]
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, own) for own in command.list_commands(context)]
    return found


def measure(words: tuple[str, ...]) -> tuple[float, float]:
    """Milliseconds by the clock, and of processor."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([PROGRAM, *words, "--help"], stdout=subprocess.DEVNULL, check=True, env={"PATH": os.environ["PATH"]})
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1e3, cpu * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    every = commands()
    for words in every[:3]:
        measure(words)  # what is read from the disk
    times: dict[tuple[str, ...], list[tuple[float, float]]] = {words: [] for words in every}
    for _ in range(rounds):
        for words in every:
            times[words].append(measure(words))
    medians = {words: [statistics.median(each) for each in zip(*found, strict=True)] for words, found in times.items()}
    for words, (wall, cpu) in sorted(medians.items(), key=lambda entry: -entry[1][0]):
        print(f"{wall:6.0f} ms  {cpu:4.0f} ms CPU  distcronctl {' '.join(words)} --help")
    bare = statistics.median(measure_bare() for _ in range(rounds))
    print(f"{bare:6.0f} ms  an empty Python beside them; {len(every)} commands, n = {rounds} each, medians")


def measure_bare() -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", ""], check=True)
    return (time.perf_counter() - begin) * 1e3


if __name__ == "__main__":
    main()
