"""All benchmarks, one after the other: `python tests/bench`, on a quiet machine.

Each is a script of its own with `--help`: `bench_ssh` (engines side by side in interleaved rounds: G2, G5),
`bench_engine` (a burst through the whole daemon, what a run costs it part by part, and its memory: G1, G4),
`bench_help` (what `--help` takes), `bench_journal` (G9), `bench_output` (a gigabyte of output: G10), `bench_reload`
(ten thousand files: G8), `bench_report` (a million runs), `bench_sink` (Elasticsearch, where a server can be had),
`bench_watch` (live output and streams). They print ratios to peers or targets and judge nothing.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
failed = []
for script in sorted(HERE.glob("bench_*.py")):
    print(f"\n== {script.stem}", flush=True)
    if subprocess.run([sys.executable, str(script)], cwd=HERE.parents[1], check=False).returncode:
        failed.append(script.stem)
sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
