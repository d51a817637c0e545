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
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable
from pathlib import Path
from types import AsyncGeneratorType, CodeType, FrameType
from typing import Final

CHAIN_MAX: Final = 100  # a deeper one is cut


def report(tasks: Iterable[asyncio.Task[object]]) -> str:
    """One paragraph per task, in the order given."""
    return "\n".join(_paragraph(task) for task in tasks)


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
    lines = [f"{task.get_name()} {_awaits(task)}", *(f"    {place}" for place in chain(task))]
    return "\n".join(lines)


def _awaits(task: asyncio.Task[object]) -> str:
    waiter: object = getattr(task, "_fut_waiter", None)
    if isinstance(waiter, asyncio.Task):
        return f"waits for {waiter.get_name()}"
    return "can run" if waiter is None else "waits for a future"


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
