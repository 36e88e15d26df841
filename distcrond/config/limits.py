"""How much a configuration may ask for; everything beyond is refused before it can cost time or memory."""

from __future__ import annotations

MAX_FILE_BYTES = 1024 * 1024
"""A definition, board or defaults file."""

MAX_DEPTH = 32
"""Maps and lists inside each other."""

MAX_VALUES = 20_000
"""Keys and values of one file, each use of a YAML alias counted with all it stands for."""

MAX_COMMAND_BYTES = 96 * 1024
"""A command, shell text or script: the kernel refuses a single argument over 128 KiB (LAUNCHER rule 4)."""

MAX_SHOWN = 60
"""Characters of a user's value repeated in a message."""
