"""RPC: calls and streams over links that are cut, slowed and reset, to a server that is killed.

Clients ask, with deadlines; some give up half-way; some read streams, slowly. A
stranger announces frames far too long. An account is kept of every call: how
often its handler ran, what the caller was told, and how long the caller waited.

    a caller is told     and the handler
    ok                   ran once, for this call
    it did not happen    did not run
    nobody knows         ran once, or not at all

A lost connection may make a caller wait for its deadline, never longer; and in
the end, when everybody has left, the server runs nothing and holds nothing.
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from typing import Any, Final, cast

from sdkit import host as hosts
from sdkit.errors import Indeterminate, SdkitError, Unavailable
from sdkit.rpc import Connection, Handler, Limits, Server, ServerConfig, connect
from sdkit.sim.faults import Menu
from sdkit.sim.life import living_only
from sdkit.sim.scenario import Broken, Findings, Scenario, Stage
from sdkit.without import SAFEGUARDS, Parts, assemble

PORT: Final = 7000
SECRET: Final = "known to friends"
SECONDS: Final = 3.0
CLIENTS: Final = ("client-1", "client-2")
AT_ONCE: Final = 3  # callers on one connection
TIMEOUT_S: Final = 0.5
TOO_LONG_S: Final = 3 * TIMEOUT_S  # of a handler: its deadline ends it before
STEP_S: Final = 0.1
PATIENCE_S: Final = 30.0  # virtual, when the faults are over
MARGIN_S: Final = 0.06  # deadlines are looked at every 50 ms
READING_S: Final = 0.02  # the longest that a reader takes for an item
CONNECT_S: Final = 1.0
ITEM: Final = b"x" * 1000
WINDOW_BYTES: Final = 4096
AHEAD_MAX: Final = (
    WINDOW_BYTES // len(ITEM) + 2
)  # one that is being made, one that crosses the line
QUIET_S: Final = 3.0  # after the last client: a half-open connection is found idle by then
STRANGER_S: Final = 0.4  # less than a hello may take
GIBBERISH: Final = bytes(64 * 1024)
TAKEN_MAX: Final = 1024 * 1024  # what the buffers of a connection hold, and more
CONFIG: Final = ServerConfig(
    host="0.0.0.0",
    port=PORT,
    secret=SECRET,
    handshake_timeout_s=0.5,
    stall_timeout_s=1.0,
    keepalive_s=0.2,
    idle_timeout_s=1.0,
    grace_s=0.5,
)
LIMITS: Final = Limits(
    stream_window_bytes=WINDOW_BYTES, handshake_timeout_s=0.5, stall_timeout_s=1.0, keepalive_s=0.2
)


class Account:
    """What was asked, what ran, and what the callers were told."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.ran: Final[Counter[str]] = Counter()
        self.told: Final[Counter[str]] = Counter()
        self.running = 0
        self.produced: Final[Counter[str]] = Counter()
        self.consumed: Final[Counter[str]] = Counter()
        self.ahead = 0  # the most that a stream was ahead of its reader
        self.broken: Final[list[Broken]] = []

    def run(self, call: str) -> None:
        """The handler of ``call`` runs."""
        self.ran[call] += 1
        if self.ran[call] > 1:
            self.blame("never twice", f"{call} ran {self.ran[call]} times")

    def change_running(self, by: int) -> None:
        """A handler that waits has begun (+1) or ended (-1)."""
        self.running += by

    def produce(self, stream: str) -> None:
        """The server has made an item of a stream."""
        self.produced[stream] += 1
        self.ahead = max(self.ahead, self.produced[stream] - self.consumed[stream])

    def tell(self, call: str, outcome: str) -> None:
        """A caller was told ``outcome``: ok, indeterminate, unavailable or rejected."""
        self.told[outcome] += 1
        if outcome == "ok" and self.ran[call] != 1:
            self.blame("ok means yes", f"{call} was answered, and ran {self.ran[call]} times")
        if outcome in ("unavailable", "rejected") and self.ran[call]:
            self.blame("no means no", f"{call} did not happen, and ran")

    def blame(self, promise: str, detail: str) -> None:
        """Note a broken promise, and when it was seen to be."""
        self.broken.append(Broken(promise, detail, self._now()))


class Desk(Server):
    """The server: a quick method, a slow one, and a stream."""

    def __init__(self, account: Account) -> None:
        handlers: dict[str, Handler] = {
            "quick": self._quick,
            "slow": self._slow,
            "count": self._count,
        }
        super().__init__(handlers, CONFIG)
        # The account outlives this process: the dead may not write into it.
        self._run = living_only(account.run)
        self._change_running = living_only(account.change_running)
        self._produce = living_only(account.produce)
        self._blame = living_only(account.blame)

    def _quick(self, _connection: Connection, call: str) -> str:
        self._run(call)
        return call

    async def _slow(self, _connection: Connection, call: str, seconds: float) -> str:
        self._run(call)
        self._change_running(+1)
        try:
            await self._work(call, seconds)
        finally:
            self._change_running(-1)
        return call

    async def _work(self, call: str, seconds: float) -> None:
        """Take so long, step by step; a server that stood still makes one late step, not three."""
        loop, late = asyncio.get_running_loop(), 0
        began = loop.time()
        while (left_s := began + seconds - loop.time()) > 0.0:
            await asyncio.sleep(min(left_s, STEP_S))
            late += loop.time() - began > TIMEOUT_S + STEP_S
            if late == 3:
                self._blame("no work for nobody", f"{call} goes on long after its deadline")

    async def _count(
        self, _connection: Connection, stream: str, length: int
    ) -> AsyncIterator[object]:
        for number in range(length):
            self._produce(stream)
            yield [number, ITEM]


class Client:
    """A machine that asks: several callers on one connection, made again when it is lost."""

    def __init__(self, account: Account, parts: Parts, go_on: Callable[[], bool]) -> None:
        host = hosts.current()
        self._name, self._random = host.name, host.random
        self._account, self._parts, self._go_on = account, parts, go_on
        self._connection: Connection | None = None
        self._connecting: Final = asyncio.Lock()
        self._serial = 0

    async def run(self) -> None:
        """Ask until told otherwise."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._ask_on())
        if self._connection is not None:
            await self._connection.close()

    async def _ask_on(self) -> None:
        while self._go_on():
            connection = await self._connected()
            if connection is None:
                await asyncio.sleep(0.05)
                continue
            self._serial += 1
            call = f"{self._name}-{self._serial}"
            match self._random.randrange(4):
                case 0:
                    await self._read(connection, call)
                case 1:
                    await self._give_up(connection, call)
                case 2:
                    seconds = self._random.uniform(0.0, 1.5 * TIMEOUT_S)
                    await self._call(connection, call, "slow", call, seconds)
                case _:
                    await self._call(connection, call, "quick", call)
            await asyncio.sleep(self._random.uniform(0.0, 0.1))

    async def _connected(self) -> Connection | None:
        async with self._connecting:
            if self._connection is not None and self._connection.is_open:
                return self._connection
            if self._connection is not None:
                await self._connection.close()
                self._connection = None
            with suppress(SdkitError):
                self._connection = await connect(
                    "desk",
                    PORT,
                    secret=SECRET,
                    limits=LIMITS,
                    timeout_s=CONNECT_S,
                    connection_type=self._parts.connection,
                )
            return self._connection

    async def _call(self, connection: Connection, call: str, method: str, *args: object) -> None:
        with self._deadline_kept(call):
            try:
                answer = await connection.call(method, *args, timeout_s=TIMEOUT_S)
            except SdkitError as error:
                self._account.tell(call, kind_of(error))
                return
        if answer != call:
            self._account.blame("its own answer", f"{call} was answered with {answer!r}")
        self._account.tell(call, "ok")

    async def _give_up(self, connection: Connection, call: str) -> None:
        """Cancel a call half-way: what became of it is not known."""
        patience_s = self._random.uniform(0.0, TIMEOUT_S)
        with suppress(SdkitError, TimeoutError):
            async with asyncio.timeout(patience_s):
                await connection.call("slow", call, TOO_LONG_S, timeout_s=TIMEOUT_S)

    async def _read(self, connection: Connection, call: str) -> None:
        """Read a stream, slowly; what comes is in order, and complete if it says so."""
        length, seen = self._random.randint(1, 30), 0
        # What has arrived by the deadline is still read, item by item.
        with self._deadline_kept(call, MARGIN_S + AHEAD_MAX * READING_S):
            try:
                stream = connection.stream("count", call, length, timeout_s=TIMEOUT_S)
                async with aclosing(stream):
                    async for item in stream:
                        number = cast("list[int]", item)[0]
                        if number != seen:
                            self._account.blame("in order", f"item {number} of {call} after {seen}")
                        seen += 1
                        self._account.consumed[call] += 1
                        await asyncio.sleep(self._random.uniform(0.0, READING_S))
            except SdkitError as error:
                self._account.told[f"stream {kind_of(error)}"] += 1
                return
        self._account.told["stream ok"] += 1
        if seen != length:
            self._account.blame("in order", f"{call} ended after {seen} of {length} items")

    @contextmanager
    def _deadline_kept(self, call: str, slack_s: float = MARGIN_S) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        yield
        took = loop.time() - began
        if took > TIMEOUT_S + slack_s:
            self._account.blame("every call ends", f"{call} took {took:.3f} s of {TIMEOUT_S}")


def kind_of(error: SdkitError) -> str:
    """Whether it happened, in a word."""
    for kind in (Indeterminate, Unavailable):
        if isinstance(error, kind):
            return kind.__name__.lower()
    return "rejected"


async def _be_strange(account: Account, go_on: Callable[[], bool]) -> None:
    """Announce a gigabyte, and say as much of it as one is listened to."""
    random, loop = hosts.current().random, asyncio.get_running_loop()
    while go_on():
        await asyncio.sleep(random.uniform(0.0, 0.5))
        try:
            async with asyncio.timeout(CONNECT_S):
                _, writer = await asyncio.open_connection("desk", PORT)
        except OSError:
            continue
        taken, until = 0, loop.time() + STRANGER_S
        try:
            writer.write(struct.pack(">I", 1 << 30))
            async with asyncio.timeout(STRANGER_S):
                while loop.time() < until:
                    writer.write(GIBBERISH)
                    await writer.drain()
                    taken += len(GIBBERISH)
        except OSError:
            pass  # cut off, as it should be; a time-out is one, too
        finally:
            writer.transport.abort()
        if taken > TAKEN_MAX:
            account.blame("strangers leave", f"{taken:,} bytes of a frame too long were taken")


async def play(stage: Stage) -> Findings:
    """Two clients, a stranger and a server; in the end the server has nothing left to do."""
    parts = assemble(stage.without)
    world, account = stage.world, Account(stage.world.time)
    closing = asyncio.Event()

    def go_on() -> bool:
        return world.time() < stage.seconds

    async def serve() -> None:
        desk_type = type("Desk", (Desk,), {"connection_type": parts.connection})
        async with desk_type(account) as desk:
            await closing.wait()
            # Everybody has left, and has told the server so, or will be found to be idle.
            await asyncio.sleep(QUIET_S)
            left = len(desk.connections)
            if left or account.running:
                living_only(account.blame)(
                    "nothing is left", f"{left} connections, {account.running} handlers"
                )

    async def ask() -> None:
        await Client(account, parts, go_on).run()

    desk = world.machine("desk")
    people = [world.machine(name) for name in (*CLIENTS, "stranger")]
    desk.boot(partial(_forgetting, account, serve))
    for machine in people[:-1]:
        machine.boot(ask)
    people[-1].boot(partial(_be_strange, account, go_on))
    await stage.calm()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(machine.ended for machine in people))
    except TimeoutError:
        late = ", ".join(machine.name for machine in people if machine.is_up)
        account.blame("every call ends", f"{late} still waiting, {PATIENCE_S:g} s after the faults")
    else:
        closing.set()
        await desk.ended
    if account.ahead > AHEAD_MAX:
        what = f"{account.ahead} items of {len(ITEM)} bytes ahead of the reader"
        account.blame("streams wait", f"{what}; the window has {WINDOW_BYTES} bytes")
    told = account.told
    return Findings(
        account.broken[:5],
        {
            "calls answered": told["ok"],
            "calls that did not happen": told["unavailable"] + told["rejected"],
            "calls of which nobody knows": told["indeterminate"],
            "streams read to their end": told["stream ok"],
            "streams broken off": sum(told[name] for name in told if name.startswith("stream "))
            - told["stream ok"],
        },
    )


async def _forgetting(account: Account, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """A new process runs nothing of what the old one ran."""
    account.running = 0
    await serve()


RPC: Final = Scenario(
    name="rpc",
    summary="calls and streams over links that break, to a server that is killed",
    checks={
        "every call ends": "by its deadline, whatever happens",
        "its own answer": "a call is answered with its own answer",
        "never twice": "no call runs twice",
        "ok means yes": "a call that was answered has run",
        "no means no": "a call of which that is said has not run",
        "no work for nobody": "a handler ends when its caller's time is over, or the caller leaves",
        "in order": "a stream's items come in order, and all of them if it ends well",
        "streams wait": "a stream is never further ahead of its reader than its window",
        "strangers leave": "who announces too much is not listened to",
        "nothing is left": "when all have left, no handler runs and no connection is open",
    },
    safeguards={
        name: safeguard.otherwise
        for name, safeguard in SAFEGUARDS.items()
        if name.startswith("rpc.")
    },
    menus=(
        Menu("kill", ["desk"], (0, 2), for_s=(0.0, 0.5)),
        Menu("power cut", ["desk"], (0, 1), for_s=(0.0, 0.5)),
        Menu("pause", ["desk"], (0, 1), for_s=(0.01, 1.5)),
        Menu("slow cpu", ["desk"], (0, 1), for_s=(0.1, 1.0), amount=(0.1, 0.9)),
        Menu("cut", [f"{who}<->desk" for who in CLIENTS], (0, 1), for_s=(0.05, 3.0)),
        Menu("cut", [f"{who}->desk" for who in CLIENTS], (0, 1), for_s=(0.05, 3.0)),
        Menu("cut", [f"desk->{who}" for who in CLIENTS], (0, 1), for_s=(0.05, 3.0)),
        Menu("slow link", [f"desk->{who}" for who in CLIENTS], (0, 1), (0.1, 1.0), (0.01, 0.3)),
        Menu("lossy link", [f"{who}<->desk" for who in CLIENTS], (0, 1), (0.1, 1.0), (0.01, 0.5)),
        Menu("reset", [f"{who}<->desk" for who in CLIENTS], (0, 2)),
        Menu("refuse", ["desk"], (0, 1), for_s=(0.05, 0.5)),
        Menu("no name", ["desk"], (0, 1), for_s=(0.05, 0.5)),
    ),
    seconds=SECONDS,
    latency_s=(0.001, 0.01),
    play=play,
)
