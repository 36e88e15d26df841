"""Job and node files → model: every supported key, in JSON and in YAML."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from distcrond.config.faults import Wrong
from distcrond.config.load import load
from distcrond.config.parse_job import definition_of
from distcrond.config.parse_schedule import parse_schedule
from distcrond.config.validate import validate
from distcrond.errors import InvalidValue
from distcrond.model.command import Argv, Script, ShellCommand
from distcrond.model.ids import JobName
from distcrond.model.job import Job, OutputPolicy, Owner, Streams, Success
from distcrond.model.node import Node
from distcrond.model.policy import (
    CatchUp,
    CatchUpPolicy,
    OnNodeLost,
    Overlap,
    PlacementPolicy,
    Select,
    SelectKind,
    Strategy,
)
from distcrond.model.retry import Conditions, Retry, RetryNode, RetryOn
from distcrond.model.rollout import Rollout, Share
from distcrond.model.span import parse_duration
from distcrond.model.spec import Calendar, CronSpec, IntervalSpec, OnceSpec, UnionSpec
from distcrond.model.zone import Scope, Zone

COMMAND = {"command": ["true"]}


@pytest.fixture
def root(tmp_path) -> Path:
    for name in ("web1", "web2", "web3"):
        write(tmp_path / "nodes.d" / f"{name}.json", {})
    (tmp_path / "jobs.d").mkdir()
    return tmp_path


def write(path: Path, data: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data) if path.suffix == ".json" else yaml.safe_dump(data))


def read_job(root: Path, data: object, suffix: str = ".json", **options: object) -> Job:
    write(root / "jobs.d" / f"j{suffix}", data)
    catalog = load(root / "jobs.d", root / "nodes.d", allow_no_owner=True, **options).catalog
    assert catalog.problems == ()
    return catalog.jobs["j"]


def read_node(root: Path, data: object) -> Node:
    write(root / "nodes.d" / "n.yaml", data)
    catalog = load(root / "jobs.d", root / "nodes.d").catalog
    assert catalog.problems == ()
    return catalog.nodes["n"]


POLICIES = [
    ({"hosts": "any"}, {}),
    ({"hosts": "all"}, {"select": Select(kind=SelectKind.ALL)}),
    ({"hosts": 2}, {"select": Select(kind=SelectKind.COUNT, amount=2)}),
    ({"hosts": "25%"}, {"select": Select(kind=SelectKind.PERCENT, amount=25)}),
    ({"hosts": "100%"}, {"select": Select(kind=SelectKind.PERCENT, amount=100)}),
    ({"hosts": ["web1", "web2", "web1"]}, {"nodes": ("web1", "web2")}),
    ({"hosts": ["web1"], "select": "all"}, {"nodes": ("web1",), "select": Select(kind=SelectKind.ALL)}),
    (
        {"select": "any", "hosts": [], "roles": ["web", "db", "web"]},
        {"roles": ("web", "db")},
    ),
    ({"select": 2, "roles": ["web"]}, {"select": Select(kind=SelectKind.COUNT, amount=2), "roles": ("web",)}),
    ({"all_roles": ["web", "db"], "exclude": ["web3"]}, {"all_roles": ("web", "db"), "exclude": ("web3",)}),
    ({"roles": ["nobody-has-it"]}, {"roles": ("nobody-has-it",)}),
    *(({"strategy": word.value}, {"strategy": word}) for word in Strategy),
]


@pytest.mark.parametrize(("policy", "expected"), POLICIES)
@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_policies(root, policy, expected, suffix):
    assert read_job(root, {**COMMAND, "policy": policy}, suffix).placement == PlacementPolicy(**expected)


ROLLOUTS = [
    ({}, {}),
    ({"hosts": "any", "batch": 1}, {"batch": Share(amount=1)}),
    ({"batch": "25%", "stagger": "30s"}, {"batch": Share(amount=25, percent=True), "stagger": timedelta(seconds=30)}),
    ({"stagger": 0.5}, {"stagger": timedelta(milliseconds=500)}),
    ({"max_failures": 0}, {"max_failures": Share(amount=0)}),
    ({"max_failures": "0%"}, {"max_failures": Share(amount=0, percent=True)}),
    ({"max_failures": "100%"}, {"max_failures": Share(amount=100, percent=True)}),
    ({"min_success": "all"}, {}),
    ({"hosts": "all", "min_success": 40}, {"min_success": Share(amount=40)}),
    ({"hosts": 3, "min_success": 3}, {"min_success": Share(amount=3)}),
    ({"hosts": "50%", "min_success": "75%"}, {"min_success": Share(amount=75, percent=True)}),
    ({"hosts": "any", "min_success": 1}, {"min_success": Share(amount=1)}),
]


@pytest.mark.parametrize(("policy", "expected"), ROLLOUTS)
@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_rollouts(root, policy, expected, suffix):
    assert read_job(root, {**COMMAND, "policy": policy}, suffix).rollout == Rollout(**expected)


SCHEDULES = [
    (None, None),
    ("*/5 * * * *", CronSpec(expression="*/5 * * * *")),
    ("0 * * * * *", CronSpec(expression="0 * * * * *")),
    ("@daily", CronSpec(expression="@daily")),
    ("@every 90s", CronSpec(expression="@every 90s")),
    ({"cron": "H 3 * * *", "timezone": "Asia/Tokyo"}, CronSpec(expression="H 3 * * *", timezone="Asia/Tokyo")),
    ({"interval": "10m", "reference": "03:10"}, IntervalSpec(interval=timedelta(minutes=10), reference=time(3, 10))),
    ({"interval": "1d", "reference": "03:10:30"}, IntervalSpec(interval=timedelta(days=1), reference=time(3, 10, 30))),
    ({"interval": 0.5}, IntervalSpec(interval=timedelta(milliseconds=500))),
    (
        {"interval": 90, "reference": "2026-01-01T00:00:00Z", "timezone": "UTC"},
        IntervalSpec(interval=timedelta(seconds=90), reference=datetime(2026, 1, 1, tzinfo=UTC), timezone="UTC"),
    ),
    ({"at": "2027-01-01T01:00:00+01:00"}, OnceSpec(at=datetime(2027, 1, 1, tzinfo=UTC))),
    (["@daily"], CronSpec(expression="@daily")),
    (
        ["@daily", {"interval": "5m"}],
        UnionSpec(members=(CronSpec(expression="@daily"), IntervalSpec(interval=timedelta(minutes=5)))),
    ),
]


@pytest.mark.parametrize(("schedule", "expected"), SCHEDULES)
@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_schedules(root, schedule, expected, suffix):
    assert read_job(root, {**COMMAND, "schedule": schedule}, suffix).schedule == expected


COMMANDS = [
    ({"command": ["ls", "-l", "a b", ""]}, Argv(words=("ls", "-l", "a b", ""))),
    ({"command": ["printf", "a\nb"]}, Argv(words=("printf", "a\nb"))),
    ({"shell_command": "a | b\nc"}, ShellCommand(text="a | b\nc")),
    ({"script": {"interpreter": "/bin/bash", "source": "id"}}, Script(interpreter=("/bin/bash",), source="id")),
    ({"script": {"interpreter": ["python3", "-u"], "source": "x"}}, Script(interpreter=("python3", "-u"), source="x")),
    ({"script": {"source": "id"}}, Script(interpreter=("/bin/sh",), source="id")),
    (
        {"script": {"source": "#!/usr/bin/env python3\npass"}},
        Script(interpreter=("/usr/bin/env", "python3"), source="#!/usr/bin/env python3\npass"),
    ),
    ({"script": {"source": "#!\nid"}}, Script(interpreter=("/bin/sh",), source="#!\nid")),
]


@pytest.mark.parametrize(("command", "expected"), COMMANDS)
def test_commands(root, command, expected):
    assert read_job(root, command).command == expected


HOUR = timedelta(hours=1)
KEYS = [
    ("description", "Grüße 🎄", "description", "Grüße 🎄"),
    ("owners", [{"name": "a", "email_address": "a@b"}], "owners", (Owner(name="a", email_address="a@b"),)),
    ("environment", {"A": "1", "_b": ""}, "environment", {"A": "1", "_b": ""}),
    ("working_directory", "/srv/x y", "working_directory", "/srv/x y"),
    ("umask", "0022", "umask", 0o022),
    ("umask", "77", "umask", 0o077),
    ("run_as", "www-data", "run_as", "www-data"),
    ("success", {"exit_codes": [0, 3.0]}, "success", Success(exit_codes=frozenset({0, 3}))),
    ("success", {"partial_exit_codes": [75]}, "success", Success(partial_exit_codes=frozenset({75}))),
    ("timeout", 0, "timeout", timedelta(0)),
    ("timeout", "1h30m", "timeout", timedelta(minutes=90)),
    ("total_timeout", "2h", "total_timeout", timedelta(hours=2)),
    ("warn_after", "1h", "warn_after", timedelta(hours=1)),
    ("warn_after", 0, "warn_after", timedelta(0)),
    ("idle_timeout", "5m", "idle_timeout", timedelta(minutes=5)),
    ("kill_grace", "0s", "kill_grace", timedelta(0)),
    ("connect_timeout", 2.5, "connect_timeout", timedelta(seconds=2.5)),
    ("start_deadline", "2w", "start_deadline", timedelta(weeks=2)),
    *(("overlap", word.value, "overlap", word) for word in Overlap),
    (
        "catch_up",
        {"window": "1d", "policy": "all", "max": 3},
        "catch_up",
        CatchUp(window=timedelta(days=1), policy=CatchUpPolicy.ALL, limit=3),
    ),
    ("catch_up", {}, "catch_up", CatchUp()),
    (
        "output",
        {"streams": "separate", "max_bytes": 4096, "retention": "7d"},
        "output",
        OutputPolicy(streams=Streams.SEPARATE, max_bytes=4096, retention=timedelta(days=7)),
    ),
    ("retry", {}, "retry", Retry()),
    ("retry", {"max": 2}, "retry", Retry(limit=2)),
    ("retry", {"max": 2, "delay": "1h"}, "retry", Retry(limit=2, delay=HOUR, max_delay=HOUR)),
    (
        "retry",
        {"max": 3, "delay": 5, "factor": 1.5, "max_delay": "1h", "within": "1h", "node": "same"},
        "retry",
        Retry(limit=3, delay=HOUR / 720, factor=1.5, max_delay=HOUR, within=HOUR, node=RetryNode.SAME),
    ),
    (
        "retry",
        {"on": ["failure", "exit:75", "exit:0"], "not_on": ["timeout"]},
        "retry",
        Retry(
            on=Conditions(ends=frozenset({RetryOn.FAILURE}), exit_codes=frozenset({0, 75})),
            not_on=Conditions(ends=frozenset({RetryOn.TIMEOUT})),
        ),
    ),
    ("durable", False, "durable", False),
    ("on_node_lost", "fail", "on_node_lost", OnNodeLost.FAIL),
    ("node_lost_after", "90s", "node_lost_after", timedelta(seconds=90)),
    ("idempotent", True, "idempotent", True),
    ("enabled", False, "enabled", False),
    ("labels", {"a.b/c": "x y"}, "labels", {"a.b/c": "x y"}),
    ("runbook_url", "https://wiki.example.com/x?y#z", "runbook_url", "https://wiki.example.com/x?y#z"),
]


@pytest.mark.parametrize(("key", "value", "attribute", "expected"), KEYS)
@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_keys(root, key, value, attribute, expected, suffix):
    assert getattr(read_job(root, {**COMMAND, key: value}, suffix), attribute) == expected


def test_a_deadline_is_a_part_of_the_period(root):
    assert read_job(root, {**COMMAND, "schedule": "@daily", "deadline": "80%"}).deadline == 80


def test_a_rerun_goes_with_the_word_that_it_does_no_harm(root):
    job = read_job(root, {**COMMAND, "on_node_lost": "rerun", "idempotent": True})
    assert (job.on_node_lost, job.idempotent) == (OnNodeLost.RERUN, True)


def test_what_is_left_out_is_the_models_default(root):
    job = read_job(root, COMMAND)
    assert job == Job(name="j", definition=job.definition, command=Argv(words=("true",)))


def test_the_shape_of_the_original_readme(root):
    job = read_job(
        root,
        {
            "description": "Nightly invoices",
            "owners": [{"name": "Billing team", "email_address": "billing@example.com"}],
            "policy": {"hosts": "any", "roles": ["web", "db"]},
            "schedule": {"interval": "10m", "reference": "03:10"},
            "command": ["/usr/local/bin/invoices", "--all"],
        },
    )
    assert job.placement == PlacementPolicy(roles=("web", "db"))


def test_a_definition_is_named_by_its_content(root):
    one = read_job(root, {"command": ["true"], "enabled": True})
    other = read_job(root, {"enabled": True, "command": ["true"]}, ".json")
    assert one.definition == other.definition == definition_of({"command": ["true"], "enabled": True}, one.command)
    text = b'{"command":["true"],"enabled":true}'
    assert one.definition == f"sha256:{hashlib.sha256(text).hexdigest()}"
    assert read_job(root, {"command": ["false"], "enabled": True}).definition != one.definition


def test_defaults_count_as_if_they_were_written_in_the_file(root):
    write(root / "jobs.d" / "_defaults.json", {"timeout": 5})
    with_defaults = read_job(root, COMMAND)
    (root / "jobs.d" / "_defaults.json").unlink()
    assert read_job(root, {**COMMAND, "timeout": 5}).definition == with_defaults.definition


def test_a_script_file_is_read_and_counts_with_its_text(root):
    (root / "jobs.d" / "x.sh").write_text("#!/bin/bash\necho 1\n")
    first = read_job(root, {"script": {"file": "x.sh"}})
    assert first.command == Script(interpreter=("/bin/bash",), source="#!/bin/bash\necho 1\n")
    loaded = load(root / "jobs.d", root / "nodes.d", allow_no_owner=True)
    assert load(root / "jobs.d", root / "nodes.d", allow_no_owner=True, previous=loaded) is loaded
    (root / "jobs.d" / "x.sh").write_text("#!/bin/bash\necho 22\n")
    second = load(root / "jobs.d", root / "nodes.d", allow_no_owner=True, previous=loaded).catalog.jobs["j"]
    assert second.command.source == "#!/bin/bash\necho 22\n"
    assert second.definition != first.definition


LIMIT = 96 * 1024


@pytest.mark.parametrize(
    "command",
    [
        {"command": ["x" * 1000] * 100},
        {"command": ["x" * (LIMIT + 1)]},
        {"shell_command": "x" * (LIMIT + 1)},
        {"shell_command": "ä" * (LIMIT // 2 + 1)},
        {"script": {"source": "x" * (LIMIT + 1)}},
    ],
)
def test_a_command_over_96_kib_is_refused(root, command):
    write(root / "jobs.d" / "j.json", command)
    (problem,) = load(root / "jobs.d", root / "nodes.d", allow_no_owner=True).catalog.problems
    assert problem.code == "command_too_long"


def test_a_command_of_96_kib_is_accepted(root):
    assert len(read_job(root, {"shell_command": "x" * LIMIT}).command.text) == LIMIT


def test_a_job_without_owner_needs_leave(root):
    write(root / "jobs.d" / "j.json", COMMAND)
    (problem,) = load(root / "jobs.d", root / "nodes.d").catalog.problems
    assert (problem.code, problem.line, problem.column) == ("missing_owner", 1, 1)


def test_all_faults_of_a_file_come_at_once(root):
    write(
        root / "jobs.d" / "j.json",
        {"comand": [], "schedule": "99 * * * *", "timeout": "x", "policy": {"hosts": ["x1"]}},
    )
    codes = {problem.code for problem in load(root / "jobs.d", root / "nodes.d").catalog.problems}
    assert codes == {"unknown_key", "missing_key", "bad_schedule", "bad_value", "missing_owner"}


@given(st.text(max_size=12) | st.integers() | st.just(10**400) | st.floats() | st.text("0123456789.smhdw", max_size=12))
def test_a_duration_is_a_span_or_an_invalid_value(value):
    try:
        span = parse_duration(value)
    except InvalidValue:
        return
    assert timedelta(0) <= span <= timedelta(days=36_525)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
SOME_KEYS = [
    "command",
    "shell_command",
    "script",
    "policy",
    "schedule",
    "owners",
    "timeout",
    "success",
    "catch_up",
    "umask",
]
SOME_KEYS += ["environment", "output", "labels", "overlap", "durable", "retry", "start_deadline", "run_as"]
INNER_KEYS = [
    "hosts",
    "select",
    "roles",
    "exclude",
    "cron",
    "interval",
    "at",
    "reference",
    "timezone",
    "source",
    "file",
]
INNER_KEYS += [
    "on",
    "not_on",
    "delay",
    "factor",
    "interpreter",
    "exit_codes",
    "partial_exit_codes",
    "window",
    "max",
    "max_bytes",
    "retention",
    "name",
]


@given(
    st.dictionaries(
        st.sampled_from(SOME_KEYS),
        JSON | st.dictionaries(st.sampled_from(INNER_KEYS), JSON, max_size=3),
        max_size=5,
    )
)
def test_any_data_is_a_job_or_problems(tmp_path_factory, data):
    root = tmp_path_factory.getbasetemp() / "any"
    (root / "nodes.d").mkdir(parents=True, exist_ok=True)
    write(root / "jobs.d" / "j.json", data)
    catalog = load(root / "jobs.d", root / "nodes.d").catalog
    assert bool(catalog.jobs) != bool(catalog.problems)


CRON = st.text("0123456789*/-,LWH#?() @everydailymonfri.smh\u0661\t", max_size=24)
INSTANTS = st.datetimes().map(str) | st.builds(
    "{:%Y-%m-%dT%H:%M:%S}{}".format, st.datetimes(), st.sampled_from(["Z", "+23:59", "-23:59"])
)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "", "Europe", "../x", "a\0b", "/etc/passwd", "Factory"]) | st.text(
    max_size=9
)
SPANS = st.integers(0, 10**10) | st.floats(0, 4e9) | st.from_regex(r"([0-9]{1,12}(ms|s|m|h|d|w)){1,2}", fullmatch=True)
DECAY = st.fixed_dictionaries({"factor": st.floats()}, optional={"step": SPANS, "min": SPANS, "max": SPANS})
MAPS = (
    st.fixed_dictionaries({"cron": CRON}, optional={"timezone": ZONES})
    | st.fixed_dictionaries({"at": INSTANTS}, optional={"timezone": ZONES})
    | st.fixed_dictionaries({"interval": SPANS}, optional={"timezone": ZONES, "reference": INSTANTS | CRON})
    | st.fixed_dictionaries({"every": SPANS}, optional={"timezone": ZONES, "within": st.just("22:00-06:00")})
    | st.fixed_dictionaries({"interval": SPANS, "start": INSTANTS, "decay": DECAY})
)
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "start": INSTANTS,
        "until": INSTANTS,
        "jitter": SPANS,
        "max_runs": st.integers(-1, 10),
        "calendar": st.sampled_from(["work", "never", ["work", "never"]]),
        "exclude": st.just("work"),
    },
)
ANY = CRON | st.builds(lambda base, limits: base | limits, MAPS, LIMITS)
CALENDARS = {"work": Calendar(name="work", weekdays=(0, 1, 2, 3, 4))}


@given(ANY | st.lists(ANY, min_size=1, max_size=3))
def test_any_schedule_is_a_spec_or_wrong(value):
    if not validate("job", {**COMMAND, "schedule": value}):
        with suppress(Wrong):
            assert parse_schedule(value, job=JobName("j"), zone="UTC", calendars=CALENDARS)


def test_every_key_of_a_node(root):
    node = read_node(
        root,
        {
            "description": "x",
            "roles": ["web", "db"],
            "labels": {"rack": "12"},
            "connection_type": "ssh",
            "connection_options": {
                "ssh_host": "[2001:db8::1]:2222",
                "ssh_user": "cron",
                "ssh_private_key_file": "keys/id",
                "ssh_known_hosts_file": "/etc/x",
                "ssh_config_file": "../config",
                "ssh_certificate_file": "id-cert.pub",
                "ssh_agent": True,
                "proxy_jump": "bastion",
                "connect_timeout": "5s",
                "keepalive": 3,
                "spool_directory": "~/spool",
            },
            "capacity": 3,
            "weight": 2,
            "durable": False,
            "enabled": False,
            "environment": {"A": "b"},
            "run_as": "app",
        },
    )
    assert node == Node(
        name="n",
        roles=frozenset({"web", "db"}),
        labels={"rack": "12"},
        options={
            "ssh_host": "[2001:db8::1]:2222",
            "ssh_user": "cron",
            "ssh_private_key_file": f"{root}/nodes.d/keys/id",
            "ssh_known_hosts_file": "/etc/x",
            "ssh_config_file": f"{root}/config",
            "ssh_certificate_file": f"{root}/nodes.d/id-cert.pub",
            "ssh_agent": True,
            "proxy_jump": "bastion",
            "connect_timeout": 5.0,
            "keepalive": 3.0,
            "spool_directory": "~/spool",
        },
        capacity=3,
        weight=2,
        durable=False,
        enabled=False,
        environment={"A": "b"},
        run_as="app",
        description="x",
    )


@pytest.mark.parametrize("host", ["web1", "web1.example.com:22", "10.0.0.1:2222", "[::1]", "[::1]:22", "::1", "a_b"])
def test_addresses(root, host):
    assert read_node(root, {"connection_options": {"ssh_host": host}}).options["ssh_host"] == host


@pytest.mark.parametrize(
    "host", ["a b", "web1:", "web1:0", "web1:65536", "web1:ssh", "[::1", "-oProxyCommand=x", "a\n", "a@b", "[::1]x"]
)
def test_bad_addresses(root, host):
    write(root / "nodes.d" / "n.json", {"connection_options": {"ssh_host": host}})
    (problem,) = load(root / "jobs.d", root / "nodes.d").catalog.problems
    assert problem.code == "bad_value"


def test_a_local_node(root):
    assert read_node(root, {"connection_type": "local"}).connection == "local"


# ---------------------------------------------------------------- zones

ZONES = {"db": Zone(name="db", capacity=2), "disk": Zone(name="disk", capacity=1, scope=Scope.NODE)}


def test_units_of_zones_and_a_priority(root):
    job = read_job(root, COMMAND | {"zones": {"db": 2, "disk": 1}, "priority": -5}, zones=ZONES)
    assert (job.zones, job.priority) == ({"db": 2, "disk": 1}, -5)
    job = read_job(root, COMMAND, zones=ZONES)
    assert (job.zones, job.priority) == ({}, 0)


@pytest.mark.parametrize(
    ("wanted", "code", "message"),
    [
        ({"dbs": 1}, "unknown_zone", 'there is no zone "dbs" (did you mean `db`?)'),
        ({"db": 1, "x": 1}, "unknown_zone", 'there is no zone "x" (define it below `zones` in distcrond.yaml)'),
        (
            {"db": 3},
            "bad_value",
            (
                "zone db has 2 in all, so a run that takes 3 could never start"
                " (2 or less, or raise its capacity in distcrond.yaml)"
            ),
        ),
    ],
)
def test_units_that_can_never_be_there(root, wanted, code, message):
    write(root / "jobs.d" / "j.json", COMMAND | {"zones": wanted})
    catalog = load(root / "jobs.d", root / "nodes.d", allow_no_owner=True, zones=ZONES).catalog
    (problem,) = catalog.problems
    assert (problem.code, problem.field) == (code, f"zones.{list(wanted)[-1]}")
    assert str(problem).endswith(f"error: {message}")
    assert not catalog.jobs


def test_a_file_is_read_again_for_other_zones(root):
    write(root / "jobs.d" / "j.json", COMMAND | {"zones": {"db": 1}})
    first = load(root / "jobs.d", root / "nodes.d", allow_no_owner=True, zones=ZONES)
    assert first.catalog.zones == ZONES
    second = load(root / "jobs.d", root / "nodes.d", allow_no_owner=True, previous=first)
    (problem,) = second.catalog.problems
    assert (problem.code, problem.active, list(second.catalog.jobs)) == ("unknown_zone", True, ["j"])
