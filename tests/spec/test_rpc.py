"""Our connections meet the specification, on simulated and real sockets; and it bites."""

from __future__ import annotations

import unittest
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sdkit.rpc import Connection, Limits, Server, ServerConfig, connect
from sdkit.spec.rpc import Handlers, Make, Pair, rpc
from tests.spec.bite import assert_caught
from tests.spec.mutants import rpc as mutants


def ours(connection_type: type[Connection] = Connection) -> Make:
    class OurServer(Server):
        pass

    OurServer.connection_type = connection_type

    @asynccontextmanager
    async def make(
        handlers: Handlers, *, calls_in_flight_max: int, stream_window_bytes: int
    ) -> AsyncIterator[Pair]:
        config = ServerConfig(calls_in_flight_max=calls_in_flight_max, grace_s=0.0)
        limits = Limits(stream_window_bytes=stream_window_bytes)
        async with (
            OurServer(handlers, config) as server,
            await connect(
                *server.address, limits=limits, connection_type=connection_type
            ) as caller,
        ):

            def cut() -> None:
                if caller._flow.transport is not None:
                    caller._flow.transport.abort()

            yield Pair(caller, cut)

    return make


TestRpc = rpc(ours())
ANSWER = "test_every_call_gets_exactly_one_answer_whatever_its_handler_does"
REFUSED = "test_what_cannot_be_sent_is_refused_before_it_reaches_another_call"


def test_it_is_the_same_on_real_sockets() -> None:
    """One property that needs no time: real time is not waited for."""
    result = unittest.TestResult()
    rpc(ours(), loop="real")("test_an_error_is_itself_on_the_other_side").run(result)
    assert result.testsRun == 1
    assert result.wasSuccessful(), result.failures + result.errors


@pytest.mark.parametrize(
    ("mutant", "by"),
    [
        (mutants.AnswersTheOldestCall, "test_every_call_gets_its_own_answer"),
        (mutants.PlainOvertakesTasks, "test_handlers_begin_in_the_order_of_the_calls"),
        (mutants.ForgetsTheKindOfErrors, "test_an_error_is_itself_on_the_other_side"),
        (mutants.LeavesHandlersRunning, "test_a_deadline_ends_the_call_and_its_handler"),
        (mutants.WaitsForEver, "test_a_deadline_ends_the_call_and_its_handler"),
        (mutants.GivesNestedCallsAllTheTime, "test_a_nested_call_has_only_what_is_left"),
        (mutants.KeepsItToItself, "test_giving_up_stops_the_handler"),
        (mutants.EndsAStreamWithItsCredit, "test_a_stream_is_its_items_in_order"),
        (mutants.SendsWithoutCredit, "test_a_producer_is_a_window_ahead_at_most"),
        (mutants.SaysThatLostCallsDidNotHappen, "test_what_is_said_not_to_have_happened_did_not"),
        (mutants.LeavesEverythingInDoubt, "test_what_is_said_not_to_have_happened_did_not"),
        (mutants.SendsWhatCannotBeRead, ANSWER),
        (mutants.SendsWhatCannotBeRead, REFUSED),
        (mutants.SendsAnyMethod, REFUSED),
        (mutants.TellsErrorsAsTheyAre, ANSWER),
        (mutants.LetsCancellationsThrough, ANSWER),
        (mutants.IsSilentAboutFailures, ANSWER),
        (mutants.FreesThePlaceOfWithdrawnCalls, "test_no_more_handlers_run_than_the_limit_allows"),
    ],
)
def test_the_specification_catches(mutant: type[Connection], by: str) -> None:
    assert_caught(rpc(ours(mutant)), by, examples=60)
