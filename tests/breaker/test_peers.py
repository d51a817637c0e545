"""The specification, pointed at other people's breakers: what each keeps, and what it does not."""

from __future__ import annotations

import pytest

from tests.breaker.peers import PEERS, verdicts

pytestmark = pytest.mark.slow

FAILS = {
    "aiobreaker": {
        "test_a_result_of_an_older_generation_is_ignored",
        "test_half_open_lets_one_in_of_a_hundred",
    },
    "circuitbreaker": {
        "test_a_cancelled_call_counts_as_neither",
        "test_a_cancelled_probe_gives_its_permit_back_and_decides_nothing",
        "test_a_result_of_an_older_generation_is_ignored",
        "test_an_interruption_goes_through_and_counts_as_neither",
        "test_half_open_lets_one_in_of_a_hundred",
    },
    "interlock-cb": {
        "test_a_cancelled_call_that_was_slow_already_counts_as_slow",
        "test_one_failed_probe_among_successes_is_enough",
    },
    "purgatory": {
        "test_a_cancelled_call_counts_as_neither",
        "test_a_cancelled_probe_gives_its_permit_back_and_decides_nothing",
        "test_a_result_of_an_older_generation_is_ignored",
        "test_an_interruption_goes_through_and_counts_as_neither",
        "test_half_open_lets_one_in_of_a_hundred",
    },
    "pybreaker": {
        "test_a_cancelled_call_counts_as_neither",
        "test_a_cancelled_probe_gives_its_permit_back_and_decides_nothing",
        "test_a_late_result_is_no_probe",
        "test_a_result_of_an_older_generation_is_ignored",
        "test_an_interruption_goes_through_and_counts_as_neither",
        "test_half_open_lets_one_in_of_a_hundred",
    },
}


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_keeps_what_it_promises_but_for_what_the_page_says(peer: str) -> None:
    found = verdicts(peer)
    assert {name for name, verdict in found.items() if verdict == "fails"} == FAILS[peer]
    assert "kept" in found.values()
