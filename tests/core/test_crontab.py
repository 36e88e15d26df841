"""Crontabs → job files: every kind of line, and that what comes out is a job file or is named as left out."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.parts import not_found

from distcrond.cli.crontab.convert import Wishes, job_of
from distcrond.cli.crontab.naming import name_of
from distcrond.cli.crontab.read import Crontab, Entry, Remark, read
from distcrond.cli.show.yaml import to_yaml
from distcrond.executors.crontab_script import parse, script

SHELLS = [("dash",), ("bash", "--posix"), ("busybox", "sh")]


def told(text: str, **facts) -> list[Entry | Remark]:
    return list(read(Crontab("tab", text, **facts)))


def entry(text: str, **facts) -> Entry:
    (found,) = [each for each in told(text, **facts) if isinstance(each, Entry)]
    return found


def job(text: str, wishes: Wishes | None = None, **facts) -> dict:
    return job_of(entry(text, **facts), wishes or Wishes())


# ---------------------------------------------------------------- lines

JOBS = {
    "30 4 * * *  /opt/rotate --all": {"schedule": "30 4 * * *", "shell_command": "/opt/rotate --all"},
    " \t@daily\techo hi": {"schedule": "@daily", "shell_command": "echo hi"},
    "CRON_TZ=Europe/Berlin\n0 1 * * * x": {"schedule": {"cron": "0 1 * * *", "timezone": "Europe/Berlin"}},
    "RANDOM_DELAY=45\n0 1 * * * x": {"schedule": {"cron": "0 1 * * *", "jitter": "45m"}},
    "5~20 ~ * * * x": {"schedule": "H(5-20) H * * *"},
    "SHELL=/bin/bash\n@hourly a && b": {"command": ["/bin/bash", "-c", "a && b"]},
    "SHELL=/bin/sh\n@hourly a": {"shell_command": "a"},
    'A = "b c"\n"B"=\'x=y\' \nC=\n@hourly a': {"environment": {"A": "b c", "B": "x=y", "C": ""}},
    "HOME=/srv\n@hourly a": {"environment": {"HOME": "/srv"}, "working_directory": "/srv"},
    "@hourly date +\\%F": {"shell_command": "date +%F"},
    "@hourly mail bob%Dear Bob,%%bye": {
        "shell_command": "{\nmail bob\n} <<'CRON_STDIN'\nDear Bob,\n\nbye\nCRON_STDIN\n"
    },
    "@hourly cat%": {"shell_command": "{\ncat\n} <<'CRON_STDIN'\nCRON_STDIN\n"},
    "@hourly cat%CRON_STDIN%50\\%": {"shell_command": "{\ncat\n} <<'CRON_STDIN_'\nCRON_STDIN\n50%\nCRON_STDIN_\n"},
    "MAILTO=a@example.com,b\n@hourly x": {
        "owners": [
            {"name": "a", "email_address": "a@example.com"},
            {"name": "b", "email_address": "b@localhost"},
        ]
    },
    'MAILTO=""\n@hourly x': {"owners": [{"name": "root", "email_address": "root@localhost"}]},
    "# Rotate the logs\n@hourly x": {"description": "Rotate the logs"},
    "# one\n\n# two\n# three\n@hourly x": {"description": "two three"},
    "# m h  dom mon dow   command\n@hourly x": {"description": "from tab, line 2"},
    "-*/5 * * * * quiet\r": {"schedule": "*/5 * * * *", "shell_command": "quiet"},
}


@pytest.mark.parametrize("text", JOBS)
def test_lines_that_become_jobs(text):
    found = job(text)
    assert {key: found.get(key) for key in JOBS[text]} == JOBS[text]


def test_lines_of_the_system_name_a_user():
    found = job("17 * * * * root cd / && run-parts /etc/cron.hourly", system=True)
    assert (found["run_as"], found["shell_command"]) == ("root", "cd / && run-parts /etc/cron.hourly")
    assert job("@daily backup x", system=True)["run_as"] == "backup"
    assert "run_as" not in job("@daily cron x", Wishes(own_user="cron"), system=True)
    assert job("@daily x", user="anna")["run_as"] == "anna"


def test_wishes():
    found = job("@daily x", Wishes(nodes=("web1",), zone="UTC", owner="ops@example.com", enabled=False))
    assert (found["policy"], found["schedule"]) == ({"hosts": ["web1"]}, {"cron": "@daily", "timezone": "UTC"})
    assert (found["owners"][0]["email_address"], found["enabled"]) == ("ops@example.com", False)
    assert job("CRON_TZ=Asia/Tokyo\n@daily x", Wishes(zone="UTC"))["schedule"]["timezone"] == "Asia/Tokyo"


REMARKS = {
    "@reboot x": ("systemd unit", True),
    "not a line": ("no line of cron", True),
    "* * * * *": ("no line of cron", True),
    "@daily echo caf\ufffd": ("no UTF-8", True),
    "MAILTO=x": ("not mailed", False),
    "MAILFROM=x": ("about mail", False),
    "RANDOM_DELAY=5": ("jitter", False),
    "DB_PASSWORD=x": ("secrets", False),
    "#0 4 * * * /old": ("commented out", False),
    "#@daily /old": ("commented out", False),
}


@pytest.mark.parametrize("text", REMARKS)
def test_what_is_not_taken_over_is_said(text):
    (found,) = told(text)
    assert isinstance(found, Remark)
    assert (REMARKS[text][0] in found.text, found.lost, found.line) == (True, REMARKS[text][1], 1)


def test_settings_hold_for_the_lines_below_only():
    first, second = [each for each in told("@daily a\nA=1\nMAILTO=\n@daily b") if isinstance(each, Entry)]
    assert (first.environment, second.environment) == ({}, {"A": "1"})


@given(st.text(st.characters(blacklist_categories=("Cs",)), max_size=200), st.booleans())
def test_every_line_with_something_in_it_is_answered_for(text, system):
    """A line is a comment, a setting, an entry or a remark that says it is lost; and nothing makes reading fail."""
    found = told(text, system=system)
    answered = {each.line for each in found}
    for number, line in enumerate(text.split("\n"), start=1):
        content = line.strip()
        if content and not content.startswith("#") and "=" not in content:
            assert number in answered, line


# ---------------------------------------------------------------- names

NAMES = {
    ("/opt/rotate.sh --all", ""): "rotate",
    ("cd /srv/app && ./bin/tick >/dev/null", ""): "tick",
    ("[ -x /usr/bin/a ] && test -d /b || X=1 /usr/bin/c -d", ""): "c",
    ("cd /srv/app", ""): "app",
    ("LANG=C nice -n 19 /usr/bin/python3 /opt/x/Clean_Up.py", ""): "clean-up",
    ("x", "Rotate the logs!"): "rotate-the-logs",
    ("/opt/run", "this comment has far too many words in it"): "run",
    ("x", "name: special"): "special",
    ("$HOME/bin", "§"): "job",
    ("true", ""): "job",
    ("x" * 200, ""): "x" * 56,
}


@pytest.mark.parametrize(("command", "comment"), NAMES)
def test_names(command, comment):
    assert name_of(command, comment, taken=()) == NAMES[command, comment]


def test_names_are_not_given_twice():
    taken: list[str] = []
    for _ in range(3):
        taken.append(name_of("/opt/run", "", taken=taken))
    for _ in range(3):
        taken.append(name_of("/usr/bin/certbot -q renew", "", file="certbot", taken=taken))
    taken.append(name_of("/opt/other", "", file="certbot", taken=taken))
    taken.append(name_of("/sbin/e2scrub_all -A", "", file="e2scrub_all", taken=taken))
    assert taken == ["run", "run-2", "run-3", "certbot", "certbot-2", "certbot-3", "certbot-other", "e2scrub-all"]


# ---------------------------------------------------------------- as cron would have done


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
@pytest.mark.parametrize(
    ("line", "printed", "code"),
    [
        ("cat%one%two", "one\ntwo\n", 0),
        ("cat%", "", 0),
        ("cat; exit 3%$HOME `id` \\%", "$HOME `id` %\n", 3),
        ("cat # a comment%x", "x\n", 0),
    ],
)
def test_standard_input_reaches_the_command_byte_for_byte(shell, line, printed, code):
    found = job(f"SHELL={shell}\n@daily {line}")
    words = found.get("command") or ["/bin/sh", "-c", found["shell_command"]]
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert (done.stdout, done.returncode, done.stderr) == (printed, code, "")


def test_files_say_what_was_meant():
    found = job('A=1\n@daily mail bob%Dear%Bob: #1 "q" \\%', Wishes(nodes=("web1",)))
    assert yaml.safe_load(to_yaml(found)) == found


# ---------------------------------------------------------------- what a node tells


def shell(name: tuple[str, ...]) -> list[str]:
    program = shutil.which(name[0])
    if program is None:
        not_found(name[0])
    return [program, *name[1:]]


@pytest.mark.parametrize("name", SHELLS, ids=lambda name: name[0])
def test_crontabs_of_a_node(tmp_path, name):
    tabs = {
        "etc/crontab": "SHELL=/bin/sh\n17 * * * * root a b\n",
        "etc/cron.d/two words": "@daily root x\n\n# end",
        "etc/cron.d/certbot.dpkg-old": "@daily root y\n",
        "etc/cron.d/.placeholder": "# none\n",
        "etc/cron.d/empty": "",
        "var/spool/cron/crontabs/anna": "@daily mine\n",
        "var/spool/cron/crontabs/bob": "@daily ümlaut \\%\n",
        "var/spool/cron/atjobs/1": "no",
    }
    for path, text in tabs.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "usr/share/zoneinfo/Europe").mkdir(parents=True)
    (tmp_path / "usr/share/zoneinfo/Europe/Berlin").touch()
    (tmp_path / "etc/localtime").symlink_to(tmp_path / "usr/share/zoneinfo/Europe/Berlin")
    text = script("c0ffee", root=str(tmp_path), crontab="printf '@daily own'")
    done = subprocess.run([*shell(name), "-c", text], capture_output=True, check=True)
    assert done.stderr == b""
    found = parse(b"Welcome!\n" + done.stdout, "c0ffee")
    assert (found.timezone, found.unreadable) == ("Europe/Berlin", ())
    lines = {(tab.file.removeprefix(f"{tmp_path}/"), tab.user): tab.text for tab in found.found}
    assert lines == {
        ("etc/crontab", None): tabs["etc/crontab"],
        ("etc/cron.d/two words", None): "@daily root x\n\n# end\n",
        ("var/spool/cron/crontabs/anna", "anna"): "@daily mine\n",
        ("var/spool/cron/crontabs/bob", "bob"): "@daily ümlaut \\%\n",
        ("", found.user): "@daily own\n",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_one_may_not_read_is_named_by_the_node(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/crontab").touch(mode=0)
    done = subprocess.run(
        ["sh", "-c", script("m", root=str(tmp_path), crontab="false")], capture_output=True, check=True
    )
    assert parse(done.stdout, "m").unreadable == (str(tmp_path / "etc/crontab"),)


def test_names_with_a_dot_are_nothing_to_debians_cron(tmp_path):
    folder = tmp_path / "etc/cron.d"
    folder.mkdir(parents=True)
    (folder / "a.sh").write_text("@daily root x\n")

    def files() -> list[str]:
        text = script("m", root=str(tmp_path), crontab="false")
        answer = subprocess.run(["sh", "-c", text], capture_output=True, check=True).stdout
        return [Path(tab.file).name for tab in parse(answer, "m").found]

    assert files() == ["a.sh"]
    (tmp_path / "etc/debian_version").touch()
    assert files() == []


@pytest.mark.parametrize("answer", [b"", b"m user x\n", b"m line @daily x\n", b"\xff\xfe"])
def test_half_an_answer_is_none(answer):
    with pytest.raises(ValueError, match="does not tell"):
        parse(answer, "m")


@given(st.binary(max_size=300))
def test_no_answer_makes_reading_fail(noise):
    parse(b"m file root x\nm line " + noise.replace(b"\n", b"\nm line ") + b"\nm end\n", "m")
