"""Fallback: something instead, when the real thing is not to be had.

A page without pictures is a page; an error is not. Where an answer may be left out,
say so, once, around the call:

    Fallback(default=[])                       an empty list
    Fallback(instead=read_replica)             another call, with the same arguments
    Fallback(last_good=True)                   what it said last, for these arguments

If several are given they are tried from the best to the plainest: the last good
answer, the other call, the default. If there is none, or the other call fails too,
the caller gets the first error: it says why.

Two things to notice
    1. Not every error may be covered up. A `Rejected` is an answer, so unless ``on``
       says otherwise it goes through: a wrong password is not "no password needed".
    2. A fallback that nobody sees is an outage that nobody sees. Each one is an event,
       ``breaker.fallback``; count them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from threading import Lock
from typing import Any, Final, ParamSpec, TypeVar, cast

from sdkit import host as hosts
from sdkit.arguments import check_between
from sdkit.breaker.judging import Errors, judge
from sdkit.breaker.lastgood import LastGood, with_types
from sdkit.breaker.layer import Layer, name_of, refuse_coroutine
from sdkit.breaker.policies import SECOND_NS
from sdkit.errors import InvalidArgument
from sdkit.trace import event

P = ParamSpec("P")
T = TypeVar("T")

_NOTHING: Final = object()


class Fallback(Layer):
    """Answers in place of a call that failed.

    Args:
        default: the answer. The same object each time.
        instead: called with the same arguments; for an ``async def`` it has to be one, too.
        last_good: keep good answers, and give the one for these arguments again.
        key: which arguments are "these"; the arguments themselves and their types unless given,
            which then have to be hashable. (Python calls 1, 1.0 and True equal; a callee need not.)
        entries_max, age_max_s: how many good answers are kept, and for how long; None: for ever.
        on: which errors are covered up: types, or a function of the error. Unless given,
            all but `sdkit.errors.Rejected`.
        clock: nanoseconds that never go back; the current host's unless given.

    Raises:
        InvalidArgument: none of the three is given; or a value is out of range.
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
        if instead is not None and not callable(instead):
            raise InvalidArgument(f"instead is {instead!r}; it must be a function")
        if age_max_s is not None:
            check_between("age_max_s", age_max_s, 0.0, 1e9)
        self._default, self._instead, self._key, self._clock = default, instead, key, clock
        self._covers: Final = judge("on", on)
        age_max_ns = None if age_max_s is None else round(age_max_s * SECOND_NS)
        self._good = LastGood(entries_max, age_max_ns) if last_good else None
        self._lock: Final = Lock()

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
            try:
                answer = await function(*args, **kwargs)
            except Exception as error:
                if not self._covers(error):
                    raise
                found = self._kept(function, error, args, kwargs)
                if found is _NOTHING and self._instead is not None:
                    try:
                        found = await self._instead(*args, **kwargs)
                        self._tell(function, error, "instead")
                    except Exception:  # the first error says more
                        found = _NOTHING
                return cast(T, self._or_default(found, function, error))
            self._keep(answer, args, kwargs)
            return answer

        return covered

    def around_sync(self, function: Callable[P, T]) -> Callable[P, T]:
        """The same for a plain function."""

        def covered(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                answer = function(*args, **kwargs)
            except Exception as error:
                if not self._covers(error):
                    raise
                found = self._kept(function, error, args, kwargs)
                if found is _NOTHING and self._instead is not None:
                    try:
                        found = self._instead(*args, **kwargs)
                        self._tell(function, error, "instead")
                    except Exception:
                        found = _NOTHING
                return cast(T, self._or_default(found, function, error))
            if asyncio.iscoroutine(answer):
                refuse_coroutine(answer, function, self.kind)
            self._keep(answer, args, kwargs)
            return answer

        return covered

    def _kept(
        self,
        function: Callable[..., Any],
        error: Exception,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> object:
        if self._good is None:
            return _NOTHING
        # Functions of others are called outside the lock: they may use this fallback themselves.
        key, now_ns = self._key_of(args, kwargs), self._now_ns()
        with self._lock:
            found = self._good.find(key, now_ns)
        if found is None:
            return _NOTHING
        answer, age_ns = found
        self._tell(function, error, "last good", age_ns / SECOND_NS)
        return answer

    def _or_default(self, found: object, function: Callable[..., Any], error: Exception) -> object:
        if found is not _NOTHING:
            return found
        if self._default is _NOTHING:
            raise error
        self._tell(function, error, "default")
        return self._default

    def _keep(self, answer: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._good is not None:
            key, now_ns = self._key_of(args, kwargs), self._now_ns()
            with self._lock:
                self._good.keep(key, answer, now_ns)

    def _key_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
        if self._key is not None:
            return self._key(*args, **kwargs)
        return with_types(args), with_types(tuple(sorted(kwargs.items())))

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
