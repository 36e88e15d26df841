"""The other major of the client, in a process of its own: one process holds one of them.

What runs there are the tests of the neighbouring files, against the servers of both majors that run here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support import parts
from support.elasticsearch import LENT

TESTS = Path(__file__).parent
REQUIREMENTS = TESTS.parent / "elasticsearch-client-8.txt"
CLIENT = Path(sys.prefix) / "elasticsearch-client-8"
FILES = ("test_elasticsearch.py", "test_elasticsearch_faults.py", "test_elasticsearch_security.py")
CHOSEN = (
    "arrives_with_its_version or major_to_speak or updated_in_place or reindex_refills or finds_the_same_runs"
    " or whole_months or opensearch or travels_in_the_header"
)
PROGRAM = """
import sys, elasticsearch, pytest
assert elasticsearch.__version__[0] == 8
sys.exit(pytest.main(sys.argv[1:]))
"""


def test_the_same_holds_for_a_client_of_major_8(elastic):
    servers = " ".join(f"{major}:{elastic.of(major).port}" for major in (9, 8))
    # an empty mark: those of major 8 are long tests elsewhere
    assert "18 passed" in with_client_8("-m", "", "-k", CHOSEN, files=FILES, servers=servers)


@pytest.mark.long
def test_security_holds_for_a_client_of_major_8():
    """Servers of its own, of both majors."""
    assert "13 passed" in with_client_8("-m", "", files=FILES[-1:])


def with_client_8(*options: str, files: Sequence[str], servers: str = "") -> str:
    """What pytest says of these files when it runs with the other client, with `servers` lent to it.

    Raises:
        AssertionError: a test failed there.
    """
    if not CLIENT.is_dir():
        command = f"{sys.executable} -m pip install --no-deps --target {CLIENT} --requirement {REQUIREMENTS}"
        parts.not_found("elasticsearch client 8", f"fetch it with: {command}")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "-p", "no:cacheprovider", *options, *(str(TESTS / name) for name in files)],
        env=os.environ | {"PYTHONPATH": str(CLIENT), LENT: servers},
        cwd=TESTS.parents[1],
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
