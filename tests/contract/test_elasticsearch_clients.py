"""The other major of the client, in a process of its own: one process holds one of them.

What runs there are the tests of the neighbouring files, against the servers of both majors that run here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support import parts
from support.elasticsearch import LENT

TESTS = Path(__file__).parent
REQUIREMENTS = TESTS.parent / "elasticsearch-client-8.txt"
CLIENT = Path(sys.prefix) / "elasticsearch-client-8"
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
    if not CLIENT.is_dir():
        command = f"{sys.executable} -m pip install --no-deps --target {CLIENT} --requirement {REQUIREMENTS}"
        parts.not_found("elasticsearch client 8", f"fetch it with: {command}")
    servers = " ".join(f"{major}:{elastic.of(major).port}" for major in (9, 8))
    files = [str(TESTS / f"test_elasticsearch{name}.py") for name in ("", "_faults", "_security")]
    done = subprocess.run(
        # an empty mark: those of major 8 are long tests elsewhere
        [sys.executable, "-c", PROGRAM, "-p", "no:cacheprovider", "-m", "", "-k", CHOSEN, *files],
        env=os.environ | {"PYTHONPATH": str(CLIENT), LENT: servers},
        cwd=TESTS.parents[1],
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "18 passed" in done.stdout
