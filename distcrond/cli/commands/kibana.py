"""`distcronctl kibana setup|export`."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import click

from distcrond.cli.failures import FAILED, Failure, usage
from distcrond.cli.kibana.bundle import ndjson
from distcrond.cli.settings import global_options, settings
from distcrond.cli.show.clean import word
from distcrond.cli.show.formats import say, show_data

_PREFIX = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def _prefix(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not _PREFIX.fullmatch(value):
        raise click.BadParameter("small letters, digits and . _ -, as `elasticsearch.index_prefix` in the settings")
    return value


_index_prefix = click.option(
    "--index-prefix",
    default="distcron",
    show_default=True,
    callback=_prefix,
    help="What the indices' names begin with.",
)


@click.group(
    short_help="Kibana: data views, searches and a dashboard of the reports.",
    epilog="\b\nExamples:\n  distcronctl kibana setup --url https://kibana.example.com:5601 --api-key-file key\n"
    "  distcronctl kibana export > distcrond.ndjson",
)
def command() -> None:
    """Kibana: data views, searches and a dashboard of the reports in Elasticsearch."""


@command.command(
    short_help="Import them into Kibana; again and again, it replaces what is there.",
    epilog="\b\nExamples:\n  distcronctl kibana setup --url http://localhost:5601\n"
    "  distcronctl kibana setup --url https://kibana.example.com:5601 --username anna --password-file secret\n"
    "  distcronctl kibana setup --url https://example.com/kibana --space operations --api-key-file key\n\n"
    "KIBANA_API_KEY and KIBANA_PASSWORD say the same as the files.",
)
@click.option("--url", required=True, metavar="URL", help="Where Kibana is.")
@click.option("--space", default="", metavar="ID", help="The space to import into.  [the default one]")
@click.option("--api-key-file", metavar="FILE", help="The file with the encoded API key.")
@click.option("--username", default="", metavar="NAME", help="Who asks, where there is no API key.")
@click.option("--password-file", metavar="FILE", help="The file with the password.")
@click.option("--ca-file", metavar="FILE", help="Who signed Kibana's certificate, where the system does not know.")
@click.option("--keep", is_flag=True, help="Leave alone what is there already.")
@_index_prefix
@global_options
def setup(
    *,
    url: str,
    space: str,
    api_key_file: str | None,
    username: str,
    password_file: str | None,
    ca_file: str | None,
    keep: bool,
    index_prefix: str,
) -> None:
    """Import data views, saved searches and a dashboard into Kibana, from version 8.8 on.

    What is there already is replaced, whatever was changed in it; --keep leaves it alone.
    """
    from distcrond.cli.kibana.post import Kibana, import_objects  # noqa: PLC0415  30 ms that --help need not wait for

    kibana = Kibana(
        url=url,
        space=space,
        api_key=_secret("--api-key-file", api_key_file, "KIBANA_API_KEY"),
        username=username,
        password=_secret("--password-file", password_file, "KIBANA_PASSWORD") if username else "",
        ca_file=ca_file,
    )
    answer = import_objects(kibana, ndjson(index_prefix), overwrite=not keep)
    options = settings()
    if not options.for_people:
        show_data(answer, options, key="successCount")
    errors = [each for each in answer.get("errors") or [] if not (keep and _kind(each) == "conflict")]
    for each in errors:
        say(f"{word(each.get('type'))} {word((each.get('meta') or {}).get('title') or each.get('id'))}: {_kind(each)}")
    say(f"{answer['successCount']} objects are in Kibana" + (f", {len(errors)} are not" if errors else ""))
    if errors:
        click.get_current_context().exit(FAILED)


def _kind(error: dict[str, Any]) -> str:
    return word((error.get("error") or {}).get("type") or "unknown")


def _secret(option: str, file: str | None, variable: str) -> str:
    if file is None:
        return os.environ.get(variable, "").strip()
    try:
        with open(file, encoding="utf-8") as opened:  # noqa: PTH123  pathlib would cost a third of the help's time
            secret = opened.read().strip()
    except (OSError, ValueError) as wrong:
        raise usage(f"{option}: {wrong}") from None
    if not secret:
        raise usage(f"{option}: {file} is empty")
    return secret


@command.command(
    short_help="Print them as a file, for Kibana's own import.",
    epilog="\b\nExamples:\n  distcronctl kibana export > distcrond.ndjson\n"
    "  distcronctl kibana export --index-prefix cron-prod | grep dashboard",
)
@_index_prefix
@global_options
def export(*, index_prefix: str) -> None:
    """Print them as a file: Stack Management, Saved Objects, Import takes it."""
    try:
        sys.stdout.buffer.write(ndjson(index_prefix))
    except OSError as wrong:
        raise Failure(f"cannot write: {wrong.strerror}") from None
