"""Our breaker as the specification wants it."""

from __future__ import annotations

from collections.abc import Callable

from sdkit.breaker import Breaker, BreakerConfig, ConsecutiveFailures, FailureRate
from sdkit.breaker.policies import Policy
from sdkit.spec.breaker import Subject, Wanted


def make_breaker(kind: type[Breaker] = Breaker) -> Callable[[Wanted], Subject]:
    """Breakers of this kind, for `sdkit.spec.breaker.breaker`."""

    def make(wanted: Wanted) -> Subject:
        return kind(
            "subject",
            BreakerConfig(
                trip=policy(wanted),
                slow_call_s=wanted.slow_call_s,
                open_s=wanted.open_s,
                open_growth=1.0,
                open_jitter=0.0,
                half_open_calls=wanted.half_open_calls,
                half_open_successes=wanted.half_open_successes,
                half_open_s=wanted.half_open_s,
            ),
            failure_on=wanted.counts,
            failure_if=None
            if wanted.bad_result is None
            else lambda result: bool(result == wanted.bad_result),
        )

    return make


def policy(wanted: Wanted) -> Policy:
    """Consecutive failures or a rate."""
    if wanted.failures is not None:
        return ConsecutiveFailures(wanted.failures)
    assert wanted.percent is not None
    return FailureRate(
        wanted.percent,
        window_calls=wanted.window_calls,
        window_s=wanted.window_s,
        calls_min=wanted.calls_min,
    )
