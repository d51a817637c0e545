"""Circuit: the breaker itself, as a machine without clock, lock or call.

A callee that does not answer does more harm than one that refuses: every caller
waits, holds a worker, a connection and memory while it waits, and soon has none
left for what would have worked. A circuit breaker watches how calls end and,
when too many end badly, refuses the next ones at once, for a while. The caller
keeps its workers, and the callee gets the quiet in which it may recover.

    closed ──too many failures──> open ──its time is over──> half-open
       ^                            ^                            │
       │                            └────────one failure─────────┤
       └──────────────────────────────────enough successes───────┘

A call is two moments: `Circuit.admit` before it, and after it `Circuit.succeed`,
`Circuit.fail` or `Circuit.release`. Between them lies the world, and in the
meantime the breaker may have changed its mind, twice. Hence the one idea here:

Generations
    Each stay in a state is an object, a `Generation`. It owns what belongs to that
    stay: its window, its probes, its beginning. Whoever is admitted is handed the
    present generation, and brings it back with the result. If it is not the present
    one any more, the result is old news: it is ignored.

        time        0    1    2    3    4    5    6
        state       closed    open      half-open
        call A      |--------------------------x        admitted while closed, fails now:
        probe B                         |---ok          says nothing about today

    Without that rule, calls that were sent into the outage and time out one after
    another keep opening a breaker whose callee is well again.

Three more things to notice
    1. *Neither* is an outcome. A caller that was cancelled, or interrupted, has learned
       nothing about the callee: `Circuit.release` gives the permit back and counts
       nothing. Except if the call had already outlasted the slow-call limit: then it
       was slow, and is counted so. An outer time-out ends every slow call by
       cancelling it; if those did not count, it would hide exactly the calls that matter.
    2. Half-open hands out permits, ``half_open_calls`` at once. Each comes back with the
       result. If none ever does (`STUCK`), the breaker opens again; no caller has to
       remember a permit for the breaker to work on.
    3. No timer. An open circuit becomes half-open when somebody asks, so one that
       nobody uses costs nothing.

A clock that steps back makes nothing end early or late by more than one period: an
open time, or a wait for probes, that has not begun yet by the new reading begins now.

M. Nygard, "Release It!", 2007, §5.2; generations as in sony/gobreaker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from sdkit.breaker.config import BreakerConfig
from sdkit.breaker.policies import SECOND_NS, Window
from sdkit.breaker.states import State, Trigger, after
from sdkit.errors import Unavailable
from sdkit.trace import event

WATCHED: Final = frozenset({State.CLOSED, State.METRICS_ONLY})  # a window is kept
LETS_ALL_THROUGH: Final = WATCHED | {State.FORCED_CLOSED}


class CircuitOpen(Unavailable):
    """The breaker refused the call: nothing was sent, and later it may be let through.

    ``fields`` has the name of the breaker, its state, and in ``retry_after_s`` when
    asking again makes sense (None: when an operator or another caller changes something).
    """

    code = "circuit_open"


class Generation:
    """One stay in one state. Who is admitted holds it as a permit.

    Two of its attributes are for a shell in a hurry. While it ``lets_all_through``,
    `Circuit.admit` would return it and change nothing. While its ``success_is_harmless``,
    `Circuit.succeed` would change nothing but draw the next of ``volume``, if there is one.

    Args:
        state: in which.
        since_ns: from when on.
        window: what is remembered of its calls.
    """

    def __init__(self, state: State, since_ns: int, window: Window) -> None:
        self.state: Final = state
        self.window: Final = window
        self.volume: Final[Iterator[int] | None] = window.volume
        self.lets_all_through = state in LETS_ALL_THROUGH  # and is the present one
        self.success_is_harmless = self.lets_all_through and window.success_is_harmless
        self.since_ns = since_ns
        self.in_flight = 0  # probes, while half-open
        self.successes = 0  # of them
        self.last_permit_ns = since_ns


class Totals:
    """What has happened since the breaker was made. Each only rises."""

    def __init__(self) -> None:
        self.failed = 0  # calls that ended in a failure, slow ones too
        self.slow = 0  # calls above the slow-call limit
        self.cancelled = 0  # calls that counted as neither
        self.stale = 0  # results that came back to an older generation
        self.refused = 0
        self.opened = 0
        self.would_open = 0  # times that it would have, and had only to measure
        self.open_ns = 0  # in stays that are over


class Circuit:
    """A breaker's decisions. Not safe for threads: the shell calls it one at a time.

    Args:
        name: how errors and events call it.
        config: its thresholds.
        randomness: draws the jitter of its open times.
        now_ns: a monotonic clock, from any origin; the same clock everywhere below.
        say: is told each event; a shell with a lock tells them on when that is free.
    """

    def __init__(
        self,
        name: str,
        config: BreakerConfig,
        randomness: Random,
        now_ns: int,
        say: Callable[..., None] = event,
    ) -> None:
        self.name: Final = name
        self._say: Final = say
        self.totals: Final = Totals()
        self._randomness = randomness
        self._openings = 0  # in a row, without having been closed in between
        self._open_for_ns = 0
        self._take(config)
        self.generation = Generation(State.CLOSED, now_ns, self.config.trip.window())

    @property
    def state(self) -> State:
        """Where it is. An open one whose time is over is half-open when the next call asks."""
        return self.generation.state

    # ── before a call ────────────────────────────────────────────────────────

    def admit(self, now_ns: int) -> Generation:
        """A permit for one call, to be brought back exactly once.

        Raises:
            CircuitOpen: it is not let through.
        """
        if not self._lets_through(now_ns):
            raise self._refusal(now_ns)
        here = self.generation
        if here.state is State.HALF_OPEN:
            here.in_flight += 1
            here.last_permit_ns = now_ns
        return here

    def check(self, now_ns: int) -> None:
        """What `admit` would say just now, without a permit.

        Raises:
            CircuitOpen: it would refuse.
        """
        if not self._lets_through(now_ns):
            raise self._refusal(now_ns)

    def _lets_through(self, now_ns: int) -> bool:
        """Change what time alone changes; would a call pass now?"""
        if self.state is State.OPEN and self._open_time_is_over(now_ns):
            self._change(Trigger.WAITED, now_ns)
        elif self.state is State.HALF_OPEN and not self._may_probe():
            if self._probes_are_stuck(now_ns):
                self._change(Trigger.STUCK, now_ns)
            return False
        return self.state in LETS_ALL_THROUGH or self.state is State.HALF_OPEN

    # ── after it ─────────────────────────────────────────────────────────────

    def due_ns(self, now_ns: int) -> int | None:
        """By when a call that begins now must have ended, or it was slow; None: whenever."""
        return None if self.slow_call_ns is None else now_ns + self.slow_call_ns

    def succeed(self, permit: Generation, due_ns: int | None, now_ns: int) -> None:
        """A call came back well; if it was slow, that is a failure."""
        self._end(permit, self._is_slow(due_ns, now_ns), now_ns)

    def fail(self, permit: Generation, due_ns: int | None, now_ns: int) -> None:
        """A call failed."""
        self._is_slow(due_ns, now_ns)
        self._end(permit, True, now_ns)

    def release(self, permit: Generation, due_ns: int | None, now_ns: int) -> None:
        """A call was given up, and says nothing about the callee; unless it was slow already."""
        if self._is_slow(due_ns, now_ns):
            self._end(permit, True, now_ns)
            return
        self.totals.cancelled += 1
        if not self._is_old(permit) and permit.state is State.HALF_OPEN:
            permit.in_flight -= 1

    def _is_slow(self, due_ns: int | None, now_ns: int) -> bool:
        is_slow = due_ns is not None and now_ns > due_ns
        self.totals.slow += is_slow
        return is_slow

    def _end(self, permit: Generation, failed: bool, now_ns: int) -> None:
        self.totals.failed += failed
        if self._is_old(permit):
            self.totals.stale += 1
        elif permit.state is State.HALF_OPEN:
            self._end_probe(permit, failed, now_ns)
        elif permit.state in WATCHED:
            too_many = permit.window.record(failed, now_ns)
            permit.success_is_harmless = permit.window.success_is_harmless
            if too_many:
                self._trip(now_ns)

    def _is_old(self, permit: Generation) -> bool:
        return permit is not self.generation

    def _end_probe(self, permit: Generation, failed: bool, now_ns: int) -> None:
        permit.in_flight -= 1
        if failed:
            self._change(Trigger.TRIPPED, now_ns)
            return
        permit.successes += 1
        if permit.successes >= self.config.half_open_successes:
            self._change(Trigger.RECOVERED, now_ns)

    def _trip(self, now_ns: int) -> None:
        if self.state is State.METRICS_ONLY:
            self.totals.would_open += 1
            failures, calls = self._counted(now_ns)
            event = self._say
            event("breaker.would_open", breaker=self.name, failures=failures, calls=calls)
            self._begin(State.METRICS_ONLY, now_ns)
            return
        self._change(Trigger.TRIPPED, now_ns)

    # ── the operator ─────────────────────────────────────────────────────────

    def operate(self, trigger: Trigger, now_ns: int) -> None:
        """Force a state, or reset: back to closed, with nothing remembered."""
        self._openings = 0
        self._change(trigger, now_ns)

    def configure(self, config: BreakerConfig, now_ns: int) -> None:
        """New thresholds. What is under way goes on; another policy begins with an empty window."""
        keeps_window = config.trip == self.config.trip
        self._take(config)
        if not keeps_window and self.state in WATCHED:
            self._begin(self.state, now_ns)

    # ── what can be seen ─────────────────────────────────────────────────────

    def rate(self, now_ns: int) -> float | None:
        """Failures per call in the window, 0.0 to 1.0; None if it counts no calls, or has none."""
        failures, calls = self._counted(now_ns)
        return None if failures is None or not calls else failures / calls

    def open_ns(self, now_ns: int) -> int:
        """How long it has been open, all stays together: half-open is not, forced open is."""
        here = self.generation
        is_open = here.state in (State.OPEN, State.FORCED_OPEN)
        return self.totals.open_ns + (max(0, now_ns - here.since_ns) if is_open else 0)

    def retry_after_ns(self, now_ns: int) -> int | None:
        """How long until an open circuit lets a probe through; None where no time says so."""
        if self.state is not State.OPEN:
            return None
        return max(0, self.generation.since_ns + self._open_for_ns - now_ns)

    # ── inside ───────────────────────────────────────────────────────────────

    def _take(self, config: BreakerConfig) -> None:
        self.config = config
        self._open_times = config.open_times()
        self.slow_call_ns = (
            None if config.slow_call_s is None else round(config.slow_call_s * SECOND_NS)
        )
        stuck_s = config.open_s if config.half_open_s is None else config.half_open_s
        self._stuck_ns = round(stuck_s * SECOND_NS)

    def _open_time_is_over(self, now_ns: int) -> bool:
        here = self.generation
        here.since_ns = min(here.since_ns, now_ns)  # a clock that stepped back
        return now_ns - here.since_ns >= self._open_for_ns

    def _may_probe(self) -> bool:
        return self.generation.in_flight < self.config.half_open_calls

    def _probes_are_stuck(self, now_ns: int) -> bool:
        here = self.generation
        here.last_permit_ns = min(here.last_permit_ns, now_ns)
        # The last permit is the youngest: every other probe has been away longer.
        return now_ns - here.last_permit_ns >= self._stuck_ns

    def _change(self, trigger: Trigger, now_ns: int) -> Generation:
        before = self.generation
        failures, calls = self._counted(now_ns)
        open_s: float | None = None
        self.totals.open_ns = self.open_ns(now_ns)
        here = self._begin(after(before.state, trigger), now_ns)
        if here.state is State.OPEN:
            self._openings += 1
            self.totals.opened += 1
            self._open_for_ns = self._open_times.wait_ns(self._openings, self._randomness)
            open_s = self._open_for_ns / SECOND_NS
        elif here.state is State.CLOSED:
            self._openings = 0
        event = self._say
        event(
            "breaker.change",
            breaker=self.name,
            was=before.state.value,
            now=here.state.value,
            trigger=trigger.value,
            failures=failures,
            calls=calls,
            open_s=open_s,
        )
        return here

    def _begin(self, state: State, now_ns: int) -> Generation:
        left = self.generation
        left.lets_all_through = left.success_is_harmless = False
        self.generation = Generation(state, now_ns, self.config.trip.window())
        return self.generation

    def _counted(self, now_ns: int) -> tuple[int | None, int | None]:
        """Failures and calls in the window; None where none are counted."""
        counted = self.generation.window.rate(now_ns) if self.state in WATCHED else None
        return counted or (None, None)

    def _refusal(self, now_ns: int) -> CircuitOpen:
        self.totals.refused += 1
        wait_ns = self.retry_after_ns(now_ns)
        wait_s = None if wait_ns is None else wait_ns / SECOND_NS
        event = self._say
        event("breaker.refuse", breaker=self.name, state=self.state.value, retry_after_s=wait_s)
        match self.state:
            case State.OPEN:
                remedy = f"try again in {wait_s:.3f} s"
            case State.HALF_OPEN:
                remedy = (
                    f"{self.generation.in_flight} probes are under way, the limit; "
                    "try again when they have come back"
                )
            case _:
                remedy = "an operator has to end this: breaker.reset()"
        return CircuitOpen(
            f"breaker {self.name} is {self.state.value}: {remedy}",
            breaker=self.name,
            state=self.state.value,
            retry_after_s=wait_s,
        )
