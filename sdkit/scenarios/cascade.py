"""Cascade: one slow service, and what it does to those that never heard of it.

A page of a social network is put together by Feed, out of what Recommendation and
Trending suggest. Both ask Post for the posts and Profile for their authors:

    users ──> feed ──> recommendation ──> post
                  └──> trending ──────┴─> profile      (its database gets slow)

Each is a server of its own, on a simulated machine, with so many workers. A worker
that waits for an answer can do nothing else; that is how slowness travels upwards. For
seven seconds Profile takes a second for what used to take 10 ms, and then is well
again. The same users ask the same pages four times, while the services call each other

    with nothing            a call waits as long as it takes
    with time-outs          a call fails after 0.3 s, and so does the page
    with retries            the same, and each call is made up to three times; no budget
    with the whole          fallback, retry with a budget, bulkhead, breaker, time-out:
      pipeline              `sdkit.breaker.Pipeline`

What to look for
    1. With nothing, Feed does not fail because it needs authors' names, but because all
       its workers wait for somebody who waits for somebody who waits.
    2. Time-outs bound each wait, and the page is still lost. And Profile goes on working
       for callers that have left: its line is as long as the outage was.
    3. Retries are three times the load on each of two floors. Profile is well again after
       these seconds, and nobody notices: it is kept down by those who ask again. What
       keeps itself alive when its cause is gone is a *metastable* failure (Bronson et
       al., HotOS 2021).
    4. With the pipeline the pages come, without authors' names, and Profile gets the
       quiet in which its line empties.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

from sdkit import host as hosts
from sdkit.breaker import (
    Backoff,
    Breaker,
    BreakerConfig,
    Bulkhead,
    FailureRate,
    Fallback,
    Layer,
    Pipeline,
    Retry,
    RetryBudget,
    Timeout,
)
from sdkit.errors import SdkitError
from sdkit.rpc import Connection, Server, ServerConfig, connect
from sdkit.sim.world import World, simulate

PORT: Final = 7000
SECONDS: Final = 25
SLOW_FROM: Final = 5
SLOW_UNTIL: Final = 12
PAGES_PER_SECOND: Final = 15
GOOD_S: Final = 1.0  # a page that takes longer is no use to anybody
WORK_S: Final = 0.01
SLOW_WORK_S: Final = 1.0
WORKERS: Final = {"feed": 30, "recommendation": 15, "trending": 15, "post": 4, "profile": 1}
TIMEOUT_S: Final = {"profile": 0.3, "post": 0.3, "recommendation": 0.9, "trending": 0.9}
ATTEMPTS: Final = 3
LATENCY_S: Final = (0.0005, 0.0015)
SECRET: Final = "known to each other"
CONFIG: Final = ServerConfig(host="0.0.0.0", port=PORT, secret=SECRET, calls_in_flight_max=10_000)

Ask = Callable[[], Awaitable[Any]]
Around = Callable[[str], Layer | None]  # what goes around the calls to a service


# ── ways to call a service ───────────────────────────────────────────────────


def nothing(_service: str) -> Layer | None:
    """As long as it takes."""
    return None


def time_outs(service: str) -> Layer | None:
    """Not longer than this."""
    return Timeout(TIMEOUT_S[service])


def retries(service: str) -> Layer | None:
    """Again and again, with pauses, and whatever it costs."""
    unlimited = RetryBudget(percent=1000, saved_max=1_000_000)
    return Pipeline(
        retry=Retry(
            attempts=ATTEMPTS,
            backoff=Backoff(first_s=0.05, max_s=0.2),
            budget=unlimited,
            idempotent=True,
        ),
        timeout=Timeout(TIMEOUT_S[service]),
    )


def whole_pipeline(service: str) -> Layer | None:
    """All of it. What is left out of a page is left empty."""
    return Pipeline(
        fallback=Fallback(default=[]),
        retry=Retry(attempts=ATTEMPTS, backoff=Backoff(first_s=0.05, max_s=0.2), idempotent=True),
        bulkhead=Bulkhead(service, calls_max=10, waiting_max=5, wait_max_s=0.1),
        breaker=Breaker(
            service,
            BreakerConfig(
                trip=FailureRate(50, window_calls=20, calls_min=10), open_s=2.0, open_max_s=4.0
            ),
        ),
        timeout=Timeout(TIMEOUT_S[service]),
    )


WAYS: Final[dict[str, Around]] = {
    "nothing": nothing,
    "time-outs": time_outs,
    "retries": retries,
    "pipeline": whole_pipeline,
}


# ── services ─────────────────────────────────────────────────────────────────


@dataclass
class Account:
    """What became of each page, and what Profile had to do."""

    pages: list[tuple[float, float, str]] = field(default_factory=list)  # asked, took, outcome
    profile_calls: Counter[int] = field(default_factory=Counter)  # by second

    def add(self, asked_s: float, took_s: float, page: list[bool] | None) -> None:
        """A page came, or (None) did not."""
        if page is None:
            outcome = "failed"
        elif took_s > GOOD_S:
            outcome = "late"
        else:
            outcome = "complete" if page[0] and page[1] else "degraded"
        self.pages.append((asked_s, took_s, outcome))


class Desk:
    """A service that works by itself: jobs in a line, and workers who do one after the other.

    Whoever leaves the line leaves their job in it, as with any server that does not
    look whether its client is still there before it begins.
    """

    def __init__(self, workers: int, work_s: Callable[[], float]) -> None:
        self._work_s = work_s
        self._line: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()
        self._workers = [asyncio.create_task(self._work()) for _ in range(workers)]

    async def answer(self, _connection: Connection) -> str:
        job = asyncio.get_running_loop().create_future()
        self._line.put_nowait(job)
        await job
        return "an answer"

    async def _work(self) -> None:
        while True:
            job = await self._line.get()
            await asyncio.sleep(self._work_s())
            if not job.done():
                job.set_result(None)


class Composer:
    """A service that asks others, and holds a worker while it waits for them."""

    def __init__(self, workers: int, asks: Sequence[Ask], put_together: Callable[..., Any]) -> None:
        self._workers = asyncio.Semaphore(workers)
        self._asks, self._put_together = asks, put_together

    async def answer(self, _connection: Connection) -> Any:
        async with self._workers:
            await asyncio.sleep(WORK_S)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_outcome(ask())) for ask in self._asks]
        answers = [task.result() for task in tasks]
        for answer in answers:
            if isinstance(answer, SdkitError):
                raise answer
        return self._put_together(*answers)


async def _outcome(asked: Awaitable[Any]) -> Any:
    """The answer, or the error: one call that fails does not cancel the one beside it."""
    try:
        return await asked
    except SdkitError as error:
        return error


def suggestions(posts: Any, profiles: Any) -> list[bool]:
    """Posts, with authors' names or without; without posts there is nothing to suggest."""
    return [bool(posts), bool(posts) and bool(profiles)]


def page(recommended: Any, trending: Any) -> list[bool]:
    """Is it a page, and is it complete."""
    parts = [part for part in (recommended, trending) if part and part[0]]
    return [bool(parts), len(parts) == 2 and all(part[1] for part in parts)]


# ── a run ────────────────────────────────────────────────────────────────────


def profile_work_s() -> float:
    """What Profile's database takes for an answer, at this moment."""
    now_s = asyncio.get_running_loop().time()
    return SLOW_WORK_S if SLOW_FROM <= now_s < SLOW_UNTIL else WORK_S


async def serve_desk(name: str, work_s: Callable[[], float], account: Account) -> None:
    """Post or Profile."""
    desk = Desk(WORKERS[name], work_s)

    async def answer(connection: Connection) -> str:
        if name == "profile":
            account.profile_calls[int(asyncio.get_running_loop().time())] += 1
        return await desk.answer(connection)

    async with Server({"answer": answer}, CONFIG):
        await asyncio.Event().wait()


async def serve_composer(
    name: str, callees: Sequence[str], around: Around, put_together: Callable[..., Any]
) -> None:
    """Recommendation, Trending or Feed."""
    await asyncio.sleep(0.1 if name != "feed" else 0.2)  # those below listen by now
    asks = []
    for callee in callees:
        connection = await connect(callee, PORT, secret=SECRET)
        layer = around(callee)
        ask: Ask = partial(connection.call, "answer")
        asks.append(ask if layer is None else layer(ask))
    composer = Composer(WORKERS[name], asks, put_together)
    async with Server({"answer": composer.answer}, CONFIG):
        await asyncio.Event().wait()


async def be_users(account: Account) -> None:
    """Ask for pages, whether or not the last ones came."""
    await asyncio.sleep(0.3)
    loop, random = asyncio.get_running_loop(), hosts.current().random
    connection = await connect("feed", PORT, secret=SECRET)

    async def ask() -> None:
        asked_s = loop.time()
        try:
            answer = await connection.call("answer")
        except SdkitError:
            account.add(asked_s, loop.time() - asked_s, None)
        except asyncio.CancelledError:  # the end of the run
            account.add(asked_s, loop.time() - asked_s, None)
            raise
        else:
            account.add(asked_s, loop.time() - asked_s, cast("list[bool]", answer))

    async with asyncio.TaskGroup() as group:
        tasks = []
        while loop.time() < SECONDS:
            tasks.append(group.create_task(ask()))
            await asyncio.sleep(random.expovariate(PAGES_PER_SECOND))
        await asyncio.sleep(GOOD_S)
        for task in tasks:
            task.cancel()
    await connection.close()


def run_way(way: str, seed: int) -> Account:
    """The same users and the same outage, with the calls made in one of the `WAYS`."""
    account, around = Account(), WAYS[way]

    async def play(world: World) -> None:
        machines = {name: world.machine(name) for name in (*WORKERS, "users")}
        machines["post"].boot(partial(serve_desk, "post", lambda: WORK_S, account))
        machines["profile"].boot(partial(serve_desk, "profile", profile_work_s, account))
        for name in ("recommendation", "trending"):
            callees = ("post", "profile")
            machines[name].boot(partial(serve_composer, name, callees, around, suggestions))
        callees = ("recommendation", "trending")
        machines["feed"].boot(partial(serve_composer, "feed", callees, around, page))
        machines["users"].boot(partial(be_users, account))
        await machines["users"].ended

    # The same streams of randomness for each way: the same pages at the same moments.
    simulate(play, seed=seed, latency_s=LATENCY_S)
    return account
