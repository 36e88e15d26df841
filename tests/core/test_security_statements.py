"""Which tests show which security statement (GUARANTEES §8); and the one about our own code, which is shown here."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from distcrond.config.settings import read_settings
from distcrond.errors import ConfigurationRejected

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent

STATEMENTS = {
    1: "contract/test_ssh_security::unknown_host_key_is_refused_before_authentication"
    " system/test_trust::the_hint_for_an_unknown_key",
    2: "system/test_trust::the_hint_for_a_changed_key_and_its_alarm",
    3: "contract/test_ssh_security::host_certificate_by_authority"
    " contract/test_ssh_security::user_certificate_by_authority",
    4: "contract/test_ssh_security::a_users_configuration_has_no_influence"
    " contract/test_ssh_security::a_named_configuration_cannot_weaken_anything",
    5: "contract/test_ssh_security::options_that_mean_nothing",
    6: "contract/test_ssh_security::agent_x11_and_passwords_are_off",
    7: "contract/test_ssh_security::weak_algorithms_are_refused",
    8: "contract/test_ssh_security::keys_that_others_can_read_are_refused"
    " system/test_canary::no_canary_is_seen_outside_its_cage system/test_canary::no_look_into_the_memory"
    " system/test_canary::no_core_is_written",
    9: "contract/test_executor_contract::argv_and_environment_arrive_byte_identical"
    " contract/test_ssh_plain::argv_arrives_byte_identical contract/test_ssh_plain::a_wrong_name_or_nul_is_never_sent",
    10: "contract/test_api_documents::names_that_change_how_programs_start_are_refused",
    11: "contract/test_launcher_start::a_hostile_spool_is_refused",
    12: "core/test_launcher_protocol::what_the_launcher_never_says_is_an_error system/test_hostile::thirty_of_them",
    13: "system/test_hostile::thirty_of_them",
    14: "contract/test_api_listen::another_bind_than_loopback_needs_tokens_and_tls",
    15: "contract/test_api_tokens::its_text_is_shown_once_and_kept_nowhere",
    16: "contract/test_api_routes::default_deny_over_all_routes_methods_and_credentials",
    17: "contract/test_api_tokens::what_it_is_not_for_looks_as_if_it_did_not_exist",
    18: "contract/test_api_routes::no_change_takes_a_key_that_it_does_not_know",
    19: "contract/test_api_access::session_changes_only_from_its_own_page",
    20: "contract/test_api_access::foreign_host_is_misdirected",
    21: "contract/test_api_access::no_answer_lets_other_origins_in",
    22: "contract/test_api_pages::served_with_the_headers",
    23: "system/test_browser::hostile_texts_are_shown_as_text",
    24: "contract/test_cli_show::nothing_but_text_and_colours_comes_out",
    25: "contract/test_api_pages::no_other_file_is_served",
    26: "contract/test_api_limits::a_thousand_idle_streams_delay_nobody",
    27: "core/test_security_statements::there_are_no_webhooks_yet",
    28: "contract/test_api_routes::every_change_is_audited_with_who_asked",
    29: "core/test_config_text::bombs_are_bounded_in_time_and_memory"
    " core/test_config_corpus::each_wrong_file_is_refused_in_the_very_words",
    30: "core/test_config_files::a_file_that_others_may_write_is_refused"
    " core/test_config_files::a_file_of_another_user_is_refused",
    31: "core/test_config_files::a_link_may_lead_to_a_neighbour_but_not_out"
    " core/test_config_files::fifos_sockets_and_devices_are_refused_without_waiting",
    32: "core/test_masking::a_secret_is_masked_however_it_is_split"
    " core/test_masking::no_secret_is_left_and_nothing_else_is_touched",
    33: "core/test_config_schema::patterns_are_linear",
    34: "system/test_systemd::the_unit_is_caged",
    35: "system/test_canary::no_canary_is_seen_outside_its_cage",
    36: "system/test_lifecycle::the_state_is_private_and_the_socket_opens_to_the_group_only"
    " contract/test_ssh_trust::a_server_is_asked_without_a_log_in_and_pinned_for_good",
    37: "core/test_security_statements::the_pins_hold"
    " core/test_security_statements::our_code_evaluates_nothing_and_asks_no_shell",
}


@pytest.mark.parametrize("number", STATEMENTS)
def test_the_tests_of_a_statement_are_there_and_run(number):
    for named in STATEMENTS[number].split():
        file, name = named.split("::")
        text = (TESTS / f"{file}.py").read_text()
        found = re.search(rf"((?:^@.*\n)*)^(?:async )?def test_{name}\(", text, re.MULTILINE)
        assert found, named
        assert not re.search(r"mark\.(long|skip|xfail)", found[1]), named


def test_each_statement_about_the_api_has_one_test_of_its_own():
    named = [STATEMENTS[number] for number in range(14, 29)]
    assert not [test for test in named if " " in test]
    assert len(set(named)) == len(named)


def test_there_are_no_webhooks_yet(tmp_path):
    """Statement 27 is about a feature to come: nothing that a file can say makes the daemon call an address."""
    file = tmp_path / "distcrond.yaml"
    file.write_text("notifiers: {ops: {webhook: {url: 'http://169.254.169.254/'}}}\n")
    with pytest.raises(ConfigurationRejected) as refused:
        read_settings({"config": str(file)}, {})
    assert [problem.code for problem in refused.value.problems] == ["not_yet_supported"]


@pytest.mark.parametrize(("library", "least"), [("asyncssh", (2, 24)), ("aiohttp", (3, 13, 3))])
def test_the_pins_hold(library, least):
    """In what is declared and in what is locked."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (line,) = [each for each in declared if re.match(rf"{library}\b", each)]
    locked = re.search(rf"^{library}==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked
    for version in (line.partition(">=")[2], locked[1]):
        assert tuple(map(int, version.split("."))) >= least


FORBIDDEN_CALLS = {"eval", "exec", "os.system", "os.popen", "yaml.load", "subprocess.getoutput", "marshal.loads"}
FORBIDDEN_MODULES = {"pickle", "shelve", "marshal", "dill"}


def test_our_code_evaluates_nothing_and_asks_no_shell():
    for path in (ROOT / "distcrond").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in FORBIDDEN_CALLS, f"{path}:{node.lineno}"
                assert not any(word.arg == "shell" for word in node.keywords if _is_true(word.value)), path
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not FORBIDDEN_MODULES & {name.partition(".")[0] for name in names}, path


def _is_true(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is True
