"""Flags, environment, file, default: which wins, and what is refused."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from distcrond.command import main
from distcrond.config import settings as module
from distcrond.config.flags import build_parser
from distcrond.config.settings import Settings, read_settings
from distcrond.errors import ConfigurationRejected
from distcrond.model.problem import Problem
from distcrond.model.quarantine import QuarantineRule
from distcrond.model.zone import Scope, Zone


@pytest.fixture(autouse=True)
def no_system_file(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "DEFAULT_CONFIG", tmp_path / "system" / "distcrond.yaml")


def read(*words: str, **environment: str) -> Settings:
    return read_settings(vars(build_parser().parse_args(words)), environment)


def refused(*words: str, **environment: str) -> list[Problem]:
    with pytest.raises(ConfigurationRejected) as rejected:
        read(*words, **environment)
    return list(rejected.value.problems)


def test_the_defaults():
    settings = read()
    assert settings.jobs_directory == Path("/etc/distcron/jobs.d")
    assert settings.nodes_directory == Path("/etc/distcron/nodes.d")
    assert settings.listen == ("127.0.0.1", 8080)
    assert settings.health_check_interval == timedelta(seconds=10)
    assert (settings.timezone, settings.storage, settings.allow_no_owner) == ("UTC", "sqlite", False)
    assert settings.origins == {}


def test_flag_over_environment_over_file_over_default(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("timezone: Asia/Tokyo\nlog_level: error\nlog_format: json\n")
    settings = read(
        "--config", str(file), "--timezone", "Europe/Berlin", DISTCRON_TIMEZONE="UTC", DISTCRON_LOG_LEVEL="DEBUG"
    )
    assert (settings.timezone, settings.log_level, settings.log_format) == ("Europe/Berlin", "debug", "json")
    assert settings.origins == {
        "timezone": "flag --timezone",
        "log_level": "environment DISTCRON_LOG_LEVEL",
        "log_format": f"{file}:3",
    }
    assert f"log_format: json  # {file}:3" in settings.described()
    assert "storage: sqlite  # default" in settings.described()


@pytest.mark.parametrize(
    ("kebab", "camel", "value", "attribute", "expected"),
    [
        ("--jobs-directory", "--jobsDirectory", "/x", "jobs_directory", Path("/x")),
        ("--nodes-directory", "--nodesDirectory", "/x/../y", "nodes_directory", Path("/y")),
        ("--state-directory", "--stateDirectory", "/x", "state_directory", Path("/x")),
        ("--health-check-interval", "--healthCheckInterval", "5", "health_check_interval", timedelta(seconds=5)),
        ("--health-check-interval", "--healthCheckInterval", "1m", "health_check_interval", timedelta(minutes=1)),
        ("--log-format", "--logFormat", "json", "log_format", "json"),
        ("--log-level", "--logLevel", "WARNING", "log_level", "warning"),
        ("--listen", "--listen", "[::1]:0", "listen", ("::1", 0)),
        ("--listen", "--listen", "none", "listen", None),
        ("--socket", "--socket", "/x/y.sock", "socket", Path("/x/y.sock")),
    ],
)
def test_flags_and_their_older_spelling(kebab, camel, value, attribute, expected):
    assert getattr(read(kebab, value), attribute) == expected
    assert getattr(read(camel, value), attribute) == expected


def test_switches():
    assert read("--allow-no-owner").allow_no_owner
    assert read("--allowNoOwner").allow_no_owner
    assert read(DISTCRON_ALLOW_NO_OWNER="true").allow_no_owner
    assert not read(DISTCRON_ALLOW_NO_OWNER="false").allow_no_owner
    given = vars(build_parser().parse_args(["--check", "--show-config", "--list-failpoints"]))
    assert given == {"check": True, "show_config": True, "list_failpoints": True}
    assert read_settings(given, {}).origins == {}


def test_the_environment_is_nested_by_double_underscores():
    assert read(DISTCRON_API__LISTEN="localhost:1").listen == ("localhost", 1)
    assert read(DISTCRON_LISTEN="localhost:2").listen == ("localhost", 2)
    assert read(DISTCRON_SOCKET="/x").socket == Path("/x")


def test_what_jobs_and_clients_see_is_no_setting():
    names = (
        "RUN_ID",
        "JOB",
        "NODE",
        "ATTEMPT",
        "ATTEMPT_ID",
        "SERVER",
        "TOKEN",
        "TOKEN_FILE",
        "CERTIFICATE",
        "KEY",
        "FAILPOINTS",
    )
    assert read(**{f"DISTCRON_{name}": "x" for name in names}, PATH="x").origins == {}


def test_relative_paths_begin_where_they_are_written(tmp_path, monkeypatch):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/x.yaml").write_text("jobs_directory: jobs.d\n")
    monkeypatch.chdir(tmp_path)
    settings = read("--config", "etc/x.yaml", "--nodes-directory", "nodes.d")
    assert settings.jobs_directory == tmp_path / "etc/jobs.d"
    assert settings.nodes_directory == tmp_path / "nodes.d"


def test_conf_d_is_merged_in_the_order_of_names(tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "x.yaml").write_text("log_level: error\napi: {listen: 'a:1', socket: /s}\n")
    (tmp_path / "conf.d/20.yaml").write_text("log_level: debug\n")
    (tmp_path / "conf.d/10.yaml").write_text("log_level: info\napi: {listen: 'b:2'}\n")
    settings = read(DISTCRON_CONFIG=str(tmp_path / "x.yaml"))
    assert (settings.log_level, settings.listen, settings.socket) == ("debug", ("b", 2), Path("/s"))


def test_maps_are_merged_and_lists_replaced(tmp_path):
    (tmp_path / "conf.d").mkdir()
    group = "elasticsearch:\n  urls: [http://a:1, http://b:2]\n  job_retention: {a: 30d, b: 30d}\n"
    (tmp_path / "x.yaml").write_text(group)
    (tmp_path / "conf.d/10.yaml").write_text("elasticsearch: {job_retention: {b: 7d, c: 7d}, index_prefix: x}\n")
    (tmp_path / "conf.d/20.yaml").write_text("elasticsearch:\n  urls: [http://c:3]\n")
    settings = read("--config", str(tmp_path / "x.yaml"))
    assert settings.elasticsearch.urls == ("http://c:3",)
    assert settings.elasticsearch.index_prefix == "x"
    assert settings.elasticsearch.job_retention == {
        "a": timedelta(days=30),
        "b": timedelta(days=7),
        "c": timedelta(days=7),
    }
    assert settings.origins["elasticsearch.urls"] == f"{tmp_path}/conf.d/20.yaml:2"
    assert settings.origins["elasticsearch.job_retention"] == f"{tmp_path}/conf.d/10.yaml:1"


def test_what_editors_leave_in_conf_d_is_not_read(tmp_path):
    (tmp_path / "conf.d").mkdir()
    for name in (".#10.yaml", ".10.yaml", "10.yaml~", "10.yaml.rpmnew", "README"):
        (tmp_path / "conf.d" / name).write_text("nonsense: [")
    assert read(DISTCRON_CONFIG="", XDG_STATE_HOME=str(tmp_path)) is not None
    (tmp_path / "x.yaml").write_text("{}")
    assert read("--config", str(tmp_path / "x.yaml")).origins == {}


@pytest.mark.parametrize("name", ["10.yml", "10.json"])
def test_a_file_of_conf_d_that_would_be_passed_over_is_refused(tmp_path, name):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "x.yaml").write_text("{}")
    (tmp_path / "conf.d" / name).write_text("{}")
    (problem,) = refused("--config", str(tmp_path / "x.yaml"))
    assert (problem.code, problem.hint) == ("bad_name", "rename it to 10.yaml")


def test_a_conf_d_that_others_may_write_to_is_refused_unread(tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d").chmod(0o777)
    (tmp_path / "x.yaml").write_text("{}")
    (tmp_path / "conf.d" / "10.yaml").write_text("nonsense: [")
    assert [problem.code for problem in refused("--config", str(tmp_path / "x.yaml"))] == ["writable_by_others"]


def test_a_conf_d_that_is_no_directory_and_files_that_are_no_files(tmp_path):
    (tmp_path / "x.yaml").write_text("{}")
    (tmp_path / "conf.d").write_text("")
    assert [problem.code for problem in refused("--config", str(tmp_path / "x.yaml"))] == ["unreadable"]
    (tmp_path / "conf.d").unlink()
    (tmp_path / "conf.d").mkdir()
    os.mkfifo(tmp_path / "conf.d" / "10.yaml")
    (tmp_path / "conf.d" / "20.yaml").mkdir()
    (tmp_path / "conf.d" / "30.yaml").symlink_to("nowhere")
    found = refused("--config", str(tmp_path / "x.yaml"))
    assert [problem.code for problem in found] == ["not_a_file", "not_a_file", "unreadable"]


def test_a_settings_file_that_leads_nowhere_is_no_missing_one(monkeypatch, tmp_path):
    (tmp_path / "distcrond.yaml").symlink_to("nowhere")
    monkeypatch.setattr(module, "DEFAULT_CONFIG", tmp_path / "distcrond.yaml")
    assert [problem.code for problem in refused()] == ["unreadable"]


def test_a_check_covers_the_settings(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("DISTCRON_REQUIRE_PARTS", raising=False)  # it is for these tests, and no setting
    (tmp_path / "x.yaml").write_text("log_level: loud\n")
    assert main(["--check", "--config", str(tmp_path / "x.yaml")]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f'{tmp_path}/x.yaml:1:12: error: `log_level` cannot be "loud" (one of debug, info, warning, error)',
        "the settings are wrong: jobs and nodes were not looked at",
    ]
    assert said.err == ""
    assert main(["--config", str(tmp_path / "x.yaml")]) == 2


def test_secrets_are_never_shown(tmp_path):
    (tmp_path / "key").write_text("canary-in-file\n")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "x.yaml").write_text(
        f"elasticsearch: {{urls: [http://a:1], password_file: {tmp_path}/key, username: u}}\n"
    )
    by_file = read("--config", str(tmp_path / "x.yaml"))
    by_environment = read(DISTCRON_ES__URL="http://a:1", DISTCRON_ES__API_KEY="canary-in-environment")
    for settings in (by_file, by_environment):
        assert "canary" not in "\n".join(settings.described())
        assert "canary" not in repr(settings)
    assert by_file.elasticsearch.read_password() == "canary-in-file"
    assert by_environment.elasticsearch.read_api_key() == "canary-in-environment"
    assert "elasticsearch.api_key: ***  # environment DISTCRON_ES__API_KEY" in by_environment.described()
    named = read(
        DISTCRON_ES__URL="http://a:1", DISTCRON_ES__PASSWORD_FILE=str(tmp_path / "key"), DISTCRON_ES__USERNAME="u"
    )
    assert named.elasticsearch.read_password() == "canary-in-file"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--storage", "oracle"], '--storage:1:1: error: `storage` cannot be "oracle" (one of sqlite, es, plain)'),
        (
            ["--log-level", "loud"],
            '--log-level:1:1: error: `log_level` cannot be "loud" (one of debug, info, warning, error)',
        ),
        (
            ["--listen", "8080"],
            "--listen:1:1: error: '8080' is no address to listen on (write HOST:PORT, [v6]:PORT or none)",
        ),
        (
            ["--listen", "x:70000"],
            "--listen:1:1: error: 'x:70000' is no address to listen on (write HOST:PORT, [v6]:PORT or none)",
        ),
        (
            ["--timezone", "Mars"],
            '--timezone:1:1: error: "Mars" is not a time zone (write an IANA name such as Europe/Berlin)',
        ),
        (["--health-check-interval", "0"], "--health-check-interval:1:1: error: 0 is too short (100ms or more)"),
    ],
)
def test_refused_flags(words, line):
    assert [str(problem) for problem in refused(*words)] == [line]


def test_refused_variables():
    problems = refused(
        DISTCRON_CLUSTER="x",
        DISTCRON_ALLOW_NO_OWNER="maybe",
        DISTCRON_JOBS_DIRECTROY="/x",
        DISTCRON_API__ALLOW_JOB_DEFINITIONS="x",
    )
    assert [(problem.file, problem.code) for problem in problems] == [
        ("DISTCRON_ALLOW_NO_OWNER", "wrong_type"),
        ("DISTCRON_API__ALLOW_JOB_DEFINITIONS", "not_yet_supported"),
        ("DISTCRON_CLUSTER", "not_yet_supported"),
        ("DISTCRON_JOBS_DIRECTROY", "unknown_key"),
    ]
    assert problems[-1].hint == "did you mean `jobs_directory`?"


def test_how_the_api_is_reached(tmp_path):
    (tmp_path / "x.yaml").write_text(
        "api:\n  listen: 0.0.0.0:8443\n  allowed_hosts: [cron.example.com]\n  socket_mode: '0600'\n"
        "  socket_group: adm\n  tls: {certificate_file: tls/server.pem, key_file: /k}\n"
    )
    settings = read("--config", str(tmp_path / "x.yaml"), DISTCRON_API__BEHIND_PROXY="true")
    assert settings.tls_certificate_file == tmp_path / "tls/server.pem"
    assert (settings.tls_key_file, settings.tls_client_ca_file) == (Path("/k"), None)
    assert (settings.allowed_hosts, settings.behind_proxy) == (("cron.example.com",), True)
    assert (settings.socket_mode, settings.socket_group) == (0o600, "adm")
    assert f"socket_mode: 0600  # {tmp_path}/x.yaml:4" in settings.described()
    assert read(DISTCRON_API__ALLOWED_HOSTS="a b,c").allowed_hosts == ("a", "b", "c")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{socket_mode: 0660}", "wrong_type"),
        ("{socket_mode: '0888'}", "bad_value"),
        ("{tls: {key_file: /k}}", "bad_value"),
        ("{tls: {certificate: /k}}", "unknown_key"),
        ("{allowed_hosts: ['https://cron.example.com']}", "bad_value"),
        ("{allowed_hosts: cron.example.com}", "wrong_type"),
        ("{behind_proxy: 'yes'}", "wrong_type"),
    ],
)
def test_what_the_api_cannot_be_told(tmp_path, text, code):
    (tmp_path / "x.yaml").write_text(f"api: {text}\n")
    assert [problem.code for problem in refused("--config", str(tmp_path / "x.yaml"))] == [code]


def test_all_faults_of_all_files_come_at_once(tmp_path):
    (tmp_path / "x.yaml").write_text("time_zone: UTC\ncluster: {}\nlog_level: loud\napi:\n  listen: 8080\n")
    problems = refused("--config", str(tmp_path / "x.yaml"), "--storage", "oracle")
    assert [(problem.line, problem.column, problem.code) for problem in problems] == [
        (1, 1, "bad_value"),
        (1, 1, "unknown_key"),
        (2, 1, "not_yet_supported"),
        (3, 12, "bad_value"),
        (5, 11, "wrong_type"),
    ]


def test_a_named_file_must_be_there(tmp_path):
    assert [problem.code for problem in refused("--config", str(tmp_path / "none.yaml"))] == ["unreadable"]


def test_a_settings_file_that_others_may_write_is_refused(tmp_path):
    (tmp_path / "x.yaml").write_text("{}")
    (tmp_path / "x.yaml").chmod(0o666)
    assert [problem.code for problem in refused("--config", str(tmp_path / "x.yaml"))] == ["writable_by_others"]


@pytest.mark.parametrize("text", ["[]", "a\n", "null\n"])
def test_a_settings_file_is_a_map(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    assert [problem.code for problem in refused("--config", str(tmp_path / "x.yaml"))] == ["wrong_type"]


def test_where_users_other_than_root_keep_things(monkeypatch):
    monkeypatch.setattr(module.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(module.os, "access", lambda *_: False)
    environment = {"XDG_STATE_HOME": "/home/x/state", "XDG_RUNTIME_DIR": "/run/user/1000"}
    settings = read_settings({}, environment)
    assert settings.state_directory == Path("/home/x/state/distcrond")
    assert settings.socket == Path("/run/user/1000/distcrond/api.sock")
    assert read_settings({}, {"XDG_STATE_HOME": "/s"}).socket == Path("/s/distcrond/api.sock")


def test_where_root_keeps_things(monkeypatch):
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    assert read().state_directory == Path("/var/lib/distcrond")
    assert read().socket == Path("/run/distcrond/api.sock")


def test_unknown_flags_and_abbreviations_are_usage_errors(capsys):
    for word in ("--jobs-dir", "--unknown"):
        with pytest.raises(SystemExit) as stopped:
            build_parser().parse_args([word, "x"])
        assert stopped.value.code == 2
    assert "usage: distcrond" in capsys.readouterr().err


def test_zones(tmp_path):
    file = tmp_path / "distcrond.yaml"
    file.write_text("zones: {db: {capacity: 2}, disk: {capacity: 1, scope: node}}\n")
    settings = read("--config", str(file))
    assert settings.zones["db"] == Zone(name="db", capacity=2, scope=Scope.GLOBAL)
    assert settings.zones["disk"] == Zone(name="disk", capacity=1, scope=Scope.NODE)
    assert f"zones: db=2 in all disk=1 on each node  # {file}:1" in settings.described()


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("{}", "capacity"),
        ("{capacity: 0}", "must be a number from 1 to 1000000"),
        ("{capacity: 1.5}", "must be a number from 1 to 1000000"),
        ("{capacity: 1, scope: host}", '`zones.db.scope` cannot be "host"'),
        ("{capacity: 1, size: 2}", "unknown key `size` in `zones.db`"),
        ("3", "must be a map with capacity"),
    ],
)
def test_a_zone_needs_a_capacity_and_nothing_else(tmp_path, zone, words):
    file = tmp_path / "distcrond.yaml"
    file.write_text(f"zones: {{db: {zone}}}\n")
    (problem,) = refused("--config", str(file))
    assert words in str(problem)


@pytest.mark.parametrize(
    ("written", "rule", "shown"),
    [
        ("{}", QuarantineRule(), "3 jobs within 1h, for 10m"),
        ("{jobs: 0}", QuarantineRule(jobs=0), "never"),
        (
            "{jobs: 5, within: 30m, for: 2h}",
            QuarantineRule(jobs=5, within=timedelta(minutes=30), lasts=timedelta(hours=2)),
            "5 jobs within 30m, for 2h",
        ),
    ],
)
def test_when_nodes_are_quarantined(tmp_path, written, rule, shown):
    file = tmp_path / "distcrond.yaml"
    file.write_text(f"quarantine: {written}\n")
    settings = read("--config", str(file))
    assert settings.quarantine == rule
    assert settings.shown()["quarantine"] == shown
    assert read("--config", str(file), DISTCRON_QUARANTINE__JOBS="7").quarantine.jobs == 7


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("{jobs: -1}", "must be a number from 0 to 1000"),
        ("{within: 0}", "`within` of the quarantine is zero"),
        ("{for: 0s}", "`for` of the quarantine is zero (write 10m, or `jobs: 0` for no quarantine)"),
        ("{for: soon}", "must be a duration"),
        ("{job: 3}", "did you mean `jobs`?"),
    ],
)
def test_a_quarantine_that_means_nothing(tmp_path, written, words):
    file = tmp_path / "distcrond.yaml"
    file.write_text(f"quarantine: {written}\n")
    (problem,) = refused("--config", str(file))
    assert words in str(problem)
