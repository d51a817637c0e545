"""Callers: whose code asks the operating system for something, and in which line.

A simulation answers a question differently to different people. The standard
library and the libraries on it read clocks by themselves, and were never
written to ask a `sdkit.host.Host`: they get an answer out of virtual time. Code
that was written for the simulator and reads a clock all the same has forgotten
its host, and will behave differently on the real machine than here: it gets an
error, with the line.

    whose                                    where its file is
    the standard library's                   in Python's own directories
    other people's                           in a ``site-packages``
    ours: sdkit's, and that of who uses it   anywhere else, and in sdkit

Things to notice
    1. Who asks is the nearest frame of the stack, except for `random`,
       `secrets` and `uuid`: they are looked through, for whoever wants a random
       number asks them, and they ask the system.
    2. The answer depends on the file's name alone and is kept: this is in the
       path of every ``time.monotonic`` of every library.
    3. C code has no frame. What it asks counts as asked by whoever called it.
"""

from __future__ import annotations

import random
import secrets
import sys
import sysconfig
import uuid
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Final

_SDKIT: Final = str(Path(__file__).parents[1]) + "/"
_SIMULATOR: Final = str(Path(__file__).parent) + "/"
_STANDARD: Final = tuple(
    str(Path(sysconfig.get_path(name))) + "/" for name in ("stdlib", "platstdlib")
)
_LOOKED_THROUGH: Final = frozenset(module.__file__ for module in (random, secrets, uuid))


def asker(depth: int) -> FrameType:
    """The frame that asks, beginning with the one ``depth`` above the caller of this."""
    frame = sys._getframe(depth + 1)
    while frame.f_code.co_filename in _LOOKED_THROUGH and frame.f_back is not None:
        frame = frame.f_back
    return frame


def asks_for_us(frame: FrameType, *, of_sdkit: bool = False) -> bool:
    """Is the frame's code ours? With ``of_sdkit``, is it the kit's own?"""
    origin = _origin(frame)
    return is_sdkit(origin) if of_sdkit else is_ours(origin)


def is_sdkit(filename: str) -> bool:
    """Is it a file of the kit itself?"""
    return filename.startswith(_SDKIT)


@cache
def is_ours(filename: str) -> bool:
    """Is a file with this name neither the standard library's nor other people's?"""
    if filename.startswith(_SDKIT):
        return True
    if filename.startswith(("<frozen ", *_STANDARD)):
        return False
    return not {"site-packages", "dist-packages"} & set(Path(filename).parts)


def place(frame: FrameType | None) -> str:
    """Where that is, as ``file:line``; in a library or in sdkit, also whose line led there."""
    while frame is not None and frame.f_code.co_filename.startswith(_SIMULATOR):
        frame = frame.f_back
    if frame is None:
        return "an unknown place"
    ours: FrameType | None = frame
    while ours is not None and not _to_name(_origin(ours)):
        ours = ours.f_back
    if ours is frame or ours is None:
        return _line(frame)
    return f"{_line(frame)}, called from {_line(ours)}"


def _to_name(filename: str) -> bool:
    return is_ours(filename) and not filename.startswith(_SDKIT)


def _origin(frame: FrameType) -> str:
    """The file that the frame's code came from; for generated code, that of its module."""
    filename = frame.f_code.co_filename
    return str(frame.f_globals.get("__file__") or filename) if filename[0] == "<" else filename


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
