"""Results: turn a bad result into an error for the layers, and back into a result outside.

A callee may answer "503, come back later". No error is raised, so for a breaker, a retry
and a fallback the call succeeded. The caller says once, with ``failure_if`` of a breaker or
of a pipeline, which results are failures:

    Pipeline(fallback=..., retry=..., breaker=..., failure_if=lambda answer: answer.status == 503)

The idea
    `Judging`, next to the call, raises a bad result as an error (`BadResult`). So each
    layer treats it as an error: a breaker counts it, a retry repeats the call, a fallback
    answers in its place and does not store it as the last good answer. If the error comes
    through all layers, `Unwrapping` turns it back into the result.

        unwrapping ( fallback ( retry ( breaker ( judging ( the call )))))
            503   <──────────── BadResult(503) ────────────── 503

Decision: a bad result is a failure for all of them, whatever ``failure_on``, ``retry_on`` and
``on`` say. Those are about errors, and here the callee raised none. So a retry repeats the call
even if it is not ``idempotent``: accept in ``failure_if`` only results which say that nothing was
done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar, cast

from sdkit.breaker.judging import ResultJudge
from sdkit.breaker.layer import Layer, WrongKind, refuse_awaitable

P = ParamSpec("P")
T = TypeVar("T")


class BadResult(Exception):
    """A result that ``failure_if`` has called a failure, between two layers."""

    def __init__(self, result: object) -> None:
        super().__init__()
        self.result = result


class Unjudged(Exception):
    """An error that ``failure_if`` itself raised. No layer counts it or answers for it."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


NOT_OF_THE_CALLEE: Final = (WrongKind, Unjudged)  # mistakes of the caller


class Judging(Layer):
    """Raises `BadResult` in place of a result that ``is_bad``."""

    kind = "failure_if"

    def __init__(self, is_bad: ResultJudge) -> None:
        self._is_bad = is_bad

    def around(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        async def judged(*args: P.args, **kwargs: P.kwargs) -> T:
            result = await function(*args, **kwargs)
            self._judge(result)
            return result

        return judged

    def around_sync(self, function: Callable[P, T]) -> Callable[P, T]:
        def judged(*args: P.args, **kwargs: P.kwargs) -> T:
            result = function(*args, **kwargs)
            refuse_awaitable(result, function, self.kind)
            self._judge(result)
            return result

        return judged

    def _judge(self, result: object) -> None:
        try:
            is_bad = self._is_bad(result)
        except Exception as error:
            raise Unjudged(error) from error
        if is_bad:
            raise BadResult(result)


class Unwrapping(Layer):
    """Returns the result of a `BadResult`, and raises the error of `Unjudged`."""

    kind = "failure_if"

    def around(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        async def unwrapped(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return await function(*args, **kwargs)
            except BadResult as bad:
                return cast(T, bad.result)
            except Unjudged as unjudged:
                error = unjudged.error
            try:
                raise error
            finally:
                del error  # or it would hold its own traceback

        return unwrapped

    def around_sync(self, function: Callable[P, T]) -> Callable[P, T]:
        def unwrapped(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except BadResult as bad:
                return cast(T, bad.result)
            except Unjudged as unjudged:
                error = unjudged.error
            try:
                raise error
            finally:
                del error  # or it would hold its own traceback

        return unwrapped


def judged(
    is_bad: ResultJudge | None,
    guard: Callable[[Callable[P, Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]],
    function: Callable[P, Awaitable[T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Put ``guard`` around ``function``; with a judge, ``guard`` sees bad results as errors."""
    if is_bad is None:
        return guard(function)
    return Unwrapping().around(guard(Judging(is_bad).around(function)))


def judged_sync(
    is_bad: ResultJudge | None,
    guard: Callable[[Callable[P, T]], Callable[P, T]],
    function: Callable[P, T],
) -> Callable[P, T]:
    """As `judged`, for a plain function."""
    if is_bad is None:
        return guard(function)
    return Unwrapping().around_sync(guard(Judging(is_bad).around_sync(function)))
