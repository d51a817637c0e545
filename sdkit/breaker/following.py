"""Following: breakers that keep up with a shared document, and do without it.

    async with Following(source, [profiles, posts]) as following:
        ...                                       # both have the settings of the document

A call never waits for the settings. They are in the breakers themselves, in this
process; one task, beside the calls, reads the document, and again when it changes.

                           the store      breakers have
    entering               answers        its settings
    a change is pushed     answers        the new ones, at once
    the store is down      does not       the last good ones; it is asked again, less and less often
    a wrong document       answers        the last good ones, and an event says why
    down from the start    does not       those that they were made with

Things to notice
    1. Entering does not fail when the store is down. A service that cannot start without
       the store of its thresholds has got a new way of being down.
    2. A status that the operator takes back is reset, once; a breaker that he never
       forced is never touched, so a push of new thresholds closes nothing.
    3. After losing the store it reads the whole document again before it listens: what
       changed in between was pushed to nobody.
    4. Left where it was entered, its task is over. Dropped without that it says so
       (``ResourceWarning``) and ends its task, which knows it weakly only.
"""

from __future__ import annotations

import asyncio
import inspect
import warnings
import weakref
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Final, Protocol, Self

from sdkit import host as hosts
from sdkit.arguments import check_between, is_async, shown
from sdkit.breaker.backoff import SECOND_NS, Backoff
from sdkit.breaker.breaker import Breaker
from sdkit.breaker.layer import check_part
from sdkit.breaker.settings import Setting, parse
from sdkit.breaker.states import Trigger
from sdkit.errors import InvalidArgument, InvalidState
from sdkit.trace import event


class Source(Protocol):
    """Where the document is: a key of a store, a file that is watched, a server."""

    def documents(self) -> AsyncIterator[bytes]:
        """The document as it is, and again whenever it has changed. Raises if the store is lost."""
        ...


class Following:
    """Keeps breakers at the settings of a shared document while its block runs.

    Args:
        source: where it is.
        breakers: those to keep; an entry of another name is for another service.
        patience_s: entering waits so long for the first document, 0 to 3600.
        backoff: the pauses between two tries while the store is down.

    Raises:
        InvalidArgument: an argument is not what it should be; or two breakers have the same name.
    """

    def __init__(
        self,
        source: Source,
        breakers: Iterable[Breaker],
        *,
        patience_s: float = 1.0,
        backoff: Backoff | None = None,
    ) -> None:
        check_between("patience_s", patience_s, 0.0, 3600.0)
        check_part("backoff", backoff, Backoff)
        _check_source(source)
        if isinstance(breakers, Breaker) or not isinstance(breakers, Iterable):
            raise InvalidArgument(f"breakers is {shown(breakers)}; it must be a list of breakers")
        self._source, self._patience_s = source, patience_s
        self._backoff = backoff or Backoff(first_s=0.1, max_s=30.0)
        self._breakers: Final[dict[str, Breaker]] = {}
        for breaker in breakers:
            if not isinstance(breaker, Breaker):
                raise InvalidArgument(f"breakers has {shown(breaker)}; it must be a Breaker(...)")
            if breaker.name in self._breakers:
                raise InvalidArgument(
                    f"two breakers are named {breaker.name}; the document has one entry for them"
                )
            self._breakers[breaker.name] = breaker
        self._defaults: Final = {name: each.config for name, each in self._breakers.items()}
        self._applied: Final[dict[str, Setting]] = {}
        self._task: asyncio.Task[None] | None = None
        self._heard: asyncio.Event | None = None
        self.problem: str | None = "nothing was read yet"

    async def __aenter__(self) -> Self:
        """Read the document, if that can be done in ``patience_s``.

        Raises:
            InvalidState: it is entered already, by whatever task or loop.
        """
        if self._task is not None:
            raise InvalidState("these settings are followed already; enter once")
        self._heard = asyncio.Event()
        # The task knows us weakly only: it must not be what keeps us from being dropped.
        following = _follow(weakref.ref(self), self._source, self._backoff)
        self._task = asyncio.create_task(following, name="breaker settings")
        try:
            async with asyncio.timeout(self._patience_s):
                await self._heard.wait()
        except TimeoutError:
            pass
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop()

    def __del__(self) -> None:
        task: asyncio.Task[None] | None = getattr(self, "_task", None)
        if task is None or task.done():
            return
        warnings.warn(
            "settings of breakers were followed and dropped; leave the block of `Following`",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )
        if not task.get_loop().is_closed():
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def _stop(self) -> None:
        task = self._task
        if task is None:
            raise InvalidState("these settings are not followed; enter first")
        if task.get_loop() is not asyncio.get_running_loop():
            raise InvalidState(
                "these settings are followed in another event loop; leave the block where it was "
                "entered"
            )
        self._task = None
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()  # what a listener has raised, say

    def _apply(self, document: bytes) -> None:
        """Set the breakers as ``document`` says, as far as it is right."""
        assert self._heard is not None
        self._heard.set()
        try:
            settings = parse(document, self._defaults)
        except InvalidArgument as error:
            self._keep(str(error), None)
            return
        wrong = {name: why for name, why in settings.bad.items() if name in self._breakers}
        self.problem = "; ".join(f"{name}: {why}" for name, why in wrong.items()) or None
        for name, breaker in self._breakers.items():
            if name in wrong:
                event("breaker.settings_kept", reason=f"{name}: {wrong[name]}", again_s=None)
            else:
                self._set(breaker, settings.good.get(name))

    def _set(self, breaker: Breaker, setting: Setting | None) -> None:
        """What the document says; where it says nothing, what the breaker was made with."""
        setting = setting or Setting(config=self._defaults[breaker.name])
        before = self._applied.get(breaker.name, Setting(config=self._defaults[breaker.name]))
        if setting == before:
            return
        self._applied[breaker.name] = setting
        breaker.configure(setting.config)
        match setting.force:
            case before.force:
                pass  # as it was: what calls and time made of it stays
            case Trigger.FORCE_OPEN:
                breaker.force_open()
            case Trigger.FORCE_CLOSED:
                breaker.force_closed()
            case Trigger.MEASURE_ONLY:
                breaker.measure_only()
            case _:
                breaker.reset()
        forced = None if setting.force is None else str(setting.force)
        event("breaker.settings", breaker=breaker.name, forced=forced)

    def _keep(self, reason: str, again_s: float | None) -> None:
        """Say why the last good settings hold."""
        self.problem = reason
        event("breaker.settings_kept", reason=reason, again_s=again_s)


async def _follow(following: weakref.ref[Following], source: Source, backoff: Backoff) -> None:
    failures = 0
    while True:
        try:
            async for document in source.documents():
                failures = 0
                here = following()
                if here is None:
                    return
                here._apply(document)
                del here  # not kept while it waits for the next one
                await asyncio.sleep(0)  # a source that always has one must not take the loop
            reason = "the store has ended the stream of documents"
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        failures += 1
        wait_ns = backoff.wait_ns(failures, hosts.current().random)
        here = following()
        if here is None:
            return
        here._keep(f"the store of the settings is lost: {reason}", wait_ns / SECOND_NS)
        del here
        await asyncio.sleep(wait_ns / SECOND_NS)


def _check_source(source: Source) -> None:
    documents: object = getattr(source, "documents", None)
    if documents is None:
        raise InvalidArgument(
            f"source is {shown(source)}; it must be an object with a method `documents`, an async "
            "generator that yields the document, and again when it changes",
            name="source",
        )
    if not callable(documents) or is_async(documents) or inspect.isgeneratorfunction(documents):
        raise InvalidArgument(
            f"source.documents is {shown(documents)}; it must be an async generator: an "
            "`async def` that yields the document, and again when it changes",
            name="source",
        )
