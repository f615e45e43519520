"""The acceptance table of the trading platform's production plan (sources 6.2, P01 to P23): which tests hold each row.

P20, one limit over several instances, needs clustering, which does not work yet; over the shards of one instance it holds (P17).
"""

import ast
from pathlib import Path

import pytest

ROWS = {
    "P01 token at connect": ["auth_entry::test_in_the_query", "auth_entry::test_each_is_accepted_and_closed_with_the_reason"],
    "P02 claims": ["auth_entry::test_claims_that_are_missing_are_refused"],
    "P03 channel authorisation": ["auth_entry::test_channels_of_the_table_open", "auth_entry::test_another_channel_is_refused_with_the_reason"],
    "P04 ownership of strategies": ["auth_entry::test_strategies_of_others_are_refused_where_a_rule_says_whose_they_are"],
    "P05 user in the log": ["auth_entry::test_logs_name_the_user_and_keep_the_token"],
    "P06 text ping and pong": ["dialect_courier::test_a_whole_conversation", "dialect_courier::test_javascript_subscriber_lives_through_the_heartbeat"],
    "P07 settings of auth": ["auth_entry::test_off_takes_no_notice_of_tokens", "keys_and_tokens::test_token_says_what_was_asked_and_is_signed_with_the_secret"],
    "P08 base fields": ["publish::test_timestamp_is_the_events_own", "schemas::test_a_checked_event_without_a_timestamp_gets_one_in_its_form"],
    "P09 to P12 schemas": ["schemas::test_good_ones_pass_and_bad_ones_are_named_field_by_field", "schemas::test_progress_out_of_range_is_400_in_both_forms"],
    "P13 validation errors": ["schemas::test_every_failing_field_is_named_at_once"],
    "P14 source": ["publish::test_source_mismatch_is_400"],
    "P15 service name": ["limits_publish::test_name_is_asked_for_where_it_is_required"],
    "P16 answer": ["publish::test_has_exactly_the_promised_fields"],
    "P17 limit": ["limits_publish::test_publish_101_is_answered_429_with_every_fact_and_field", "limits_publish::test_two_shards_hit_at_once_let_exactly_the_limit_through"],
    "P18 body of 429": ["limits_publish::test_publish_101_is_answered_429_with_every_fact_and_field"],
    "P19 headers": ["limits_publish::test_every_answer_says_what_is_left"],
    "P21 graceful stop": ["shutdown::test_stop_under_load_loses_no_acknowledged_event", "shutdown::test_node_and_chromium_read_code_and_reason"],
    "P22 sizes": ["http_limits::test_event_of_1_mib_is_taken_and_a_larger_body_is_413_with_the_sizes", "http_limits::test_parts_of_a_nested_event_have_limits_of_their_own"],
    "P23 malformed data": ["publish::test_bad_json_is_400", "bad_input::test_odd_json_is_taken_verbatim_or_refused"],
}  # fmt: skip


def defined_in(file: str) -> set[str]:
    tree = ast.parse((Path(__file__).parent / f"test_{file}.py").read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("row", ROWS)
def test_row_is_held_by_tests_that_exist(row):
    for name in ROWS[row]:
        file, test = name.split("::")
        assert test in defined_in(file), name
