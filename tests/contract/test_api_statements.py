"""Which test shows which statement about the API and its pages (GUARANTEES §8): exactly one each, and it exists."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from distcrond.config.settings import read_settings
from distcrond.errors import ConfigurationRejected

STATEMENTS = {
    14: "contract/test_api_listen.py::test_another_bind_than_loopback_needs_tokens_and_tls",
    15: "contract/test_api_tokens.py::test_its_text_is_shown_once_and_kept_nowhere",
    16: "contract/test_api_routes.py::test_default_deny_over_all_routes_methods_and_credentials",
    17: "contract/test_api_tokens.py::test_what_it_is_not_for_looks_as_if_it_did_not_exist",
    18: "contract/test_api_routes.py::test_no_change_takes_a_key_that_it_does_not_know",
    19: "contract/test_api_access.py::test_session_changes_only_from_its_own_page",
    20: "contract/test_api_access.py::test_foreign_host_is_misdirected",
    21: "contract/test_api_access.py::test_no_answer_lets_other_origins_in",
    22: "contract/test_api_pages.py::test_served_with_the_headers",
    23: "system/test_browser.py::test_hostile_texts_are_shown_as_text",
    24: "contract/test_cli_show.py::test_nothing_but_text_and_colours_comes_out",
    25: "contract/test_api_pages.py::test_no_other_file_is_served",
    26: "contract/test_api_limits.py::test_a_thousand_idle_streams_delay_nobody",
    27: "contract/test_api_statements.py::test_there_are_no_webhooks_yet",
    28: "contract/test_api_routes.py::test_every_change_is_audited_with_who_asked",
}


def test_every_statement_has_one_test_of_its_own() -> None:
    assert sorted(STATEMENTS) == list(range(14, 29))
    assert len(set(STATEMENTS.values())) == len(STATEMENTS)


@pytest.mark.parametrize("place", STATEMENTS.values(), ids=[str(number) for number in STATEMENTS])
def test_the_test_of_a_statement_exists(place) -> None:
    file, _, name = place.partition("::")
    tree = ast.parse((Path(__file__).parents[1] / file).read_text())
    tests = [each for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [each.name for each in tests].count(name) == 1


def test_there_are_no_webhooks_yet(tmp_path) -> None:
    """Statement 27 is about a feature to come: nothing that a file can say makes the daemon call an address."""
    file = tmp_path / "distcrond.yaml"
    file.write_text("notifiers: {ops: {webhook: {url: 'http://169.254.169.254/'}}}\n")
    with pytest.raises(ConfigurationRejected) as refused:
        read_settings({"config": str(file)}, {})
    assert [problem.code for problem in refused.value.problems] == ["not_yet_supported"]
