"""Breakers, budgets and bulkheads that each break one promise, and the property that notices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from sdkit.breaker import Breaker, BreakerConfig, Bulkhead, FailureRate, RetryBudget
from sdkit.breaker.budget import RETRY
from sdkit.breaker.bulkhead import Wake
from sdkit.breaker.circuit import Circuit, Generation
from sdkit.breaker.places import Places
from sdkit.breaker.states import State

P = ParamSpec("P")
T = TypeVar("T")

BREAKERS: dict[type[Breaker], str] = {}
BUDGETS: list[type[RetryBudget]] = []
BULKHEADS: dict[type[Bulkhead], str] = {}


def breaker_caught_by(property_: str) -> Callable[[type[Circuit]], type[Circuit]]:
    """A breaker around this wrong circuit is noticed by that property."""

    def note(circuit: type[Circuit]) -> type[Circuit]:
        BREAKERS[type(circuit.__name__, (Breaker,), {"circuit_type": circuit})] = property_
        return circuit

    return note


# ── when it opens ────────────────────────────────────────────────────────────


@breaker_caught_by("test_it_opens_with_the_last_failure_of_a_run_and_not_before")
class CountsAllFailures(Circuit):
    """A success does not end a run: any five failures of a day, and it opens."""

    def _end(self, permit: Generation, failed: bool, now_ns: int) -> None:
        if failed or self.state is not State.CLOSED:
            super()._end(permit, failed, now_ns)


class OtherRate(Circuit):
    """Has another policy than it was told."""

    def _take(self, config: BreakerConfig) -> None:
        if isinstance(config.trip, FailureRate):
            config = replace(config, trip=self.other(config.trip))
        super()._take(config)

    def other(self, trip: FailureRate) -> FailureRate:
        raise NotImplementedError


@breaker_caught_by("test_it_opens_as_soon_as_the_rate_of_the_last_calls_is_too_high")
class NeedsNoVolume(OtherRate):
    def other(self, trip: FailureRate) -> FailureRate:
        return replace(trip, calls_min=1)


@breaker_caught_by("test_it_opens_as_soon_as_the_rate_of_the_last_calls_is_too_high")
class ForgetsTheOldestTooLate(OtherRate):
    def other(self, trip: FailureRate) -> FailureRate:
        return replace(trip, window_calls=trip.calls_kept + 1)


@breaker_caught_by("test_a_time_window_forgets_what_is_older_and_nothing_younger")
class RemembersForTooLong(OtherRate):
    def other(self, trip: FailureRate) -> FailureRate:
        return replace(trip, window_s=None if trip.window_s is None else 2 * trip.window_s)


@breaker_caught_by("test_a_time_window_forgets_what_is_older_and_nothing_younger")
class ForgetsTooSoon(OtherRate):
    def other(self, trip: FailureRate) -> FailureRate:
        return replace(trip, window_s=None if trip.window_s is None else trip.window_s / 2)


@breaker_caught_by("test_a_call_that_was_slow_has_failed")
class IsPatient(Circuit):
    def succeed(self, permit: Generation, due_ns: int | None, now_ns: int) -> None:
        super().succeed(permit, None, now_ns)


# ── open, half-open ──────────────────────────────────────────────────────────


@breaker_caught_by("test_an_open_breaker_calls_nobody_before_its_time_is_over")
class AsksTooSoon(Circuit):
    def _open_time_is_over(self, now_ns: int) -> bool:
        return super()._open_time_is_over(now_ns + self._open_for_ns // 2)


@breaker_caught_by("test_half_open_lets_one_in_of_a_hundred")
class ProbesWithEverybody(Circuit):
    def _may_probe(self) -> bool:
        return True


@breaker_caught_by("test_half_open_lets_exactly_so_many_in_at_once")
class CountsProbesInAll(Circuit):
    """Limits how many probes there are, not how many are under way."""

    def _end_probe(self, permit: Generation, failed: bool, now_ns: int) -> None:
        permit.in_flight += 1
        super()._end_probe(permit, failed, now_ns)


@breaker_caught_by("test_it_closes_after_so_many_successes_and_not_before")
class IsEasilyConvinced(Circuit):
    """One success is enough."""

    def _end_probe(self, permit: Generation, failed: bool, now_ns: int) -> None:
        permit.successes = self.config.half_open_successes
        super()._end_probe(permit, failed, now_ns)


@breaker_caught_by("test_one_failed_probe_among_successes_is_enough")
class ForgivesAProbe(Circuit):
    """If it has seen a good one before."""

    def _end_probe(self, permit: Generation, failed: bool, now_ns: int) -> None:
        if failed and permit.successes:
            permit.in_flight -= 1
        else:
            super()._end_probe(permit, failed, now_ns)


@breaker_caught_by("test_a_failed_probe_opens_it_for_the_whole_time_again")
class OpensForThePast(Circuit):
    """Opens again, from when it opened the first time."""

    def _begin(self, state: State, now_ns: int) -> Generation:
        here = super()._begin(state, now_ns)
        if state is State.OPEN and self._openings:
            here.since_ns = 0
        return here


@breaker_caught_by("test_probes_that_never_come_back_do_not_block_it_for_ever")
class WaitsForEver(Circuit):
    def _probes_are_stuck(self, now_ns: int) -> bool:
        return False


# ── late, cancelled, interrupted ─────────────────────────────────────────────


@breaker_caught_by("test_a_result_of_an_older_generation_is_ignored")
class HasNoGenerations(Circuit):
    """A result belongs to whatever the state is now."""

    def _end(self, permit: Generation, failed: bool, now_ns: int) -> None:
        if self.state is State.CLOSED:
            permit = self.generation
        super()._end(permit, failed, now_ns)


@breaker_caught_by("test_a_late_result_is_no_probe")
class TakesAnyResultForAProbe(Circuit):
    def _end(self, permit: Generation, failed: bool, now_ns: int) -> None:
        if self.state is State.HALF_OPEN:
            permit = self.generation
        super()._end(permit, failed, now_ns)


@breaker_caught_by("test_a_cancelled_call_counts_as_neither")
class CancelledIsFailed(Circuit):
    def release(self, permit: Generation, due_ns: int | None, now_ns: int) -> None:
        self.fail(permit, due_ns, now_ns)


@breaker_caught_by("test_a_cancelled_call_counts_as_neither")
class CancelledIsWell(Circuit):
    def release(self, permit: Generation, due_ns: int | None, now_ns: int) -> None:
        self.succeed(permit, due_ns, now_ns)


@breaker_caught_by("test_a_cancelled_probe_gives_its_permit_back_and_decides_nothing")
class LosesThePermit(Circuit):
    def release(self, permit: Generation, due_ns: int | None, now_ns: int) -> None:
        pass


@breaker_caught_by("test_a_cancelled_call_that_was_slow_already_counts_as_slow")
class HidesSlowCalls(Circuit):
    """An outer time-out cancels every slow call, and none of them is ever counted."""

    def release(self, permit: Generation, due_ns: int | None, now_ns: int) -> None:
        super().release(permit, None, now_ns)


def caught_by(property_: str) -> Callable[[type[Breaker]], type[Breaker]]:
    """This wrong breaker is noticed by that property."""

    def note(breaker: type[Breaker]) -> type[Breaker]:
        BREAKERS[breaker] = property_
        return breaker

    return note


@caught_by("test_an_interruption_goes_through_and_counts_as_neither")
class TakesInterruptionsForFailures(Breaker):
    def _failed(self, permit: Generation, due_ns: int | None, error: BaseException) -> None:
        self._end(self._circuit.fail, permit, due_ns)


@caught_by("test_an_error_that_does_not_count_is_no_failure_and_a_result_can_be_one")
class CountsEveryError(Breaker):
    def _failed(self, permit: Generation, due_ns: int | None, error: BaseException) -> None:
        if isinstance(error, Exception):
            self._end(self._circuit.fail, permit, due_ns)
        else:
            super()._failed(permit, due_ns, error)


@caught_by("test_whoever_is_let_through_gets_what_the_function_gives")
class ExplainsErrors(Breaker):
    def around(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        guarded = super().around(function)

        async def explained(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return await guarded(*args, **kwargs)
            except Exception as error:
                raise type(error)("through a breaker") from error

        return explained


# ── budgets ──────────────────────────────────────────────────────────────────


class NeverRunsOut(RetryBudget):
    def spend(self) -> bool:
        return super().spend() or True


class BeginsEmpty(RetryBudget):
    def __init__(self, *, percent: int = 10, saved_max: int = 10) -> None:
        super().__init__(percent=percent, saved_max=saved_max)
        self._saved = 0


class SavesWithoutEnd(RetryBudget):
    def earn(self) -> None:
        self._saved += self._percent


class DropsFractions(RetryBudget):
    def spend(self) -> bool:
        is_paid = super().spend()
        self._saved -= self._saved % RETRY
        return is_paid


BUDGETS += [NeverRunsOut, BeginsEmpty, SavesWithoutEnd, DropsFractions]


# ── bulkheads ────────────────────────────────────────────────────────────────


class LosesHandedOverPlaces(Bulkhead):
    """Who gives up at the moment of being handed a place takes it along."""

    def _stop_waiting(self, number: int) -> None:
        self._places.give_up(number)


class LastComeFirstServed(Bulkhead):
    class places_type(Places[Wake]):  # noqa: N801  the name of the attribute
        def leave(self) -> Wake | None:
            if self._line:
                return self._line.popitem(last=True)[1]
            return super().leave()


class LetsNewcomersIn(Bulkhead):
    """One more may come in while others wait."""

    class places_type(Places[Wake]):  # noqa: N801
        def enter(self) -> bool:
            is_free = self.taken <= self.calls_max
            self.taken += is_free
            return is_free


class WaitsWithoutEnd(Bulkhead):
    def __init__(self, *, calls_max: int, waiting_max: int, wait_max_s: float) -> None:
        super().__init__(calls_max=calls_max, waiting_max=waiting_max, wait_max_s=86_400.0)


BULKHEADS |= {
    LosesHandedOverPlaces: "test_no_more_than_so_many_are_inside_and_no_place_is_lost",
    LetsNewcomersIn: "test_no_more_than_so_many_are_inside_and_no_place_is_lost",
    LastComeFirstServed: "test_whoever_waits_is_served_in_order_before_anybody_who_comes_later",
    WaitsWithoutEnd: "test_nobody_waits_longer_than_was_said",
}
