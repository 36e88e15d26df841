"""Log lines, as text for people or as JSON for machines; time stamps are the journal's where systemd adds them.

One line is one record, whatever nodes, files and clients put into it: what could begin another line is escaped.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime

AUDIT = "distcrond.audit"
"""The logger that says who changed, or tried to change, what: at any level of the rest."""


def configure(*, form: str, level: str) -> None:
    """Send all logging to stderr.

    Args:
        form: `text` or `json`.
        level: a level's name, in any case.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger(AUDIT).setLevel(logging.INFO)
    # asyncssh tells each channel at INFO: our own events say the same in fewer lines.
    logging.getLogger("asyncssh").setLevel(max(logging.WARNING, logging.getLogger().level))


class TextFormatter(logging.Formatter):
    """`<time> LEVEL   message`; only a traceback has more lines, all of them indented."""

    def __init__(self) -> None:
        stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
        super().__init__(f"{stamp}%(levelname)-7s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the library's name
        """Put the line together."""
        return _on_one_line(super().formatMessage(record))

    def formatException(self, ei: logging._SysExcInfoType) -> str:  # noqa: N802  the library's name
        """Show a traceback below its line."""
        return "\n".join(f"    {_on_one_line(line)}" for line in super().formatException(ei).splitlines())


class JsonFormatter(logging.Formatter):
    """One JSON object per line: `{"@timestamp", "log.level", "log.logger", "message", "error.stack_trace"?}` (ECS).

    A record that tells an event has its facts as further fields (`distcron.job`, `distcron.run_id`, `host.name` …).
    """

    def format(self, record: logging.LogRecord) -> str:
        """Put the line together."""
        line = {
            "@timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "log.level": record.levelname.lower(),
            "log.logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error.stack_trace"] = self.formatException(record.exc_info)
        # In ASCII, since readers disagree on which characters beyond it end a line.
        return json.dumps(line, default=str)


def _on_one_line(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
