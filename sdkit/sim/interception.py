"""Interception: what the standard library is, for the thread that simulates.

Asyncio opens sockets by calling ``socket.socket``, and so do the libraries on
it. While a simulation runs, that name stands for simulated ones. What would
bring in something that is not the simulation's (a clock, a thread, a file) is
answered virtually, or raises `NotSimulated` where it is called, instead of
making one run in a thousand differ: `sdkit.sim.escapes` has the table.

Things to notice
    1. This is the one place where the standard library is changed. It is
       changed while at least one simulation runs, and put back whatever happens.
    2. Every replacement asks first whether *this thread* simulates; in any
       other it does what the real one does.
    3. A name that a module imported before (``from time import sleep``) cannot
       be replaced from outside.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sdkit.errors import InvalidState
from sdkit.sim import escapes
from sdkit.sim.escapes import Simulation, refusal
from sdkit.sim.network import Network
from sdkit.sim.sockets import SimulatedSocket

_RealSocket: Final = socket.socket
_real_socketpair: Final = socket.socketpair
_thread: Final = threading.local()
_patching: Final = threading.Lock()
_simulations_running = 0
_shared_random: object = None  # its state before the first of them


def check_alone(what: str) -> None:
    """Refuse to begin a simulation where one is, or where an event loop runs.

    Raises:
        InvalidState: naming ``what``, and the way out.
    """
    if _running() is not None:
        raise InvalidState(f"{what} cannot begin inside a simulation: one cannot hold another")
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # which is how asyncio says that there is none
        return
    raise InvalidState(
        f"{what} cannot begin in a running event loop; call it from plain code, or in a thread of "
        f"its own, as in `await asyncio.to_thread({what}, ...)`"
    )


@contextmanager
def intercepted(
    network: Network, *, seed: int | str = 0, answers_all: bool = False
) -> Iterator[None]:
    """Let what this thread asks of the system in the block be answered by the simulation.

    Args:
        network: whose the sockets are, and by whose time clocks go.
        seed: of what libraries draw.
        answers_all: give time and random numbers not to libraries only, but to all but sdkit.
    """
    assert _running() is None  # see `check_alone`
    _count(+1, seed)
    _thread.simulation = Simulation(network, seed=seed, answers_all=answers_all)
    try:
        yield
    finally:
        _thread.simulation = None
        _count(-1, seed)


def _count(change: int, seed: int | str) -> None:
    global _simulations_running, _shared_random  # noqa: PLW0603  several threads may each run one
    with _patching:
        before, _simulations_running = _simulations_running, _simulations_running + change
        if not before:
            _shared_random = escapes.seed_shared(seed)
        if not before or not _simulations_running:
            for owner, name, real, replacement in _REPLACEMENTS:
                setattr(owner, name, replacement if _simulations_running else real)
        if not _simulations_running:
            escapes.restore_shared(_shared_random)


def _running() -> Simulation | None:
    simulation: Simulation | None = getattr(_thread, "simulation", None)
    return simulation


class _AsSocket(type):
    """Makes ``isinstance(x, socket.socket)`` true of both kinds while the patch holds."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _RealSocket | SimulatedSocket)


class _Interceptor(metaclass=_AsSocket):
    """What ``socket.socket`` is during a simulation."""

    def __new__(
        cls,
        family: int = -1,
        type: int = -1,  # noqa: A002
        proto: int = -1,
        fileno: int | None = None,
    ) -> Any:
        simulation = _running()
        if simulation is None:
            return _RealSocket(family, type, proto, fileno)
        family = socket.AF_INET if family == -1 else family
        kind = socket.SOCK_STREAM if type == -1 else type & ~_KIND_FLAGS
        if fileno is not None or family not in _FAMILIES or kind != socket.SOCK_STREAM:
            call = f"socket(family={family}, type={type}, fileno={fileno})"
            raise refusal(call, _TCP_ONLY, depth=1)
        return SimulatedSocket(simulation.network, family, max(proto, 0))


def _socketpair(*arguments: Any) -> tuple[socket.socket, socket.socket]:
    if _running() is None:
        return _real_socketpair(*arguments)
    raise refusal("socketpair()", _TCP_ONLY, depth=1)


_TCP_ONLY: Final = "a simulation has TCP over IPv4 and IPv6 only"
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_KIND_FLAGS: Final = getattr(socket, "SOCK_NONBLOCK", 0) | getattr(socket, "SOCK_CLOEXEC", 0)
_REPLACEMENTS: Final[list[tuple[object, str, object, object]]] = [
    (socket, "socket", _RealSocket, _Interceptor),
    (socket, "socketpair", _real_socketpair, _socketpair),
    *escapes.replacements(_running),
]
_SIMULATED: Final = {
    id(real): replacement
    for owner, _, real, replacement in _REPLACEMENTS
    if owner in (time, random, os)
}


def simulated(value: object) -> object | None:
    """What is put in the place of a function of `time`, `random` or `os`; None if nothing is."""
    return _SIMULATED.get(id(value))
