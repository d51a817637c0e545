"""Waiting: who waits for what, and where in the code.

A hang has no traceback. But every suspended task holds the chain of its awaits:
a coroutine knows what it awaits (``cr_await``), and that knows the next, down
to the future that nobody has set. `report` walks these chains, so that a
deadlock reads like a traceback of everybody at once:

    task-2 waits for a future
        server.py:41 in serve
        asyncio/queues.py:158 in get

Things to notice
    1. ``Task.get_stack`` gives one frame of a suspended task. The rest is in
       the links between the coroutines (`chain`).
    2. ``async for`` over an async generator is a link of its own: the object
       awaited shows nothing of the generator it drives. The garbage collector
       knows what it refers to.
    3. Tasks of a machine that was killed are not among those that wait: they are
       frozen, and no fault of theirs is the reason.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable
from pathlib import Path
from types import AsyncGeneratorType, CodeType, FrameType
from typing import Final

from sdkit.sim.life import Life

CHAIN_MAX: Final = 100  # a deeper one is cut


def report(
    tasks: Iterable[asyncio.Task[object]],
    *,
    next_timer_s: float | None = None,
    in_flight: Iterable[tuple[str, str, int]] = (),
) -> str:
    """One paragraph per task, by machine; then what is still to come.

    Args:
        next_timer_s: when the next timer is due.
        in_flight: messages under way: connection, direction, bytes.
    """
    paragraphs = [_paragraph(task) for task in sorted(tasks, key=_machine_and_serial)]
    if next_timer_s is not None:
        paragraphs.append(f"the next timer is due at {next_timer_s:.9g} s")
    paragraphs += [
        f"{count} bytes are under way {direction} on {connection}"
        for connection, direction, count in in_flight
    ]
    return "\n".join(paragraphs)


def chain(task: asyncio.Task[object]) -> list[str]:
    """Where a suspended task stands, the outermost await first."""
    places: list[str] = []
    here: object = task.get_coro()
    while here is not None and len(places) < CHAIN_MAX:
        code, frame, awaited = _link(here)
        if code is not None and frame is not None:
            places.append(f"{_file(code)}:{frame.f_lineno} in {code.co_qualname}")
        here = awaited
    return places


def _paragraph(task: asyncio.Task[object]) -> str:
    life: Life | None = getattr(task, "life", None)
    stopped = ", stopped," if life is not None and life.paused else ""
    lines = [f"{_name(task)}{stopped} {_awaits(task)}", *(f"    {place}" for place in chain(task))]
    return "\n".join(lines)


def _awaits(task: asyncio.Task[object]) -> str:
    waiter: object = getattr(task, "_fut_waiter", None)
    if isinstance(waiter, asyncio.Task):
        return f"waits for {_name(waiter)}"
    return "can run" if waiter is None else "waits for a future"


def _name(task: asyncio.Task[object]) -> str:
    life: Life | None = getattr(task, "life", None)
    name = task.get_name()
    return name if life is None or name.startswith(str(life)) else f"{life} {name}"


def _machine_and_serial(task: asyncio.Task[object]) -> tuple[str, int, int]:
    life: Life | None = getattr(task, "life", None)
    serial: int = getattr(task, "serial", 0)
    return ("", 0, serial) if life is None else (life.machine, life.number, serial)


def _link(it: object) -> tuple[CodeType | None, FrameType | None, object]:
    """The code, frame and next link of a coroutine, generator or async generator."""
    for kind in ("cr", "gi", "ag"):
        code: CodeType | None = getattr(it, f"{kind}_code", None)
        if code is not None:
            awaited: object = getattr(it, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
            return code, getattr(it, f"{kind}_frame"), awaited
    driven = [other for other in gc.get_referents(it) if isinstance(other, AsyncGeneratorType)]
    return None, None, driven[0] if driven else None


def _file(code: CodeType) -> str:
    path = Path(code.co_filename)
    return "/".join(path.parts[-2:])
