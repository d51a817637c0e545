"""Judging: which errors speak against the callee.

A breaker that counts every exception opens because of its callers: a thousand
requests with a wrong argument are a thousand exact, quick, healthy refusals. So
somebody has to judge, and only the caller can. What it says is one of

    an exception type, or a tuple of them      these count
    a function of the error                    what it returns counts

and unless it says anything, everything counts but `sdkit.errors.Rejected`: of
the four kinds of error in this kit, the one by which a callee that is well says no.

The same question is asked by a fallback: which errors may be covered up?

Of results only the caller knows, too, which are failures all the same (a response with status
503): ``failure_if`` says it, once, and what to do about it is in `sdkit.breaker.results`.

A judge answers at once. An ``async def`` would answer with a coroutine, which is true
whatever it says in the end; so it is refused, when it is given or when it has answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sdkit.arguments import check_function, close_unawaited, is_awaitable, shown
from sdkit.errors import InvalidArgument, Rejected

Errors = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]
Judge = Callable[[Exception], bool]
ResultJudge = Callable[[Any], bool]


def speaks_against_the_callee(error: Exception) -> bool:
    """What counts unless the caller says otherwise: everything but `Rejected`."""
    return not isinstance(error, Rejected)


def judge(name: str, errors: Errors | None) -> Judge:
    """A function that says whether an error is one of ``errors``.

    Args:
        name: of the argument, for the message.
        errors: types or a function; None for `speaks_against_the_callee`.

    Raises:
        InvalidArgument: it is neither.
    """
    if errors is None:
        return speaks_against_the_callee
    types = errors if isinstance(errors, tuple) else (errors,)
    if all(isinstance(each, type) and issubclass(each, Exception) for each in types):
        return lambda error: isinstance(error, types)  # type: ignore[arg-type]  # just checked
    if isinstance(errors, type | tuple) or not callable(errors):
        raise InvalidArgument(
            f"{name} is {shown(errors)}; it must be an exception type, a tuple of them, or a "
            "function of the error that returns a bool",
            name=name,
        )
    return _answering_at_once(name, errors)


def result_judge(failure_if: ResultJudge) -> ResultJudge:
    """A function that says whether a result is a failure.

    Raises:
        InvalidArgument: ``failure_if`` is no plain function.
    """
    return _answering_at_once("failure_if", failure_if)


def _answering_at_once(name: str, function: Callable[[Any], bool]) -> Callable[[Any], bool]:
    check_function(name, function, asynchronous=False)

    def judged(subject: Any) -> bool:
        verdict = function(subject)
        if is_awaitable(verdict):
            close_unawaited(verdict)
            raise InvalidArgument(
                f"{name} returned {type(verdict).__name__}, which is true before it has been "
                "awaited; it must be a plain function that returns a bool",
                name=name,
            )
        return bool(verdict)

    return judged
