"""What settings say of Elasticsearch, and that secrets are shown nowhere."""

from __future__ import annotations

from datetime import timedelta

import pytest

from distcrond.config import settings as module
from distcrond.config.flags import build_parser
from distcrond.config.settings import Settings, read_settings
from distcrond.errors import ConfigurationRejected, InvalidValue


@pytest.fixture(autouse=True)
def no_system_file(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "DEFAULT_CONFIG", tmp_path / "system" / "distcrond.yaml")


def read(*words: str, **environment: str) -> Settings:
    return read_settings(vars(build_parser().parse_args(words)), environment)


@pytest.mark.parametrize(
    ("words", "urls"),
    [
        (["--esHost", "es1"], ("http://es1:9200",)),
        (["--es-host", "es1", "--es-port", "9201"], ("http://es1:9201",)),
        (["--esPort", "9201"], ("http://localhost:9201",)),
        (["--es-host", "::1"], ("http://[::1]:9200",)),
        (["--es-host", "https://es1"], ("https://es1:443",)),
        (["--es-url", "https://a:1/x/", "--esUrl", "http://b"], ("https://a:1/x", "http://b:9200")),
        (["--storage", "es"], ("http://localhost:9200",)),
    ],
)
def test_naming_elasticsearch_switches_it_on(words, urls):
    settings = read(*words)
    assert settings.elasticsearch is not None
    assert settings.elasticsearch.urls == urls
    assert settings.storage == "es"


def test_without_a_name_it_is_off():
    assert read().elasticsearch is None
    assert read("--es-host", "x", "--storage", "sqlite").elasticsearch is None
    plain = read("--storage", "plain", "--log-directory", "/x", "--es-host", "y")
    assert str(plain.log_directory) == "/x"
    assert plain.elasticsearch is not None


def test_plain_needs_a_place():
    with pytest.raises(ConfigurationRejected, match="--log-directory"):
        read("--storage", "plain")


def test_the_whole_group_from_a_file(tmp_path):
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "x.yaml").write_text(
        "elasticsearch:\n  urls: [https://a, https://b]\n  username: distcron\n  password_file: secret\n"
        "  ca_file: /ca.pem\n  index_prefix: jobs\n  retention: 400d\n  job_retention: {billing.x: 30d}\n  compat: 8\n"
    )
    settings = read("--config", str(tmp_path / "x.yaml"))
    group = settings.elasticsearch
    assert group is not None
    assert (group.urls, group.index_prefix, group.compat) == (("https://a:443", "https://b:443"), "jobs", 8)
    assert (group.retention, dict(group.job_retention)) == (timedelta(days=400), {"billing.x": timedelta(days=30)})
    assert group.read_password() == "s3cret"
    assert "s3cret" not in repr(settings) + "\n".join(settings.described())


def test_the_environment_may_hold_a_secret_or_name_its_file(tmp_path):
    (tmp_path / "key").write_text("canary-in-file\n")
    (tmp_path / "key").chmod(0o600)
    settings = read(
        DISTCRON_ES__URL="http://a, http://b",
        DISTCRON_ES__API_KEY_FILE=str(tmp_path / "key"),
        DISTCRON_ES__COMPAT="auto",
    )
    assert settings.elasticsearch is not None
    assert settings.elasticsearch.urls == ("http://a:9200", "http://b:9200")
    assert settings.elasticsearch.read_api_key() == "canary-in-file"
    settings = read(DISTCRON_ES__URL="http://a", DISTCRON_ELASTICSEARCH__API_KEY="canary")
    assert settings.elasticsearch is not None
    assert settings.elasticsearch.read_api_key() == "canary"
    shown = "\n".join(settings.described())
    assert "canary" not in repr(settings) + shown
    assert "elasticsearch.api_key: ***  # environment DISTCRON_ELASTICSEARCH__API_KEY" in shown
    assert "elasticsearch.urls: http://a:9200  # environment DISTCRON_ES__URL" in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("urls: [ftp://x]", "is no URL of a cluster"),
        ("urls: ['http://u:canary@x']", "must not hold a user or a password"),
        ("index_prefix: UPPER", "cannot begin the name of an index"),
        ("retention: 1h", "is too short"),
        ("password: canary", "in the environment or in a file of its own"),
        ("api_key: canary", "in the environment or in a file of its own"),
        ("{username: x, api_key_file: /x}", "exclude each other"),
        ("compat: 7", "cannot be 7"),
        ("job_retention: {'no such name!': 7d}", "is not a job name"),
    ],
)
def test_refused(tmp_path, text, message):
    (tmp_path / "x.yaml").write_text(f"elasticsearch:\n  {text}\n")
    with pytest.raises(ConfigurationRejected) as rejected:
        read("--config", str(tmp_path / "x.yaml"))
    assert message in str(rejected.value)
    assert "canary" not in " ".join(problem.message + problem.hint for problem in rejected.value.problems)


def test_a_secret_may_be_a_credential_of_systemd(tmp_path):
    """By the file and by the environment, for each secret that there is; looked at elsewhere it is a path too."""
    (tmp_path / "es.key").write_text("canary\n")
    (tmp_path / "es.key").chmod(0o440)  # root's, and handed over to the service
    (tmp_path / "x.yaml").write_text(
        "elasticsearch: {urls: [http://a], api_key_file: 'credential:es.key', password_file: 'credential:p'}\n"
        "api: {tls: {certificate_file: 'credential:cert', key_file: 'credential:tls'}}\n"
        "state_directory: credential:no\n"
    )
    settings = read("--config", str(tmp_path / "x.yaml"), CREDENTIALS_DIRECTORY=str(tmp_path))
    assert settings.elasticsearch.read_api_key() == "canary"
    assert settings.secret_files() == {tmp_path / name for name in ("es.key", "p", "tls")}
    assert settings.tls_certificate_file == tmp_path / "cert"
    assert settings.state_directory == tmp_path / "credential:no", "no file"
    with pytest.raises(InvalidValue, match="cannot be read"):
        settings.elasticsearch.read_password()
    by_environment = read(DISTCRON_ES__URL="http://a", DISTCRON_ES__PASSWORD_FILE="credential:p")
    assert str(by_environment.elasticsearch.password_file) == "/run/credentials/distcrond.service/p"


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc/passwd", "a\nb", ".hidden", "x" * 256])
def test_what_can_be_no_credential_is_refused(name):
    with pytest.raises(ConfigurationRejected, match="is no name of a credential"):
        read(DISTCRON_ES__URL="http://a", DISTCRON_ES__PASSWORD_FILE=f"credential:{name}")


def test_a_secret_that_others_can_read_is_refused(tmp_path):
    (tmp_path / "key").write_text("canary\n")
    (tmp_path / "key").chmod(0o644)
    settings = read(DISTCRON_ES__URL="http://a", DISTCRON_ES__API_KEY_FILE=str(tmp_path / "key"))
    with pytest.raises(InvalidValue, match="can be read by others") as refused:
        settings.elasticsearch.read_api_key()
    assert "chmod" in refused.value.hint
    assert "canary" not in str(refused.value)


def test_a_secret_that_is_not_there_is_said_without_a_traceback(tmp_path):
    settings = read(DISTCRON_ES__URL="http://a", DISTCRON_ES__PASSWORD_FILE=str(tmp_path / "none"))
    assert settings.elasticsearch is not None
    with pytest.raises(InvalidValue, match="cannot be read"):
        settings.elasticsearch.read_password()
