"""Fallback: something instead, when the real thing is not to be had.

A page without pictures is a page; an error is not. Where an answer may be left out,
say so, once, around the call:

    Fallback(default=[])                       an empty list
    Fallback(instead=read_replica)             another call, with the same arguments
    Fallback(last_good=True)                   what it said last, for these arguments

If several are given they are tried from the best to the plainest: the last good
answer, the other call, the default. If there is none, or the other call fails too,
the caller gets the first error: it says why.

Three things to notice
    1. Not every error may be covered up. A `Rejected` is an answer, so unless ``on``
       says otherwise it goes through: a wrong password is not "no password needed".
    2. A fallback that nobody sees is an outage that nobody sees. Each one is an event,
       ``breaker.fallback``; count them.
    3. What can be wrong with the fallback itself is found before the call is made, where it
       costs an error and no more: the key of the last good answer is worked out first.
       After it, it would hide an answer, or the reason why there is none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Final, ParamSpec, TypeVar, cast

from sdkit import host as hosts
from sdkit.arguments import (
    check_between,
    check_function,
    close_unawaited,
    is_async,
    is_awaitable,
    is_generator,
    shown,
)
from sdkit.breaker.checks import check_bool, check_clock
from sdkit.breaker.judging import Errors, judge
from sdkit.breaker.lastgood import LastGood, with_types
from sdkit.breaker.layer import Layer, WrongKind, name_of, refuse_awaitable
from sdkit.breaker.policies import SECOND_NS
from sdkit.breaker.results import NOT_OF_THE_CALLEE, BadResult
from sdkit.breaker.steps import LOCK
from sdkit.errors import InvalidArgument
from sdkit.trace import event

P = ParamSpec("P")
T = TypeVar("T")

_NOTHING: Final = object()
_REFUSED: Final = object()


class Fallback(Layer):
    """Answers in place of a call that failed.

    Args:
        default: the answer. The same object each time.
        instead: called with the same arguments; for an ``async def`` it has to be one, too, and
            for a plain function a plain one.
        last_good: keep good answers, and give the one for these arguments again. What can be
            read only once (an iterator) is not kept.
        key: a plain function of the arguments: which are "these"; the arguments themselves and
            their types unless given. (Python calls 1, 1.0 and True equal; a callee need not.)
            Either way it has to be hashable, or the call is refused before it is made.
        entries_max, age_max_s: how many good answers are kept, and for how long; None: for ever.
        on: which errors are covered up: types, or a function of the error. Unless given,
            all but `sdkit.errors.Rejected`.
        clock: nanoseconds that never go back; the current host's unless given.

    Raises:
        InvalidArgument: none of the three is given; or an argument is not what it should be.
    """

    kind = "a fallback"

    def __init__(
        self,
        *,
        default: object = _NOTHING,
        instead: Callable[..., Any] | None = None,
        last_good: bool = False,
        key: Callable[..., Hashable] | None = None,
        entries_max: int = 10_000,
        age_max_s: float | None = None,
        on: Errors | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        if default is _NOTHING and instead is None and not last_good:
            raise InvalidArgument(
                "a fallback needs something to fall back on: default=..., instead=a function, or "
                "last_good=True"
            )
        _check_ways(default, instead, key)
        check_bool("last_good", last_good)
        check_clock(clock)
        if age_max_s is not None:
            check_between("age_max_s", age_max_s, 0.0, 1e9)
        self._default, self._instead, self._key, self._clock = default, instead, key, clock
        self._covers: Final = judge("on", on)
        age_max_ns = None if age_max_s is None else round(age_max_s * SECOND_NS)
        self._good = LastGood(entries_max, age_max_ns) if last_good else None

    def __repr__(self) -> str:
        has = {
            "last good": self._good is not None,
            "instead": self._instead is not None,
            "default": self._default is not _NOTHING,
        }
        return f"<Fallback: {', '.join(way for way, is_given in has.items() if is_given)}>"

    def around(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Calls ``function``; answers in its place if it fails."""

        async def covered(*args: P.args, **kwargs: P.kwargs) -> T:
            key = self._key_of(function, args, kwargs)
            try:
                answer = await function(*args, **kwargs)
            except Exception as error:
                found = self._kept(key, function, error)
                if found is _REFUSED:
                    raise
                if found is _NOTHING and self._instead is not None:
                    try:
                        found = await _awaitable(self._instead(*args, **kwargs))
                    except WrongKind:
                        raise
                    except Exception:  # the first error says more
                        found = _NOTHING
                    else:
                        self._tell(function, error, "instead")
                if found is _NOTHING:
                    if self._default is _NOTHING:
                        raise  # not in a function that was given the error: it would hold itself
                    self._tell(function, error, "default")
                    found = self._default
                return cast(T, found)
            self._keep(key, answer)
            return answer

        return covered

    def around_sync(self, function: Callable[P, T]) -> Callable[P, T]:
        """The same for a plain function.

        Raises:
            InvalidArgument: ``instead`` is an ``async def``.
        """
        if self._instead is not None and is_async(self._instead):
            raise InvalidArgument(
                f"instead is {name_of(self._instead)}, an `async def`, and {name_of(function)} a "
                "plain function; give a plain one",
                name="instead",
            )

        def covered(*args: P.args, **kwargs: P.kwargs) -> T:
            key = self._key_of(function, args, kwargs)
            try:
                answer = function(*args, **kwargs)
            except Exception as error:
                found = self._kept(key, function, error)
                if found is _REFUSED:
                    raise
                if found is _NOTHING and self._instead is not None:
                    try:
                        found = self._instead(*args, **kwargs)
                    except Exception:
                        found = _NOTHING
                    else:
                        refuse_awaitable(found, self._instead, "`instead` of a fallback")
                        self._tell(function, error, "instead")
                if found is _NOTHING:
                    if self._default is _NOTHING:
                        raise
                    self._tell(function, error, "default")
                    found = self._default
                return cast(T, found)
            refuse_awaitable(answer, function, self.kind)
            self._keep(key, answer)
            return answer

        return covered

    def _kept(self, key: Hashable, function: Callable[..., Any], error: Exception) -> object:
        """The last good answer; `_NOTHING`, or `_REFUSED` if the error may not be covered up."""
        is_ours = isinstance(error, NOT_OF_THE_CALLEE)
        if is_ours or not (isinstance(error, BadResult) or self._covers(error)):
            return _REFUSED
        if self._good is None:
            return _NOTHING
        now_ns = self._now_ns()
        with LOCK:
            found = self._good.find(key, now_ns)
        if found is None:
            return _NOTHING
        answer, age_ns = found
        self._tell(function, error, "last good", age_ns / SECOND_NS)
        return answer

    def _keep(self, key: Hashable, answer: object) -> None:
        is_read_once = hasattr(type(answer), "__next__") or hasattr(type(answer), "__anext__")
        if self._good is not None and not is_read_once:
            now_ns = self._now_ns()
            with LOCK:
                self._good.keep(key, answer, now_ns)

    def _key_of(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Hashable:
        if self._good is None:
            return None
        key = None if self._key is None else self._key(*args, **kwargs)
        if is_awaitable(key):
            close_unawaited(key)
            raise InvalidArgument(
                f"key returned a {type(key).__name__}; it must be a plain function", name="key"
            )
        try:
            if self._key is None:
                key = with_types(args), with_types(tuple(sorted(kwargs.items())))
            hash(key)
        except Exception as error:
            whose = "its arguments" if self._key is None else "what key= returned for its arguments"
            raise InvalidArgument(
                f"the last good answer of {name_of(function)} cannot be kept by {whose}: "
                f"{type(error).__name__}, {error}; the call was not made: give key=, a function "
                "of the arguments that returns text, say",
                name="key",
            ) from error
        return key

    def _now_ns(self) -> int:
        return self._clock() if self._clock is not None else hosts.current().monotonic_ns()

    def _tell(
        self,
        function: Callable[..., Any],
        error: Exception,
        answer: str,
        age_s: float | None = None,
    ) -> None:
        event(
            "breaker.fallback",
            function=name_of(function),
            error=type(error).__name__,
            answer=answer,
            age_s=age_s,
        )


def _check_ways(
    default: object, instead: Callable[..., Any] | None, key: Callable[..., Hashable] | None
) -> None:
    if instead is not None:
        check_function("instead", instead)
        if is_generator(instead):
            raise InvalidArgument(
                f"instead is {name_of(instead)}, a generator: calling it runs nothing yet; it must "
                "be a function that returns the answer",
                name="instead",
            )
    if key is not None:
        check_function("key", key, asynchronous=False)
    if is_awaitable(default):
        close_unawaited(default)
        raise InvalidArgument(
            f"default is a {type(default).__name__}, which nobody would await; it is given as it "
            "is, so it must be the answer itself: for a call of a function there is instead=",
            name="default",
        )


def _awaitable(answer: object) -> Awaitable[object]:
    if not is_awaitable(answer):
        raise WrongKind(
            f"`instead` of a fallback returned {shown(answer)} in place of an `async def`, which "
            "cannot be awaited: make it an `async def`, too, or use default="
        )
    return cast("Awaitable[object]", answer)
