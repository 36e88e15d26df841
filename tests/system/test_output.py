"""Output of every shape through the whole: commands on real sshd, the daemon, its journal, the API and the client."""

from __future__ import annotations

import time

import pytest
from support.daemon import until
from support.memory import forget_peak, peak

MIB = 1024 * 1024
KEPT = 16 * MIB
"""What a job keeps unless it says otherwise."""
GROWTH = 16 * MIB
"""How much memory a flood may cost the daemon (PERFORMANCE G10); its cap does not matter for that."""
LINE = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n"
NEIGHBOUR = "web2"


def on(node: str, command: str, **keys):
    return {"shell_command": command, "policy": {"hosts": [node]}} | keys


def said(cluster, run) -> bytes:
    """All that is kept of a run on one node that succeeded."""
    assert run["outcome"] == "success", f"{run}\n{cluster.log()}"
    return cluster.output(run["id"], run["targets"][0]["node"])


@pytest.mark.parametrize("size", [256 * MIB, pytest.param(1024 * MIB, marks=pytest.mark.long)])
def test_a_flood_costs_neither_memory_nor_disk_nor_its_neighbours_time(cluster, add, farm, size):
    spool = farm.host(0).home / "spool"
    name = f"flood{size // MIB}"
    add(name, **on("web1", f"yes {LINE.decode().strip()} | head -c {size}; sleep 1"))
    add("neighbour", **on(NEIGHBOUR, "echo fine"))
    assert said(cluster, cluster.run_job("neighbour")) == b"fine\n"
    before = forget_peak(cluster.process.pid)
    run, most, waits = cluster.trigger(name), 0, []
    while cluster.get(f"runs/{run}")["state"] != "finished":
        began = time.perf_counter()
        assert said(cluster, cluster.run_job("neighbour")) == b"fine\n"
        waits.append(time.perf_counter() - began)
        most = max(most, sum(file.stat().st_size for file in spool.rglob(f"{run}*.m*")))
    assert most <= KEPT // 2 + 2 * KEPT // 2  # a head, and two segments that take turns
    assert max(waits) < 20
    assert peak(cluster.process.pid) - before <= GROWTH, f"{before} grew to {peak(cluster.process.pid)}"
    # both halves are whole lines
    assert said(cluster, cluster.get(f"runs/{run}")) == LINE * (KEPT // len(LINE))
    size_of = cluster.get(f"runs/{run}")["targets"][0]["output"]
    assert (size_of["bytes"], size_of["kept"], size_of["truncated"]) == (size, KEPT, True)
    told = f"{size - KEPT:,} bytes from byte {KEPT // 2:,} on were not kept"
    assert told in cluster.ctl("logs", run).stderr


def test_a_line_of_a_hundred_megabytes(cluster, add):
    size = 100 * MIB
    add("line", **on("web1", f"printf begin; head -c {size} /dev/zero | tr '\\0' x; echo end of the line"))
    before = forget_peak(cluster.process.pid)
    run = cluster.run_job("line", seconds=120)
    assert peak(cluster.process.pid) - before <= GROWTH, f"{before} grew to {peak(cluster.process.pid)}"
    kept = said(cluster, run)
    assert len(kept) == KEPT
    assert kept.startswith(b"beginx")
    assert kept.endswith(b"xend of the line\n")
    assert set(kept[5:-17]) == set(b"x")
    assert run["targets"][0]["output"]["bytes"] == size + 5 + 16


def test_bytes_that_are_no_text_arrive_as_they_were(cluster, add):
    every = "".join(f"\\{number:03o}" for number in range(256))
    add("binary", **on("web1", f"printf '{every}'; printf ' needle \\377\\376\\n\\303'"))
    run = cluster.run_job("binary")
    whole = bytes(range(256)) + b" needle \xff\xfe\n\xc3"
    assert said(cluster, run) == whole
    assert cluster.ctl("logs", run["id"], text=False).stdout == whole
    until(lambda: cluster.all_runs("&q=needle"), what=cluster.log)


def test_ten_thousand_tiny_writes(cluster, add):
    add("tiny", **on("web1", "i=0; while [ $i -lt 10000 ]; do i=$((i+1)); printf .; done"))
    assert said(cluster, cluster.run_job("tiny")) == b"." * 10_000


def test_who_opens_stderr_anew_truncates_nothing(cluster, add):
    add("stderr", **on("web1", "echo 1; echo 2 >/dev/stderr; echo 3; echo 4 >/dev/stdout; echo 5"))
    assert said(cluster, cluster.run_job("stderr")) == b"1\n2\n3\n4\n5\n"


def test_a_child_that_holds_the_pipe_does_not_hold_the_end(cluster, add):
    add("child", **on("web1", "sleep 300 & echo parent"))
    began = time.perf_counter()
    assert said(cluster, cluster.run_job("child")) == b"parent\n"
    assert time.perf_counter() - began < 30


def test_a_network_that_stands_still_slows_no_command(cluster, add, farm):
    """The command ends, all its output printed, while not a byte can travel."""
    server = farm.add(1)[0]
    cluster.ssh_node("stalled", farm.node(server, keepalive="1s").options)
    add(
        "stalled",
        **on(
            "stalled",
            f"echo up; until [ -e $LEDGER/go ]; do sleep 0.05; done; "
            f"head -c {100 * MIB} /dev/zero; echo done; touch $LEDGER/done",
        ),
    )
    run = cluster.trigger("stalled")
    cluster.await_output(run, "stalled", b"up\n")
    server.freeze()
    try:
        (cluster.ledger / "go").touch()
        until((cluster.ledger / "done").exists, 60)
    finally:
        server.thaw()
    seen = cluster.finished(run, 60)
    assert seen["targets"][0]["output"]["bytes"] == 100 * MIB + 8
    assert said(cluster, seen).endswith(b"\0done\n")
