"""The daemon where everything has an IPv6 address: its API and a node."""

from __future__ import annotations

from urllib.parse import urlsplit

from support import parts
from support.daemon import open_place


def test_the_api_and_a_node_on_the_loopback_address(place, farm):
    parts.require_ipv6()
    place.ssh_node("six", farm.node(farm.add(1, ListenAddress="::1")[0]).options)
    place.job("job", shell_command="echo $SSH_CLIENT")
    place.start("--listen", "[::1]:0")
    assert place.url.startswith("http://[::1]:")
    run = place.run_job("job")
    assert run["outcome"] == "success", run
    assert place.output(run["id"], "six").startswith(b"::1 ")
    assert "six" in place.ctl("--server", place.url, "nodes").stdout
    assert run["id"] in place.ctl("--server", place.url, "runs", "--output", "json").stdout


def test_a_taken_address_is_named_as_it_was_written(place):
    parts.require_ipv6()
    place.node("here")
    place.start("--listen", "[::1]:0")
    taken = urlsplit(place.url).netloc
    with open_place() as other:
        other.node("here")
        done = other.run("--listen", taken)
    assert done.returncode != 0
    assert f"cannot listen on {taken}: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr
