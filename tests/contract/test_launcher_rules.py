"""Which test shows which rule of the launcher (LAUNCHER.md); all run on dash, bash and busybox ash unless marked.

`*` is about our side of the pipe or about sshd, where the node's shell makes no difference.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

RULES = {
    1: "lines::a_cut_line_runs_nothing",
    2: """lines::output_that_looks_like_our_protocol_is_inert
          start::what_sudo_says_at_length_is_told_in_one_short_line
          *protocol::what_the_launcher_never_says_is_an_error
          *protocol::noise_is_dropped_and_the_last_of_it_kept""",
    3: """start::two_targets_of_one_run_do_not_share_a_fence stop::only_the_meant_one_of_two_runs_ends
          stop::only_the_meant_one_of_several_attempts_of_a_run_ends""",
    4: """lines::secrets_are_in_no_argv lines::every_byte_of_argv_and_environment_arrives
          start::a_script_is_fed_to_its_interpreter_and_is_on_no_disk *protocol::what_no_node_can_take_is_not_sent""",
    5: "output::an_endless_flood_keeps_nobody_from_starting_or_stopping",
    6: """truth::an_aged_launcher_is_replaced_under_running_work
          truth::starts_on_their_way_are_not_taken_back_when_an_aged_launcher_is_replaced
          *durable::an_aged_launcher_is_replaced_on_a_live_node""",
    7: """start::the_claim_names_who_began start::many_starts_at_once_run_once
          start::an_empty_or_torn_claim_is_settled start::a_start_that_was_given_up_does_not_begin_later
          start::a_claim_that_is_written_after_the_verdict_does_not_begin""",
    8: """start::on_a_full_disk_nothing_begins start::output_that_cannot_be_kept_is_a_refusal
          start::where_no_process_can_be_made_nothing_begins""",
    9: """start::no_record_in_the_spool_of_the_intent_means_never_started
          start::no_record_proves_nothing_in_another_spool_or_boot start::a_spool_that_was_wiped_is_told
          start::a_spool_that_was_exchanged_under_the_launcher_proves_nothing
          start::a_record_of_another_boot_is_lost stop::a_stop_without_a_record_proves_no_more_than_a_question
          memory::a_record_removed_under_a_running_command
          memory::a_record_removed_after_the_end_leaves_what_was_printed
          memory::a_wiped_spool_is_lost_and_never_started_again""",
    10: """start::the_record_outlives_the_release_and_is_swept_when_it_is_old
           start::a_newer_start_of_the_daemon_fences_the_older_one""",
    11: "start::the_spool_is_private_and_ends_in_the_machine_id start::a_hostile_spool_is_refused",
    12: """output::a_flood_costs_the_node_no_more_than_its_cap output::opening_dev_stderr_truncates_nothing
           output::a_child_that_holds_the_pipe_does_not_hold_the_end
           output::the_tail_is_there_although_a_child_holds_the_pipe
           output::a_reader_that_the_machine_has_no_time_for_is_waited_for""",
    13: """stop::who_left_the_session_is_found_by_the_environment stop::a_missing_record_signals_nobody
           stop::a_pid_that_was_given_out_again_is_left_alone
           stop::who_cleared_the_environment_is_found_by_the_session
           stop::a_stopped_process_ends_too stop::term_comes_once *ssh_stop::the_whole_tree_ends""",
    14: """start::the_tree_of_another_user_is_stopped limit::the_tree_of_another_user_ends_at_the_limit
           *ssh_stop::the_whole_tree_ends""",
    15: """limit::nobody_has_to_be_there limit::in_time_is_in_time_and_an_exit_of_124_is_a_failure
           limit::who_listens_to_term_ends_at_the_limit_and_the_record_says_so""",
    16: """truth::the_end_of_a_job_is_never_taken_for_a_loss truth::a_killed_supervisor_is_running_and_then_lost
           truth::supervisor_and_command_killed_together_are_lost
           truth::an_exit_that_is_written_while_somebody_looks_is_no_loss""",
    17: """output::a_disk_that_fills_up_costs_output_and_not_the_exit_code
           output::of_the_last_words_on_a_full_disk_it_is_said_that_they_are_missing
           limit::on_a_full_disk_the_limit_holds_and_is_told
           truth::an_end_that_cannot_be_written_is_told_once_and_never_made_up""",
    18: """start::a_node_without_the_tools_is_refused start::a_node_without_proc_is_refused
           stop::without_grep_z_the_tree_is_found_all_the_same""",
}
FILES = {
    "lines": "contract/test_launcher_lines.py",
    "start": "contract/test_launcher_start.py",
    "output": "contract/test_launcher_output.py",
    "stop": "contract/test_launcher_stop.py",
    "limit": "contract/test_launcher_limit.py",
    "memory": "contract/test_launcher_memory.py",
    "truth": "contract/test_launcher_truth.py",
    "durable": "contract/test_ssh_durable.py",
    "ssh_stop": "contract/test_ssh_stop.py",
    "protocol": "core/test_launcher_protocol.py",
}
TESTS = Path(__file__).parents[1]


def test_every_rule_has_its_tests():
    assert list(RULES) == list(range(1, 19))


@pytest.mark.parametrize("rule", RULES)
def test_the_tests_of_a_rule_are_there_and_run_on_all_shells(rule):
    """By a fixture of ours that takes all shells, or over the list of them."""
    for named in RULES[rule].split():
        file, name = named.lstrip("*").split("::")
        text = (TESTS / FILES[file]).read_text()
        found = re.search(rf"((?:^@.*\n)*)^(?:async )?def test_{name}\(([^)]*)\)", text, re.MULTILINE)
        assert found, named
        marks, arguments = found.groups()
        everywhere = "SHELLS" in marks or re.search(r"\b(sudo_)?rig\b", arguments) or "busybox" in marks
        assert named.startswith("*") or (everywhere and "ONE_SHELL" not in marks), named
