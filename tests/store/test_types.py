"""What is no key, value, host or config gets one typed error, the same embedded and over TCP."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from sdkit.errors import InvalidArgument
from sdkit.host import Host
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.store import StoreClient, StoreConfig, StoreEngine, StoreFull
from sdkit.store.limits import WRITE_OVERHEAD_BYTES
from sdkit.store.server import StoreServer, StoreServerConfig

COPY = "make a copy with bytes"
WRONG: list[tuple[object, str]] = [
    ("text", r"of type str; keys and values are bytes: encode it, as in 'text'.encode\(\)"),
    (bytearray(b"k"), f"of type bytearray; .*{COPY}"),
    (memoryview(b"k"), f"of type memoryview; .*{COPY}"),
    (7, "of type int; .*turn it into bytes"),
    (None, "of type NoneType; "),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=lambda it: type(it).__name__)
def test_a_key_or_value_of_another_type_is_refused_alike_embedded_and_over_tcp(
    wrong: Any, said: str
) -> None:
    async def refused(store: StoreEngine | StoreClient) -> list[str]:
        heard: list[str] = []
        transaction = store.begin()
        await transaction.put(b"k", b"v")
        for statement in (
            lambda: transaction.get(wrong),
            lambda: transaction.get_for_update(wrong),
            lambda: transaction.put(wrong, b"v"),
            lambda: transaction.put(b"k", wrong),
            lambda: transaction.delete(wrong),
            lambda: store.versions(wrong),
        ):
            with pytest.raises(InvalidArgument, match=said) as refusal:
                await statement()
            heard.append(refusal.value.message)
        with pytest.raises(InvalidArgument, match="bounds of a scan are bytes") as refusal:
            _ = [row async for row in transaction.scan(wrong)]
        heard.append(refusal.value.message)
        assert await transaction.get(b"k") == b"v", "it goes on"
        await transaction.rollback()
        return heard

    async def main() -> None:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(StoreServer(SimulatedHost("db")))
            client = await stack.enter_async_context(StoreClient(*server.address))
            assert await refused(server.engine) == await refused(client)

    run(main())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: StoreConfig(max_bytes="64MiB"), "max_bytes is '64MiB'; .* whole number of bytes"),  # type: ignore[arg-type]
        (lambda: StoreConfig(interval_s="1s"), "interval_s is '1s'; .* number of seconds"),  # type: ignore[arg-type]
        (lambda: StoreConfig(transactions_max=1.5), "transactions_max is 1.5; .* whole number"),  # type: ignore[arg-type]
        (lambda: StoreConfig(interval_s=float("nan")), "interval_s is nan"),
        (lambda: StoreConfig(max_bytes=True), "max_bytes is True"),
        (lambda: StoreServerConfig(port="7000"), "port is '7000'; .* whole number"),  # type: ignore[arg-type]
        (lambda: StoreServerConfig(host=None), "host is None"),  # type: ignore[arg-type]
        (lambda: StoreServerConfig(secret=12345678), "secret is of type int"),  # type: ignore[arg-type]
        (lambda: StoreServerConfig(idle_timeout_s="1s"), "idle_timeout_s is '1s'"),  # type: ignore[arg-type]
        (lambda: StoreServerConfig(write_buffer_bytes_max="1"), "write_buffer_bytes_max is '1'"),  # type: ignore[arg-type]
        (lambda: StoreEngine("dir"), r"host is 'dir', of type str; .*LocalHost"),  # type: ignore[arg-type]
        (lambda: StoreServer("dir"), r"host is 'dir', of type str; .*LocalHost"),  # type: ignore[arg-type]
        (lambda: StoreServer(Path("dir")), r"of type \w*Path; .*LocalHost"),  # type: ignore[arg-type]
        (lambda: StoreEngine(Host("a"), "sync"), "config is of type str; .* a StoreConfig"),  # type: ignore[arg-type]
        (lambda: StoreServer(Host("a"), StoreConfig()), "type StoreConfig; .* StoreServerConfig"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_argument_is_refused_where_it_is_given(
    make: Callable[[], object], said: str
) -> None:
    with pytest.raises(InvalidArgument, match=said):
        make()


def test_a_full_store_says_what_a_key_takes_beside_its_bytes() -> None:
    async def main() -> None:
        config = StoreConfig(max_bytes=2_000)
        async with StoreEngine(SimulatedHost("db"), config) as store:
            transaction = store.begin()
            with pytest.raises(StoreFull, match=rf"takes {WRITE_OVERHEAD_BYTES} beside its own"):
                for number in range(100):
                    await transaction.put(b"%d" % number, b"")

    run(main())
    page = (Path(__file__).parent.parent.parent / "docs" / "store.md").read_text()
    assert re.search(rf"\b{WRITE_OVERHEAD_BYTES} bytes", page)
