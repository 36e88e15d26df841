"""Log lines, as text for people or as JSON for machines; time stamps are the journal's where systemd adds them."""

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
    handler.setFormatter(_JsonFormatter() if form == "json" else _text_formatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger(AUDIT).setLevel(logging.INFO)
    # asyncssh tells each channel at INFO: our own events say the same in fewer lines.
    logging.getLogger("asyncssh").setLevel(max(logging.WARNING, logging.getLogger().level))


def _text_formatter() -> logging.Formatter:
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    return logging.Formatter(f"{stamp}%(levelname)-7s %(message)s")


class _JsonFormatter(logging.Formatter):
    """One JSON object per line: `{"@timestamp", "log.level", "log.logger", "message", "error.stack_trace"?}` (ECS)."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "@timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "log.level": record.levelname.lower(),
            "log.logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error.stack_trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
