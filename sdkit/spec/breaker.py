"""Specification: what a circuit breaker promises.

    TestMine = breaker(make, refused=MyCircuitOpen)

``make(Wanted(...))`` makes a breaker with these thresholds: an object with
``call(function)``, where ``function`` is a coroutine function without arguments. It
raises ``refused`` for a call that is not let through, and ``unittest.SkipTest`` if a
breaker cannot be told such a thing. It runs on the simulated loop, whose clock is the
one of its `Host`, of ``time.monotonic`` and of ``time.time`` (`sdkit.spec.running`).

The oracle is never a second breaker, but what the callee saw and what was asked for:
how many of the last calls failed, how many were inside at once, what time it was
(`sdkit.spec.breaker_calls`).

Each sentence below is one property, and each has a wrong variant in
``tests/spec/mutants/breaker.py`` that it has to catch.
"""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdkit.spec.breaker_calls import (
    MANY,
    OPEN_S,
    SOON_S,
    Caller,
    Make,
    Subject,
    Trouble,
    Wanted,
    cancelled,
    turns,
)
from sdkit.spec.running import finished, run

__all__ = ["Make", "Subject", "Wanted", "breaker"]

outcomes = st.lists(st.booleans(), max_size=40)


def breaker(
    make: Make, *, refused: type[Exception], without: Collection[str] = ()
) -> type[unittest.TestCase]:
    """Build the test case for one kind of breaker."""

    def caller(wanted: Wanted) -> Caller:
        return Caller(make(wanted), refused)

    class BreakerSpec(unittest.TestCase):
        # ── when it opens ────────────────────────────────────────────────────

        @given(outcomes, st.integers(1, 4))
        def test_it_opens_with_the_last_failure_of_a_run_and_not_before(
            self, calls: list[bool], failures: int
        ) -> None:
            wanted = Wanted(failures=failures)
            expected, length = None, 0
            for number, fails in enumerate(calls):
                length = length + 1 if fails else 0
                if length == failures:
                    expected = number + 1
                    break

            async def main() -> None:
                assert await caller(wanted).opened_after(calls) == expected

            run(main())

        @given(
            outcomes,
            st.sampled_from([20.0, 50.0, 70.0, 100.0]),
            st.integers(1, 8),
            st.integers(1, 8),
        )
        def test_it_opens_as_soon_as_the_rate_of_the_last_calls_is_too_high(
            self, calls: list[bool], percent: float, window: int, calls_min: int
        ) -> None:
            calls_min = min(calls_min, window)
            wanted = Wanted(percent=percent, window_calls=window, calls_min=calls_min)
            expected = None
            for end in range(1, len(calls) + 1):
                seen = calls[max(0, end - window) : end]
                if len(seen) >= calls_min and sum(seen) * 100 >= percent * len(seen):
                    expected = end
                    break

            async def main() -> None:
                assert await caller(wanted).opened_after(calls) == expected

            run(main())

        @given(
            st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=30),
            st.sampled_from([30.0, 60.0, 100.0]),
        )
        def test_a_time_window_forgets_what_is_older_and_nothing_younger(
            self, steps: list[tuple[bool, int]], percent: float
        ) -> None:
            window_s, calls_min = 10.0, 3
            calls = [fails for fails, _ in steps]
            pauses_s = [tenths / 10 + SOON_S for _, tenths in steps]
            times = [sum(pauses_s[: n + 1]) for n in range(len(steps))]

            def too_high(end: int, since_s: float) -> bool:
                seen = [calls[n] for n in range(end) if times[n] > since_s]
                return len(seen) >= calls_min and 0 < sum(seen) * 100 >= percent * len(seen)

            # It may look back a little less than the whole window: buckets end somewhere.
            may, must = [], []
            for end in range(1, len(calls) + 1):
                now_s = times[end - 1]
                edges = {now_s - window_s, now_s - 0.9 * window_s - 2 * SOON_S}
                edges |= {t for t in times[:end] if min(edges) < t < max(edges)}
                verdicts = [too_high(end, edge) for edge in edges]
                may.append(any(verdicts))
                must.append(all(verdicts))
            wanted = Wanted(percent=percent, window_s=window_s, calls_min=calls_min)

            async def main() -> None:
                at = await caller(wanted).opened_after(calls, pauses_s)
                if at is not None:
                    assert may[at - 1], f"opened after call {at}, without reason"
                opened = len(calls) + 1 if at is None else at
                assert not any(must[: opened - 1]), "still closed"

            run(main())

        def test_a_call_that_was_slow_has_failed(self) -> None:
            async def main() -> None:
                it = caller(Wanted(failures=2, slow_call_s=1.0))
                for late_s in (0.9, 1.1, 1.1):

                    async def work(late_s: float = late_s) -> None:
                        await asyncio.sleep(late_s)

                    assert await it.ask(work) == "ok"
                assert await it.ask(it.callee.well) == "refused"

            run(main())

        def test_an_error_that_does_not_count_is_no_failure_and_a_result_can_be_one(self) -> None:
            class Fussy(Exception):
                pass

            async def complain() -> None:
                raise Fussy

            async def say_503() -> int:
                return 503

            async def main() -> None:
                it = caller(Wanted(failures=2, counts=Trouble, bad_result=503))
                for _ in range(5):
                    with pytest.raises(Fussy):
                        await it.subject.call(complain)
                assert await it.is_closed()
                for _ in range(2):
                    assert await it.subject.call(say_503) == 503
                assert await it.ask(it.callee.well) == "refused"

            run(main())

        # ── open ─────────────────────────────────────────────────────────────

        @given(st.floats(0.01, 0.99), st.integers(1, 20))
        def test_an_open_breaker_calls_nobody_before_its_time_is_over(
            self, part: float, asked: int
        ) -> None:
            async def main() -> None:
                it = caller(Wanted(failures=2))
                await it.open(2)
                for _ in range(asked):
                    await asyncio.sleep(part * OPEN_S / asked)
                    assert await it.ask(it.callee.well) == "refused"
                await asyncio.sleep((1 - part) * OPEN_S + SOON_S)
                assert await it.ask(it.callee.well) == "ok"

            run(main())

        # ── half-open ────────────────────────────────────────────────────────

        def test_half_open_lets_one_in_of_a_hundred(self) -> None:
            async def main() -> None:
                it = caller(Wanted(failures=1))
                await it.half_open(1)
                tasks = await it.begin(MANY)
                assert it.callee.inside_max == 1
                assert sum(task.done() for task in tasks) == MANY - 1, "they wait"
                it.callee.let_go()
                assert sorted(await asyncio.gather(*tasks)) == ["ok", *["refused"] * (MANY - 1)]

            run(main())

        @given(st.integers(2, 5), st.integers(0, 4))
        def test_half_open_lets_exactly_so_many_in_at_once(self, at_once: int, back: int) -> None:
            """100 ask at once; each that comes back, and decides nothing, makes room for one."""
            back = min(back, at_once)

            async def main() -> None:
                wanted = Wanted(failures=1, half_open_calls=at_once, half_open_successes=MANY)
                it = caller(wanted)
                await it.half_open(1)
                tasks = await it.begin(MANY)
                assert it.callee.inside == at_once
                assert sum(task.done() for task in tasks) == MANY - at_once
                it.callee.let_go(back)
                await turns()
                tasks += await it.begin(MANY)
                assert it.callee.inside == it.callee.inside_max == at_once
                it.callee.let_go(at_once)
                await asyncio.gather(*tasks)

            run(main())

        @given(st.integers(1, 4), st.integers(1, 6))
        def test_it_closes_after_so_many_successes_and_not_before(
            self, at_once: int, successes: int
        ) -> None:
            at_once = min(at_once, successes)

            async def main() -> None:
                wanted = Wanted(failures=1, half_open_calls=at_once, half_open_successes=successes)
                it = caller(wanted)
                await it.half_open(1)
                for _ in range(successes - 1):
                    assert await it.ask(it.callee.well) == "ok"
                tasks = await it.begin(MANY)
                assert 0 < it.callee.inside <= at_once, "closed too soon"
                it.callee.let_go()
                await turns()
                assert await it.is_closed()
                await asyncio.gather(*tasks)

            run(main())

        def test_a_failed_probe_opens_it_for_the_whole_time_again(self) -> None:
            async def main() -> None:
                it = caller(Wanted(failures=3))
                await it.half_open(3)
                assert await it.ask(it.callee.fail) == "failed"
                await asyncio.sleep(OPEN_S - SOON_S)
                assert await it.ask(it.callee.well) == "refused"
                await asyncio.sleep(2 * SOON_S)
                assert await it.ask(it.callee.well) == "ok"

            run(main())

        @given(st.integers(1, 3))
        def test_one_failed_probe_among_successes_is_enough(self, before: int) -> None:
            async def main() -> None:
                it = caller(Wanted(failures=3, half_open_successes=4))
                await it.half_open(3)
                for _ in range(before):
                    assert await it.ask(it.callee.well) == "ok"
                assert await it.ask(it.callee.fail) == "failed"
                assert await it.ask(it.callee.well) == "refused"

            run(main())

        def test_probes_that_never_come_back_do_not_block_it_for_ever(self) -> None:
            async def main() -> None:
                it = caller(Wanted(failures=1, half_open_calls=2, half_open_s=5.0))
                await it.half_open(1)
                lost = await it.begin(2)
                assert await it.ask(it.callee.well) == "refused"
                await asyncio.sleep(5.0 + SOON_S)
                assert await it.ask(it.callee.well) == "refused", "it opens, before it asks again"
                await asyncio.sleep(OPEN_S + SOON_S)
                assert await it.ask(it.callee.well) == "ok"
                it.callee.let_go(2)
                await asyncio.gather(*lost)
                assert await it.is_closed()

            run(main())

        # ── what comes late, and what does not count ─────────────────────────

        @given(st.booleans(), st.booleans())
        def test_a_result_of_an_older_generation_is_ignored(self, fails: bool, open_: bool) -> None:
            """Calls that began before it opened come back while it is open, or closed again."""

            async def main() -> None:
                it = caller(Wanted(failures=2))
                late = await it.begin(5)
                await it.open(2)
                if not open_:
                    await asyncio.sleep(OPEN_S + SOON_S)
                    assert await it.ask(it.callee.well) == "ok"
                it.callee.let_end(len(late), fails=fails)
                await asyncio.gather(*late)
                assert await it.is_closed() == (not open_)

            run(main())

        @given(st.booleans())
        def test_a_late_result_is_no_probe(self, fails: bool) -> None:
            async def main() -> None:
                it = caller(Wanted(failures=2, half_open_successes=2))
                late = await it.begin(5)
                await it.half_open(2)
                assert await it.ask(it.callee.well) == "ok"  # one of two successes
                it.callee.let_end(len(late), fails=fails)
                await asyncio.gather(*late)
                probes = await it.begin(2)
                assert it.callee.inside == 1, "the late results have decided something"
                it.callee.let_go()
                await asyncio.gather(*probes)
                assert await it.is_closed()

            run(main())

        @given(st.integers(1, 10))
        def test_a_cancelled_call_counts_as_neither(self, count: int) -> None:
            async def main() -> None:
                it = caller(Wanted(failures=2))
                assert await it.ask(it.callee.fail) == "failed"
                await cancelled(it, count)
                await it.open(1)  # the run was not interrupted, and not prolonged

            run(main())

        @given(st.integers(1, 10))
        def test_a_cancelled_probe_gives_its_permit_back_and_decides_nothing(
            self, count: int
        ) -> None:
            async def main() -> None:
                it = caller(Wanted(failures=2))
                await it.half_open(2)
                await cancelled(it, count)
                assert await it.ask(it.callee.fail) == "failed", "no permit is left"
                assert await it.ask(it.callee.well) == "refused", "a cancellation has closed it"

            run(main())

        @given(st.booleans())
        def test_a_cancelled_call_that_was_slow_already_counts_as_slow(self, slow: bool) -> None:
            async def main() -> None:
                it = caller(Wanted(failures=3, slow_call_s=1.0))
                for _ in range(3):
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(1.0 + SOON_S if slow else 1.0 - SOON_S):
                            await it.subject.call(it.callee.hang)
                answer = await it.ask(it.callee.well)
                assert answer == ("refused" if slow else "ok")

            run(main())

        # ── and otherwise ────────────────────────────────────────────────────

        def test_whoever_is_let_through_gets_what_the_function_gives(self) -> None:
            thing, trouble = object(), Trouble("this very one")

            async def give() -> object:
                return thing

            async def raise_() -> object:
                raise trouble

            async def main() -> None:
                it = caller(Wanted(failures=2))
                assert await it.subject.call(give) is thing
                with pytest.raises(Trouble) as caught:
                    await it.subject.call(raise_)
                assert caught.value is trouble

            run(main())

        def test_an_interruption_goes_through_and_counts_as_neither(self) -> None:
            class Interrupted(BaseException):
                pass

            async def interrupt() -> None:
                raise Interrupted

            async def interrupted(it: Caller) -> None:
                for _ in range(5):
                    with pytest.raises(Interrupted):
                        await it.subject.call(interrupt)

            async def main() -> None:
                it = caller(Wanted(failures=2))
                assert await it.ask(it.callee.fail) == "failed"
                await interrupted(it)
                await it.open(1)
                await asyncio.sleep(OPEN_S + SOON_S)
                await interrupted(it)
                assert await it.ask(it.callee.well) == "ok", "no permit is left"

            run(main())

    return finished(BreakerSpec, without, make=make)
