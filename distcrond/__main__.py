"""`distcrond`: the daemon, its offline checks, and the demo."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (CONTRACT §1)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["demo"]:
        from distcrond.demo.main import main as demo  # noqa: PLC0415  only the part that was asked for is loaded

        return demo(words[1:])
    from distcrond.command import main as serve  # noqa: PLC0415

    return serve(words[1:] if words[:1] == ["serve"] else words)


if __name__ == "__main__":
    sys.exit(main())
