"""The command line of `distcrond`: what may be written there, and nothing about what it means.

Only flags that were given appear in the result, so that settings can tell them from defaults.
"""

from __future__ import annotations

import argparse

from distcrond import __version__

_FLAGS: tuple[tuple[str, str, str], ...] = (
    ("config", "FILE", "settings file (/etc/distcron/distcrond.yaml, which may be missing)"),
    ("jobs-directory", "DIR", "where job files are (/etc/distcron/jobs.d)"),
    ("nodes-directory", "DIR", "where node files are (/etc/distcron/nodes.d)"),
    ("state-directory", "DIR", "what the daemon remembers (/var/lib/distcrond)"),
    (
        "storage",
        "KIND",
        "where reports go besides the journal: es, plain (JSON lines) or sqlite, the journal alone",
    ),
    ("listen", "HOST:PORT", "address of the API and web pages (127.0.0.1:8080); none for the socket alone"),
    ("socket", "PATH", "Unix socket of the API (/run/distcrond/api.sock)"),
    ("health-check-interval", "SPAN", "how often a node that is down is tried again (10s)"),
    ("timezone", "ZONE", "time zone of schedules that name none (UTC)"),
    ("log-format", "KIND", "text or json"),
    ("log-level", "LEVEL", "debug, info, warning or error"),
    ("log-directory", "DIR", "where the JSON lines of --storage plain go"),
    ("es-host", "HOST", "host of Elasticsearch; switches reports to it on"),
    ("es-port", "PORT", "its port (9200)"),
)
_SWITCHES: tuple[tuple[str, str], ...] = (
    ("allow-no-owner", "accept jobs that nobody owns"),
    ("check", "load the files, print what is wrong with them, and exit with 0 or 1"),
    ("show-config", "print each setting with its origin, and exit"),
    ("restored", "say once that the state directory came back from a backup: what may have run is not run again"),
    ("list-failpoints", "print where DISTCRON_FAILPOINT=NAME[:HIT] can kill the daemon, for tests, and exit"),
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags of CONTRACT §1; its namespace has only what was given, named in snake_case."""
    parser = argparse.ArgumentParser(
        prog="distcrond",
        description="Cron for a cluster, from files, over SSH, with a memory. Stays in the foreground.",
        epilog="Flags win over the environment (DISTCRON_JOBS_DIRECTORY …), that over the settings file.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for name, metavar, text in _FLAGS:
        parser.add_argument(*_spellings(name), metavar=metavar, help=text)
    parser.add_argument(*_spellings("es-url"), metavar="URL", action="append", help="its URL; may be repeated")
    for name, text in _SWITCHES:
        parser.add_argument(*_spellings(name), action="store_true", help=text)
    parser.add_argument("--version", action="version", version=f"distcrond {__version__}")
    return parser


def flag_of(setting: str) -> str:
    """Return the flag for a setting: `jobs_directory` → `--jobs-directory`."""
    return "--" + setting.replace("_", "-")


def _spellings(name: str) -> tuple[str, ...]:
    """The flag, and the camelCase of the original."""
    first, *rest = name.split("-")
    camel = first + "".join(word.capitalize() for word in rest)
    return (f"--{name}", f"--{camel}") if rest else (f"--{name}",)
