"""The smallest simulator: an event loop that moves its clock instead of waiting.

An asyncio loop asks its *selector* to wait until a socket is ready, at most until the
next timer is due. This selector does not wait. It adds that time to its clock and returns.
So a test that sleeps for a year ends at once, and it takes the same steps in each run
(but see 5).

    $ python -m sdkit.sim.smallest
           0 s  client: asks, with 2 s of patience
           2 s  client: no answer; waits for an hour
        3602 s  client: asks again
        3603 s  client: has its answer
       86400 s  server: a day is over, tidies up
    31536000 s  a year is over, in less than a second of ours
    a program that waits for nothing: every task waits, and no timer is set

What it gets wrong, and where that is answered
    1. There is no network: a connection never comes. `network` has simulated sockets
       with latency, bandwidth and faults.
    2. What leaves the simulation is not noticed: ``time.sleep`` sleeps, a thread runs, a
       file is opened. `escapes` refuses them by name.
    3. Modules that read a clock read the real one, which stands still while a simulated
       year goes by: `escapes` too.
    4. Tasks that never wait let no time pass, and run for ever: `selector` stops them and
       names them.
    5. Sets of tasks are in the order of their memory addresses, so that two runs may
       differ: `loop`. (No property sees it: they differ now and then only.)
    6. There is one machine, and it cannot die. `world` has many, which are killed, stand
       still and lose power, and `platter` a disk that forgets. (No property of a loop
       sees it; `sdkit.spec.disk` is about the disk.)

`sdkit.spec.loop` is run against this file. It fails at numbers 1 to 4 only
(``tests/sim/test_smallest.py``).
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlock(RuntimeError):
    """Every task waits, and no timer is set."""


class JumpingSelector(selectors.SelectSelector):
    """A selector that does not wait for sockets, but moves its clock to the next timer."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Let ``timeout`` seconds go by at once. No socket is ever ready."""
        if timeout is None:
            raise Deadlock("every task waits, and no timer is set")
        self.now += max(0.0, timeout)
        return []


class SmallestLoop(asyncio.SelectorEventLoop):
    """The standard library's loop, with the clock of its selector."""

    def __init__(self) -> None:
        self.clock = JumpingSelector()
        super().__init__(self.clock)
        # A timer is due at now + resolution. A year in, the usual nanosecond is lost in rounding,
        # and no timer would ever be due.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self.clock.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end in virtual time, as ``asyncio.run`` does in real time."""
    with asyncio.Runner(loop_factory=SmallestLoop) as runner:
        return runner.run(main)


def say(text: str) -> None:
    """Print ``text`` with the virtual time."""
    print(f"{asyncio.get_running_loop().time():8.0f} s  {text}")


async def client() -> None:
    """Ask a server that answers from the first hour on."""
    for patience_s, server_takes_s in ((2, 1_000), (2, 1)):
        say("client: asks, with 2 s of patience" if server_takes_s > 1 else "client: asks again")
        try:
            async with asyncio.timeout(patience_s):
                await asyncio.sleep(server_takes_s)
            say("client: has its answer")
        except TimeoutError:
            say("client: no answer; waits for an hour")
            await asyncio.sleep(3_600)


async def a_year() -> None:
    """Let a client, a server and a year go by."""
    asking = asyncio.create_task(client())
    await asyncio.sleep(86_400)
    say("server: a day is over, tidies up")
    await asking
    await asyncio.sleep(364 * 86_400)


async def wait_for_nothing() -> None:
    """Wait for a future that has no owner."""
    await asyncio.get_running_loop().create_future()


def main() -> None:
    """Show it at work."""
    began = time.monotonic()

    async def timed() -> None:
        await a_year()
        quick = (
            "in less than a second of ours"
            if time.monotonic() - began < 1
            else "in more than a second of ours"
        )
        say(f"a year is over, {quick}")

    run(timed())
    try:
        run(wait_for_nothing())
    except Deadlock as told:
        print(f"a program that waits for nothing: {told}")


if __name__ == "__main__":
    main()
