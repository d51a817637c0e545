"""Freezing: how all code of one life stops at once, and never or later goes on.

There are three ways to stop a coroutine from outside, and two are wrong:

    cancel its task            `except` and `finally` run: a dead machine still
                               writes to its disk and answers its clients
    forget its task            when Python frees it, `finally` runs all the same,
                               and as nobody's
    never step it again        nothing happens: this is what ``kill -9`` does

So a kill freezes. Whatever the loop would run for that life is cancelled (the
handles, not the tasks), nothing new is accepted (`withhold`), and everything the
life held goes into its `Life.grave`, so that nothing of it is freed before the
run is over (`freeze`). Then, when the digest is taken and nobody looks any more,
the frozen coroutines are closed in their own contexts, where the life is dead:
disk, sockets and loop refuse them (`close_frozen`).

A pause is a freeze that ends. Handles and timers wait in `Life.parked` (`park`),
and on resuming they go back; timers that are overdue fire at once (`unpark`), as
after SIGSTOP and SIGCONT.

Things to notice
    1. This is where the simulator touches private parts of asyncio's loop:
       ``_ready``, a deque, and ``_scheduled``, a heap that the loop may replace.
       While the loop goes through ``_ready`` it counts on its length, so nothing
       is taken out: what is parked leaves a handle that does nothing.
    2. A kill may come in the middle of the dead machine's own code, before a
       step of its disk. That code goes on to its next ``await``, without any
       effect.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import logging
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakSet

from sdkit.sim.life import Life, current_life

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

H = TypeVar("H", bound=asyncio.Handle)

all_tasks: Final = asyncio.all_tasks  # the real one: programs see those of their own life only

CLOSINGS_MAX: Final = 100  # of a coroutine that answers GeneratorExit by another await


class FreezableLoop(asyncio.SelectorEventLoop):
    """The standard library's loop, with the private parts that are used here.

    Attributes:
        generators: whose async generators are, by id.
    """

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _asyncgens: WeakSet[AsyncGenerator[Any, Any]]
    generators: dict[int, Life]


def withhold(life: Life, handle: H) -> H:
    """A handle for a life that is over (it never runs) or stopped (it runs after the pause)."""
    if life.dead:
        handle.cancel()
    else:
        life.parked.append(handle)
    return handle


def bury(task: asyncio.Task[Any], life: Life) -> None:
    """Let a task of a dead life be neither seen nor freed."""
    asyncio._unregister_task(task)  # public, for loops like this one
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    life.grave.append(task)


def freeze(loop: FreezableLoop, life: Life) -> None:
    """Stop everything of a life that is dead by now, for good."""
    assert life.dead
    for handle in [*loop._ready, *loop._scheduled, *life.parked]:
        if life_of(handle) is life:
            life.grave.append((handle._callback, handle._args))
            handle.cancel()
    life.parked.clear()
    for task in tasks_of(loop, life):
        bury(task, life)
    for generator in list(loop._asyncgens):
        if loop.generators.get(id(generator)) is life:
            loop._asyncgens.discard(generator)  # which the loop would close at its end
            life.grave.append(generator)


def park(loop: FreezableLoop, life: Life) -> None:
    """Take what the loop would run for a life that is stopped by now out of its hands."""
    nothing = asyncio.Handle(_nothing, (), loop)
    nothing.cancel()
    for index, handle in enumerate(list(loop._ready)):
        if life_of(handle) is life:
            life.parked.append(handle)
            loop._ready[index] = nothing
    stay: list[asyncio.TimerHandle] = []
    for timer in sorted(loop._scheduled, key=_when):
        if life_of(timer) is life and not timer.cancelled():
            timer._scheduled = False  # type: ignore[attr-defined]  # or its cancelling would be counted in the heap
            life.parked.append(timer)
        else:
            stay.append(timer)
    loop._scheduled[:] = stay  # sorted, so it is a heap


def unpark(loop: FreezableLoop, life: Life) -> None:
    """Give everything back that was parked."""
    for handle in life.parked:
        if handle.cancelled():
            continue
        if isinstance(handle, asyncio.TimerHandle):
            handle._scheduled = True  # type: ignore[attr-defined]
            heapq.heappush(loop._scheduled, handle)
        else:
            loop._ready.append(handle)
    life.parked.clear()


def retime(loop: FreezableLoop, life: Life, before: Callable[[float], float]) -> None:
    """Move the timers of a life whose clock has changed its drift.

    Args:
        before: what the clock would have shown at a true time.
    """
    for handle in [*loop._scheduled, *life.parked]:
        if isinstance(handle, asyncio.TimerHandle) and life_of(handle) is life:
            handle._when = life.clock.true_time(before(handle.when()))  # type: ignore[attr-defined]
    heapq.heapify(loop._scheduled)


def tasks_of(loop: FreezableLoop, life: Life) -> list[asyncio.Task[Any]]:
    """The tasks of a life that have not ended, in the order in which they began."""
    found = [task for task in all_tasks(loop) if getattr(task, "life", None) is life]
    return sorted(found, key=lambda task: getattr(task, "serial", 0))


def life_of(handle: asyncio.Handle) -> Life | None:
    """The life that a callback belongs to."""
    life: Life | None = handle._context.get(current_life)  # type: ignore[attr-defined]
    return life


def life_concerned(problem: dict[str, Any]) -> Life | None:
    """The life that a call of the loop's exception handler is about."""
    if "handle" in problem:
        return life_of(problem["handle"])
    source = problem.get("task", problem.get("future"))
    life: Life | None = getattr(source, "life", None) or current_life.get()
    return life


def close_frozen(lives: Iterable[Life]) -> None:
    """Let go of everything that these dead lives held. Called when nobody looks any more."""
    for life in lives:
        context = life.context.copy()  # a copy: the main task's own is entered to close it
        context.run(_empty, life)
        context.run(gc.collect)  # finalizers run as the dead, too


def _empty(life: Life) -> None:
    kept: list[Any] = []  # until all are closed: a coroutine may hold another
    while life.grave:
        held = sorted(life.grave, key=lambda it: getattr(it, "serial", 0))
        life.grave.clear()  # closing may fill it again: `finally` starts tasks
        kept += held
        for it in held:
            if isinstance(it, asyncio.Task) and not it.done():
                it.context.run(_close, it.get_coro())  # type: ignore[attr-defined]


def _close(coroutine: Any) -> None:
    for _ in range(CLOSINGS_MAX):
        try:
            coroutine.close()
        except RuntimeError as error:
            if "ignored GeneratorExit" in str(error):
                continue
        except BaseException:
            pass
        return


@contextmanager
def silence() -> Iterator[None]:
    """No complaints about what is left unfinished: it was meant to be."""
    hook, disabled = sys.unraisablehook, logging.root.manager.disable
    sys.unraisablehook = lambda _: None
    logging.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        sys.unraisablehook = hook


def _when(timer: asyncio.TimerHandle) -> float:
    return timer.when()


def _nothing() -> None:
    pass
