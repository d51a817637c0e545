"""Feed asks Post and Profile, which is slow: with nothing around the calls, and with a pipeline.

python examples/breaker_feed.py

Feed has four workers. Post answers at once. Profile's database is overwhelmed: every answer
takes 0.4 s. Twelve users ask for their page at the same moment.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from sdkit.breaker import (
    Breaker,
    BreakerConfig,
    Bulkhead,
    ConsecutiveFailures,
    Fallback,
    Pipeline,
    Retry,
    Timeout,
)
from sdkit.rpc import Connection, Server, connect

Ask = Callable[..., Awaitable[object]]


def posts(_connection: Connection, user: int) -> list[str]:
    return [f"post of a friend of {user}"]


async def profile(_connection: Connection, user: int) -> str:
    await asyncio.sleep(0.4)
    return f"user {user}"


async def page(ask: Ask, ask_profile: Ask, workers: asyncio.Semaphore, user: int) -> str:
    async with workers:
        await ask("posts", user)
        return "complete" if await ask_profile("profile", user) else "without names"


async def twelve_pages(connection: Connection, ask_profile: Ask) -> None:
    workers, began = asyncio.Semaphore(4), time.monotonic()
    pages = (page(connection.call, ask_profile, workers, user) for user in range(12))
    kinds = Counter(await asyncio.gather(*pages))
    took = time.monotonic() - began
    speed = "at once" if took < 0.4 else f"after more than {int(took * 10) / 10} s"
    print(", ".join(f"{count} pages {kind}" for kind, count in sorted(kinds.items())), end=", ")
    print(f"the last one {speed}")


async def main() -> None:
    async with (
        Server({"posts": posts, "profile": profile}) as server,
        await connect(*server.address) as connection,
    ):
        print("with nothing: ", end="")
        await twelve_pages(connection, connection.call)

        breaker = Breaker("profile", BreakerConfig(trip=ConsecutiveFailures(3), open_s=30.0))
        around = Pipeline(
            fallback=Fallback(default=""),
            retry=Retry(attempts=2, idempotent=True),
            bulkhead=Bulkhead("profile", calls_max=4, waiting_max=0),
            breaker=breaker,
            timeout=Timeout(0.1),
        )
        print("with a pipeline: ", end="")
        await twelve_pages(connection, around(connection.call))
        seen = breaker.metrics()
        print(
            f"the breaker is {seen.state.value}; {seen.failed} calls failed, the rest were spared"
        )


asyncio.run(main())
