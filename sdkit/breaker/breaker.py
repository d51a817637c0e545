"""Breaker: a circuit around calls, for coroutines and for threads.

    profiles = Breaker("profiles", BreakerConfig(trip=ConsecutiveFailures(5), open_s=10))

    @profiles                                  as decorator, of `async def` or `def`
    async def profile(user): ...

    async with profiles: ...                   as a block; `with` where nothing is awaited

    await profiles.call(fetch, user)           as a plain object; `call_sync` for plain functions

    attempt = profiles.attempt()               by hand, where the end is somewhere else
    attempt.succeed()

Everything worth thinking about is in `sdkit.breaker.circuit`. The shell reads
the clock, keeps threads apart, and sees to it that a permit comes back whatever
ends the call: a result, an error, a cancellation, ``KeyboardInterrupt``.

Three things to notice
    1. *Threads.* One breaker may be used by any number of threads and event loops at
       once: every step of the circuit is taken under a lock (`sdkit.breaker.steps`), and
       the call, the clock, judges and listeners outside it, so none of them holds anybody
       up. Only a success that cannot change the state (``success_is_harmless``) goes without
       the lock: it leaves nothing behind, or takes one step of a counter, which is atomic.
    2. *The price.* That shortcut is what healthy traffic takes: no lock, and no clock
       unless slow calls ask for one. With a lock, a clock and the circuit for every call,
       as a time window needs them, a call costs ten times as much.
    3. *Late clock.* Unless ``clock`` is given, the time is that of the host that the
       *call* runs on: a breaker made when a module was imported works in a simulation.

Decision: a plain function that returns a coroutine, or anything else to be awaited, is refused,
not taken for a success: that breakers never open for coroutines is Python's oldest complaint.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import ContextVar
from random import Random
from types import TracebackType
from typing import Any, ClassVar, Final, ParamSpec, Self, TypeVar

from sdkit import host as hosts
from sdkit.arguments import AT_HAND, shown
from sdkit.breaker.checks import check_clock, check_random
from sdkit.breaker.circuit import Circuit, CircuitOpen, Generation
from sdkit.breaker.config import BreakerConfig
from sdkit.breaker.judging import Errors, ResultJudge, judge, result_judge
from sdkit.breaker.layer import Layer, Unique, check_name, refuse_awaitable
from sdkit.breaker.metrics import MEANINGS, BreakerMetrics, gauges, look
from sdkit.breaker.results import NOT_OF_THE_CALLEE, BadResult, judged, judged_sync
from sdkit.breaker.states import State, Trigger
from sdkit.breaker.steps import LOCK, Steps
from sdkit.errors import InvalidArgument, InvalidState

__all__ = ["Attempt", "Breaker", "BreakerMetrics", "CircuitOpen"]

P = ParamSpec("P")
T = TypeVar("T")
End = Callable[[Generation, int | None, int], None]  # of a call: succeed, fail or release

# The blocks that a task or thread is in, of all breakers. One variable for all: a context
# holds what was ever set in it, so one for each breaker would outlive the breaker.
_blocks: Final[ContextVar[tuple[Attempt, ...]]] = ContextVar("sdkit_breaker_blocks", default=())


class Breaker(Layer):
    """Lets calls through while they go well.

    Args:
        name: how errors, events and metrics call it.
        config: its thresholds; `BreakerConfig` has the defaults.
        failure_on: which errors speak against the callee: types, or a function of the
            error. Unless given, everything but `sdkit.errors.Rejected`. An error that
            does not count is a success: the callee has answered.
        failure_if: a plain function that says which results are failures all the same (a
            response with status 503); in a pipeline for all its layers (`sdkit.breaker.results`).
        clock: whole nanoseconds that never go back; the current host's unless given.
        random: draws the jitter of open times; that of the host it is made on unless given.

    Raises:
        InvalidArgument: an argument is not what it should be; the message names it.
    """

    kind = "a breaker"
    circuit_type: type[Circuit] = Circuit
    meanings: ClassVar[Mapping[str, str]] = MEANINGS  # of `gauges`

    def __init__(
        self,
        name: str = "breaker",
        config: BreakerConfig | None = None,
        *,
        failure_on: Errors | None = None,
        failure_if: ResultJudge | None = None,
        clock: Callable[[], int] | None = None,
        random: Random | None = None,
    ) -> None:
        check_name(name, self.kind)
        check_clock(clock)
        check_random(random)
        self.name: Final = name
        self._clock: Final = clock
        self._steps: Final = Steps()
        self._counts: Final = judge("failure_on", failure_on)
        self.is_bad: Final = None if failure_if is None else result_judge(failure_if)
        self._circuit: Final = self.circuit_type(
            name,
            _checked(BreakerConfig() if config is None else config),
            hosts.current().random if random is None else random,
            self._now_ns(),
            self._steps.say,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.state.value}>"

    # ── calls ────────────────────────────────────────────────────────────────

    def attempt(self) -> Attempt:
        """Ask for one call, and say later how it ended: `Attempt.succeed`, `fail`, `release`.

        Raises:
            CircuitOpen: it is not let through.
        """
        permit = self._admit()
        return Attempt(self, permit, self._circuit.due_ns(self._now_ns()))

    def check(self) -> None:
        """Refuse if a call would be refused just now; takes no permit.

        Raises:
            CircuitOpen: it would.
        """
        if not self._circuit.generation.lets_all_through:
            now_ns = self._now_ns()
            with self._steps:
                self._circuit.check(now_ns)

    def around(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Calls ``function`` if it is let through, and raises `CircuitOpen` otherwise."""
        return judged(self.is_bad, self.guarding, function)

    def around_sync(self, function: Callable[P, T]) -> Callable[P, T]:
        """The same for a plain function."""
        return judged_sync(self.is_bad, self.guarding_sync, function)

    # The two functions below are the same, awaited and not. They are written out, and
    # spare the calls of `_admit` and `_end` where these would change nothing.

    def guarding(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """`around`, but a bad result stays a `BadResult`, for the layers outside of this one."""
        circuit, given, current = self._circuit, self._clock, hosts.current

        async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            permit = circuit.generation
            if not permit.lets_all_through:
                permit = self._admit()
            due_ns = circuit.slow_call_ns
            if due_ns is not None:
                clock = given or current().monotonic_ns
                due_ns += clock()
            try:
                result = await function(*args, **kwargs)
            except BaseException as error:
                self._failed(permit, due_ns, error)
                raise
            if permit.success_is_harmless and (due_ns is None or clock() <= due_ns):
                if permit.volume is not None:
                    next(permit.volume)
            else:
                self._end(circuit.succeed, permit, due_ns)
            return result

        return guarded

    def guarding_sync(self, function: Callable[P, T]) -> Callable[P, T]:
        """The same for a plain function."""
        circuit, given, current = self._circuit, self._clock, hosts.current

        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            permit = circuit.generation
            if not permit.lets_all_through:
                permit = self._admit()
            due_ns = circuit.slow_call_ns
            if due_ns is not None:
                clock = given or current().monotonic_ns
                due_ns += clock()
            try:
                result = function(*args, **kwargs)
                if type(result) not in AT_HAND:
                    refuse_awaitable(result, function, self.kind)
            except BaseException as error:
                self._failed(permit, due_ns, error)
                raise
            if permit.success_is_harmless and (due_ns is None or clock() <= due_ns):
                if permit.volume is not None:
                    next(permit.volume)
            else:
                self._end(circuit.succeed, permit, due_ns)
            return result

        return guarded

    # ── blocks ───────────────────────────────────────────────────────────────

    def __enter__(self) -> Attempt:
        """Ask for the block. Several tasks and threads may be in blocks of one breaker; those
        of one task end in the reverse order of their beginning, as blocks do.

        Raises:
            CircuitOpen: it is not let through.
        """
        # Not kept on the breaker: each task and thread has to find its own again.
        attempt = self.attempt()
        _blocks.set((*_blocks.get(), attempt))
        return attempt

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        blocks = _blocks.get()
        number = max((n for n, each in enumerate(blocks) if each._breaker is self), default=None)
        if number is None:
            raise InvalidState(
                f"a block of breaker {self.name} was entered in another task or thread; "
                "use `attempt = breaker.attempt()`, which may be ended anywhere"
            )
        _blocks.set(blocks[:number] + blocks[number + 1 :])
        blocks[number].__exit__(kind, error, traceback)

    async def __aenter__(self) -> Attempt:
        return self.__enter__()

    async def __aexit__(self, *end: Any) -> None:
        self.__exit__(*end)

    # ── operators ────────────────────────────────────────────────────────────

    @property
    def state(self) -> State:
        """Where it is. Open becomes half-open when the next call asks."""
        return self._circuit.state

    @property
    def config(self) -> BreakerConfig:
        """Its thresholds at the moment."""
        return self._circuit.config

    def configure(self, config: BreakerConfig) -> None:
        """New thresholds from now on. An open time that has begun ends as it would have."""
        _checked(config)
        now_ns = self._now_ns()
        with self._steps:
            self._circuit.configure(config, now_ns)

    def force_open(self) -> None:
        """Refuse every call until an operator says otherwise."""
        self._operate(Trigger.FORCE_OPEN)

    def force_closed(self) -> None:
        """Let every call through, whatever happens, until an operator says otherwise."""
        self._operate(Trigger.FORCE_CLOSED)

    def measure_only(self) -> None:
        """Let every call through and count; say when it would have opened."""
        self._operate(Trigger.MEASURE_ONLY)

    def reset(self) -> None:
        """Closed, with nothing remembered; the end of whatever was forced."""
        self._operate(Trigger.RESET)

    def metrics(self) -> BreakerMetrics:
        """What there is to see at this moment."""
        now_ns = self._now_ns()
        with self._steps:
            return look(self._circuit, now_ns)

    def gauges(self) -> dict[str, float]:
        """`metrics` as `sdkit.trace.Metrics.text` takes them; the name is a label of each."""
        return gauges(self.name, self.metrics())

    # ── for the calls above ──────────────────────────────────────────────────

    def _admit(self) -> Generation:
        now_ns = self._now_ns()
        permit: Generation | None = None
        try:
            with self._steps:
                permit = self._circuit.admit(now_ns)
        except BaseException:
            if permit is not None:  # a listener has raised, and the call will not be made
                self._end(self._circuit.release, permit, None)
            raise
        return permit

    def _now_ns(self) -> int:
        return self._clock() if self._clock is not None else hosts.current().monotonic_ns()

    def _failed(self, permit: Generation, due_ns: int | None, error: BaseException) -> None:
        circuit = self._circuit
        end = circuit.release  # it was cancelled or interrupted, or never was a call
        try:
            if isinstance(error, BadResult):
                end = circuit.fail
            elif isinstance(error, Exception) and not isinstance(error, NOT_OF_THE_CALLEE):
                end = circuit.fail if self._counts(error) else circuit.succeed
        finally:  # a judge that raises has not judged
            self._end(end, permit, due_ns)

    def _end(self, end: End, permit: Generation, due_ns: int | None) -> None:
        now_ns = self._now_ns()
        with self._steps:
            end(permit, due_ns, now_ns)

    def _operate(self, trigger: Trigger) -> None:
        now_ns = self._now_ns()
        with self._steps:
            self._circuit.operate(trigger, now_ns)


class Attempt(Unique):
    """One call that was let through, and is to end once. Made by `Breaker.attempt`.

    As a block it ends itself: well, or with the error that leaves the block. An attempt
    that nobody ends keeps its permit; a half-open breaker waits ``half_open_s`` for it.
    """

    def __init__(self, breaker: Breaker, permit: Generation, due_ns: int | None) -> None:
        self._breaker, self._permit, self._due_ns = breaker, permit, due_ns
        self._is_over = False

    def succeed(self, result: object = None) -> None:
        """It came back; ``failure_if`` judges ``result``."""
        self._finish()
        breaker, circuit = self._breaker, self._breaker._circuit
        end = circuit.release  # if the judge raises, it has not judged
        try:
            is_bad = breaker.is_bad is not None and breaker.is_bad(result)
            end = circuit.fail if is_bad else circuit.succeed
        finally:
            breaker._end(end, self._permit, self._due_ns)

    def fail(self, error: BaseException | None = None) -> None:
        """Count the call as failed; with ``error``, only if ``failure_on`` accepts it.

        Raises:
            InvalidArgument: ``error`` is no exception; the attempt goes on.
        """
        if error is not None and not isinstance(error, BaseException):
            raise InvalidArgument(
                f"error is {shown(error)}; it must be the exception that the call raised"
            )
        self._finish()
        if error is None:
            self._breaker._end(self._breaker._circuit.fail, self._permit, self._due_ns)
        else:
            self._breaker._failed(self._permit, self._due_ns, error)

    def release(self) -> None:
        """It was given up, and says nothing about the callee, unless it was slow already."""
        self._finish()
        self._breaker._end(self._breaker._circuit.release, self._permit, self._due_ns)

    def __enter__(self) -> Self:
        return self

    def __repr__(self) -> str:
        return f"<Attempt through {self._breaker.name}: {'over' if self._is_over else 'under way'}>"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_over:  # ended by hand, inside the block
            return
        if error is None:
            self.succeed()
        else:
            self.fail(error)

    def _finish(self) -> None:
        with LOCK:  # two threads may end it at once
            was_over, self._is_over = self._is_over, True
        if was_over:
            raise InvalidState(
                f"this attempt through breaker {self._breaker.name} has ended already; "
                "an attempt ends once"
            )


def _checked(config: object) -> BreakerConfig:
    if not isinstance(config, BreakerConfig):
        raise InvalidArgument(f"config is {shown(config)}; a breaker takes a BreakerConfig")
    return config
