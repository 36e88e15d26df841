"""Fixtures of real parts; each is started only when a test asks for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest
from support import parts
from support.elasticsearch import Servers, open_servers
from support.sshd import Farm, find_sshd, open_farm

# The same examples in every run, so that a failure is the change's and not chance's; HYPOTHESIS_PROFILE=explore looks
# for new ones. Without deadlines: on a busy machine they say nothing of the code.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", max_examples=2000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

# Who starts the tests with `&` hands them an ignored Ctrl-C, which every program they start would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
# And who starts them with `nohup` an ignored hang-up: programs get it back by a handler, which ends with them.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares parts, when several processes run the tests: a file, and all of Elasticsearch's."""
    for item in items:
        shares = "elasticsearch" if "elastic" in getattr(item, "fixturenames", ()) else item.path.name
        item.add_marker(pytest.mark.xdist_group(shares))


@pytest.fixture(scope="session")
def farm() -> Iterator[Farm]:
    """A farm of real sshd that starts servers as tests ask for them."""
    if find_sshd() is None:
        parts.not_found("sshd", "OpenSSH's server is in no directory of PATH, nor in /usr/sbin")
    with open_farm() as opened:
        yield opened


@pytest.fixture(scope="session")
def elastic() -> Iterator[Servers]:
    """Real Elasticsearch servers, each started when a test asks for it."""
    with open_servers() as servers:
        yield servers


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the parts and rights that were missing."""
    for line in parts.summary(terminalreporter.getreports("skipped")):
        terminalreporter.write_line(line)
