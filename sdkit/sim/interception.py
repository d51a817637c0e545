"""Interception: what the standard library is, for the thread that simulates.

Asyncio opens sockets by calling ``socket.socket``, and so do the libraries on
it. While a simulation runs, that name stands for simulated ones. What would
bring in a clock that is not the simulation's (a thread, a blocking sleep, a
subprocess) raises `NotSimulated` where it is called, instead of making one run
in a thousand differ.

Things to notice
    1. This is the one place where the standard library is changed. It is
       changed while at least one simulation runs, and put back whatever happens.
    2. Every replacement asks first whether *this thread* simulates; in any
       other it does what the real one does.
    3. A name that a module imported before (``from time import sleep``) cannot
       be replaced from outside.
"""

from __future__ import annotations

import functools
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sdkit.sim.network import Network
from sdkit.sim.sockets import NotSimulated, SimulatedSocket

_RealSocket: Final = socket.socket
_real_socketpair: Final = socket.socketpair
_thread: Final = threading.local()
_patching: Final = threading.Lock()
_simulations_running = 0


@contextmanager
def intercepted(network: Network) -> Iterator[None]:
    """Let sockets that this thread opens in the block belong to ``network``."""
    assert _network() is None, "a simulation inside a simulation"
    _thread.network = network
    _count(+1)
    try:
        yield
    finally:
        _thread.network = None
        _count(-1)


def _count(change: int) -> None:
    global _simulations_running  # noqa: PLW0603  several threads may each run one
    with _patching:
        _simulations_running += change
        for owner, name, real, replacement in _REPLACEMENTS:
            setattr(owner, name, replacement if _simulations_running else real)


def _network() -> Network | None:
    network: Network | None = getattr(_thread, "network", None)
    return network


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
        network = _network()
        if network is None:
            return _RealSocket(family, type, proto, fileno)
        family = socket.AF_INET if family == -1 else family
        kind = socket.SOCK_STREAM if type == -1 else type & ~_KIND_FLAGS
        if fileno is not None or family not in _FAMILIES or kind != socket.SOCK_STREAM:
            raise NotSimulated(
                f"socket(family={family}, type={type}, fileno={fileno}): "
                "a simulation has TCP over IPv4 and IPv6 only"
            )
        return SimulatedSocket(network, family, max(proto, 0))


def _socketpair(*arguments: Any) -> tuple[socket.socket, socket.socket]:
    if _network() is None:
        return _real_socketpair(*arguments)
    raise NotSimulated("socketpair: a simulation has TCP over IPv4 and IPv6 only")


_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
_KIND_FLAGS: Final = getattr(socket, "SOCK_NONBLOCK", 0) | getattr(socket, "SOCK_CLOEXEC", 0)


def _refused(real: Callable[..., Any], why: str) -> Callable[..., Any]:
    @functools.wraps(real)
    def guard(*arguments: Any, **options: Any) -> Any:
        if _network() is None:
            return real(*arguments, **options)
        raise NotSimulated(f"{real.__qualname__}{arguments[-1:]}: {why}")

    return guard


_REPLACEMENTS: Final[list[tuple[object, str, object, object]]] = [
    (socket, "socket", _RealSocket, _Interceptor),
    (socket, "socketpair", _real_socketpair, _socketpair),
    *(
        (owner, name, getattr(owner, name), _refused(getattr(owner, name), why))
        for owner, name, why in [
            (time, "sleep", "it would stop the only thread; use asyncio.sleep"),
            (threading.Thread, "start", "a simulation has one thread only"),
            (subprocess.Popen, "__init__", "a simulation is one process"),
        ]
    ),
]
