"""Machines and the lines between them: who sees what, and when, through stock streams."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any, TypeVar

import pytest
import trustme

from sdkit.errors import InvalidArgument
from sdkit.sim.links import Latency, Tail, drawn
from sdkit.sim.machine import Machine
from sdkit.sim.world import Run, World, simulate

T = TypeVar("T")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

LATENCY_S = 0.01
PORT = 7000
OPENED: list[asyncio.StreamWriter] = []  # by the clients of this run, and not yet closed


def now() -> float:
    return asyncio.get_running_loop().time()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def serving(handler: Handler, host: str = "0.0.0.0") -> Callable[[], Coroutine[Any, Any, None]]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except OSError:
            pass
        finally:
            writer.close()

    async def main() -> None:
        async with await asyncio.start_server(handle, host, PORT) as server:
            await server.serve_forever()

    return main


async def open_to(name: str = "db") -> Streams:
    streams = await asyncio.open_connection(name, PORT)
    OPENED.append(streams[1])
    return streams


async def ask(streams: Streams, text: bytes) -> bytes:
    streams[1].write(text)
    return await streams[0].readexactly(len(text))


Client = Callable[[], Coroutine[Any, Any, T]]
Direct = Callable[[World, Machine], Coroutine[Any, Any, None]]


def meet(
    client: Client[T], direct: Direct | None = None, handler: Handler = echo, **options: Any
) -> Run[T]:
    """A server on db, a client on shop; ``direct`` is what happens meanwhile."""

    async def play(world: World) -> T:
        db, shop = world.machine("db"), world.machine("shop")
        db.boot(serving(handler))
        await asyncio.sleep(0.5)

        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def whole() -> None:
            found = await client()
            for writer in OPENED:
                writer.transport.abort()
            OPENED.clear()
            await asyncio.sleep(1)  # the server learns of it
            result.set_result(found)
            await asyncio.Event().wait()

        shop.boot(whole)
        if direct is not None:
            await direct(world, db)
        return await result

    options.setdefault("latency_s", LATENCY_S)
    return simulate(play, lateness_s=0.0, **options)


async def seen(reading: Awaitable[bytes]) -> tuple[str, float]:
    """What came of it, and when."""
    try:
        return repr(await reading), round(now(), 3)
    except (OSError, asyncio.IncompleteReadError) as error:
        return type(error).__name__, round(now(), 3)


async def connect_and_read() -> tuple[str, float]:
    return await seen((await open_to())[0].read(100))


# ── latency and bandwidth ────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("latency", "low", "high"),
    [(0.5, 0.5, 0.5), ((0.1, 0.2), 0.1, 0.2), (Tail(0.1, 0.01), 0.1, 1.0)],
)
def test_a_latency_is_constant_or_between_bounds_or_above_a_minimum(
    latency: Latency, low: float, high: float
) -> None:
    random = Random(1)
    values = [drawn(latency, random) for _ in range(2000)]
    assert low <= min(values) <= max(values) <= high


def test_the_tail_of_a_latency_has_its_mean() -> None:
    random = Random(1)
    values = [drawn(Tail(0.1, 0.01), random) for _ in range(20_000)]
    assert sum(values) / len(values) == pytest.approx(0.11, rel=0.01)


def test_a_slow_link_takes_its_latency_and_its_bandwidth() -> None:
    async def direct(world: World, _: Machine) -> None:
        world.network.slow("shop", "db", latency_s=1.0, bytes_per_s=1000)

    async def client() -> float:
        streams = await open_to()
        began = now()
        await ask(streams, bytes(2000))
        return round(now() - began, 6)

    assert meet(client, direct).value == 2.0 + 1.0 + 2 * LATENCY_S


def test_connections_share_the_bandwidth_of_a_link() -> None:
    async def direct(world: World, _: Machine) -> None:
        world.network.slow("shop", "db", bytes_per_s=1000)

    async def client() -> list[float]:
        both = [await open_to(), await open_to()]
        began = now()

        async def timed(streams: Streams) -> float:
            await ask(streams, bytes(1000))
            return round(now() - began, 6)

        return list(await asyncio.gather(*map(timed, both)))

    assert meet(client, direct).value == [1.02, 2.02]


def test_flow_control_holds_a_writer_on_a_slow_link() -> None:
    async def direct(world: World, _: Machine) -> None:
        world.network.slow("shop", "db", bytes_per_s=100_000)

    async def client() -> float:
        _, writer = await open_to()
        began = now()
        for _ in range(20):
            writer.write(bytes(50_000))
            await writer.drain()
        return now() - began

    async def drink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            pass
        writer.close()

    took = meet(client, direct, drink, buffer_bytes=10_000).value
    assert 8.0 < took < 11.0


def test_messages_overtake_between_connections_and_never_inside_one() -> None:
    arrived: list[tuple[int, int]] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2):
            arrived.extend(zip(data[::2], data[1::2], strict=True))
        writer.close()

    async def client() -> None:
        writers = [(await open_to())[1] for _ in range(4)]
        for number in range(50):
            for which, writer in enumerate(writers):
                writer.write(bytes([which, number]))
            await asyncio.sleep(0.001)
        await asyncio.sleep(5)

    assert meet(client, handler=note, latency_s=(0.0, 0.5), seed=3).error is None
    for which in range(4):
        assert [n for it, n in arrived if it == which] == list(range(50))
    assert [n for _, n in arrived] != sorted(n for _, n in arrived)


# ── cuts and losses ──────────────────────────────────────────────────────────


def test_what_is_sent_during_a_cut_arrives_in_order_at_a_retransmission_after_it() -> None:
    async def direct(world: World, _: Machine) -> None:
        await asyncio.sleep(0.5)  # at 1 s
        world.network.cut("shop", "db")
        await asyncio.sleep(1.0)  # to 2 s
        world.network.heal("shop", "db")

    async def client() -> tuple[bytes, float]:
        streams = await open_to()
        await asyncio.sleep(1.0 - now() + 0.1)
        streams[1].write(b"one ")
        await asyncio.sleep(0.3)
        heard = await ask(streams, b"two ")
        return heard + await streams[0].read(100), round(now(), 3)

    # Sent at 1.1 s; tried again at 1.3, 1.7 and 2.5 s.
    assert meet(client, direct).value == (b"one two ", 2.52)


def test_a_cut_in_one_direction_leaves_the_other_open() -> None:
    heard = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.read(100), round(now(), 3)))
        writer.write(b"answer")
        await reader.read()
        writer.close()

    async def direct(world: World, _: Machine) -> None:
        await asyncio.sleep(0.5)
        world.network.cut("db", "*")
        await asyncio.sleep(1.0)
        world.network.heal("db", "*")

    async def client() -> tuple[str, float]:
        reader, writer = await open_to()
        await asyncio.sleep(1.1 - now())
        writer.write(b"question")
        return await seen(reader.read(100))

    # Answered at 1.11 s; tried again at 1.31, 1.71 and 2.51 s.
    assert meet(client, direct, note).value == ("b'answer'", 2.52)
    assert heard == [(b"question", 1.11)]


def test_a_sender_gives_up_after_twenty_seconds_and_a_silent_reader_never_learns_of_it() -> None:
    async def direct(world: World, _: Machine) -> None:
        await asyncio.sleep(0.5)
        world.network.cut("shop", "db")

    async def client() -> list[tuple[str, float]]:
        silent, speaking = await open_to(), await open_to()
        await asyncio.sleep(1.5 - now())
        speaking[1].write(b"x")
        told = await seen(speaking[0].read(1))
        try:
            async with asyncio.timeout(100):
                await silent[0].read(1)
        except TimeoutError:
            return [told, ("nothing", round(now(), 3))]
        return [told]

    assert meet(client, direct).value == [("TimeoutError", 21.5), ("nothing", 121.5)]


def test_a_connection_request_through_a_cut_times_out() -> None:
    async def direct(world: World, _: Machine) -> None:
        world.network.cut("*", "db")

    async def client() -> tuple[int | None, float]:
        with pytest.raises(TimeoutError) as failure:
            await open_to()
        return failure.value.errno, round(now(), 3)

    assert meet(client, direct).value == (errno.ETIMEDOUT, 20.5)


def test_loss_delays_and_loses_nothing() -> None:
    async def direct(world: World, _: Machine) -> None:
        world.network.lossy("*", "*", 0.3)

    async def client() -> tuple[bool, float]:
        streams = await open_to()
        began = now()
        same = [await ask(streams, b"%03d" % n) == b"%03d" % n for n in range(100)]
        return all(same), now() - began

    same, took = meet(client, direct, seed=5).value
    assert same
    assert took > 100 * 2 * LATENCY_S + 10


def test_total_loss_breaks_the_connection_in_the_end() -> None:
    async def direct(world: World, _: Machine) -> None:
        await asyncio.sleep(0.5)
        world.network.lossy("shop", "db", 1.0)

    async def client() -> tuple[str, float]:
        reader, writer = await open_to()
        await asyncio.sleep(1.5 - now())
        writer.write(b"x")
        return await seen(reader.read(1))

    assert meet(client, direct).value == ("TimeoutError", 21.5)


# ── machines that end ────────────────────────────────────────────────────────


def test_a_kill_reaches_the_peer_as_a_reset_one_latency_later() -> None:
    async def direct(_: World, db: Machine) -> None:
        await asyncio.sleep(0.5)
        db.kill()

    assert meet(connect_and_read, direct).value == ("ConnectionResetError", 1.01)


def test_a_killed_process_refuses_connections_and_its_successor_accepts() -> None:
    async def direct(_: World, db: Machine) -> None:
        db.kill()
        await asyncio.sleep(1.0)
        db.restart()

    async def client() -> bytes:
        with pytest.raises(ConnectionRefusedError):
            await open_to()
        await asyncio.sleep(2)
        return await ask(await open_to(), b"again")

    assert meet(client, direct).value == b"again"


def test_a_peer_hears_nothing_of_a_power_cut_and_gets_a_reset_when_it_speaks_later() -> None:
    async def direct(_: World, db: Machine) -> None:
        await asyncio.sleep(0.5)
        db.power_cut(Random(1))
        await asyncio.sleep(30)
        db.restart()

    async def client() -> tuple[str, float]:
        reader, writer = await open_to()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60 - now()):
                await reader.read(1)
        writer.write(b"are you there")
        return await seen(reader.read(1))

    assert meet(client, direct).value == ("ConnectionResetError", 60.02)


def test_what_is_sent_to_a_machine_without_power_is_repeated_until_it_answers_with_a_reset() -> (
    None
):
    async def direct(_: World, db: Machine) -> None:
        await asyncio.sleep(0.5)
        db.power_cut(Random(1))
        await asyncio.sleep(1)
        db.restart()

    async def client() -> tuple[str, float]:
        reader, writer = await open_to()
        await asyncio.sleep(1.1 - now())
        writer.write(b"x")
        return await seen(reader.read(1))

    # Lost on arrival at 1.11 s; tried again at 1.31, 1.71 and 2.51 s.
    assert meet(client, direct).value == ("ConnectionResetError", 2.53)


def test_a_request_to_a_machine_without_power_waits_for_its_next_boot() -> None:
    async def direct(_: World, db: Machine) -> None:
        db.power_cut(Random(1))
        await asyncio.sleep(5)
        db.restart()

    async def client() -> tuple[bytes, bool]:
        heard = await ask(await open_to(), b"hello")
        return heard, 5.5 < now() < 7.5

    assert meet(client, direct).value == (b"hello", True)


def test_bytes_already_sent_arrive_after_the_sender_lost_power() -> None:
    async def direct(_: World, db: Machine) -> None:
        await asyncio.sleep(0.5)
        db.power_cut(Random(1))

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.995 - now())
        writer.write(b"last words")
        await asyncio.sleep(1000)

    assert meet(connect_and_read, direct, speak).value == ("b'last words'", 1.005)


def test_a_paused_machine_takes_bytes_until_its_buffers_are_full() -> None:
    async def direct(_: World, db: Machine) -> None:
        await asyncio.sleep(0.5)
        db.pause()
        await asyncio.sleep(9)
        db.resume()

    async def client() -> tuple[bytes, float]:
        streams = await open_to()
        await asyncio.sleep(1.1 - now())
        return await ask(streams, bytes(5000)), round(now(), 1)

    assert meet(client, direct, buffer_bytes=1000).value == (bytes(5000), 10.1)


# ── resets, refusals, names ──────────────────────────────────────────────────


def test_a_reset_breaks_both_ends_at_once_and_loses_what_is_under_way() -> None:
    heard = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await seen(reader.readexactly(10)))
        writer.close()

    async def direct(world: World, _: Machine) -> None:
        await asyncio.sleep(0.5)
        world.network.reset("db", "shop")

    async def client() -> tuple[str, float]:
        reader, writer = await open_to()
        writer.write(b"01234")
        await asyncio.sleep(0.995 - now())
        writer.write(b"56789")
        return await seen(reader.read(1))

    assert meet(client, direct, note).value == ("ConnectionResetError", 1.0)
    assert heard == [("ConnectionResetError", 1.0)]


def test_a_machine_can_refuse_though_somebody_listens() -> None:
    async def direct(world: World, _: Machine) -> None:
        world.network.refuse("db")
        await asyncio.sleep(1)
        world.network.accept("db")

    async def client() -> bytes:
        with pytest.raises(ConnectionRefusedError):
            await open_to()
        await asyncio.sleep(1.5)
        return await ask(await open_to(), b"in")

    assert meet(client, direct).value == b"in"


def test_a_hidden_name_does_not_resolve_and_its_address_still_works() -> None:
    async def direct(world: World, _: Machine) -> None:
        world.network.hide_name("db")
        await asyncio.sleep(1)
        world.network.show_name("db")

    async def client() -> bytes:
        with pytest.raises(socket.gaierror):
            await open_to()
        first = await ask(await open_to("10.0.0.1"), b"by number")
        await asyncio.sleep(1.5)
        return first + await ask(await open_to(), b", by name")

    assert meet(client, direct).value == b"by number, by name"


def test_a_fault_between_unknown_machines_is_refused_by_name() -> None:
    async def play(world: World) -> None:
        world.machine("db")
        for call in (world.network.cut, world.network.heal, world.network.reset):
            with pytest.raises(InvalidArgument, match="no machine is named 'dc'"):
                call("db", "dc")
        with pytest.raises(InvalidArgument, match="probability is 2"):
            world.network.lossy("*", "db", 2)

    assert simulate(play).error is None


# ── addresses ────────────────────────────────────────────────────────────────


def test_loopback_is_each_machines_own() -> None:
    async def play(world: World) -> list[str]:
        db, shop = world.machine("db"), world.machine("shop")
        found = []

        async def both() -> None:
            async with await asyncio.start_server(echo, "127.0.0.1", PORT):
                _, writer = await open_to("localhost")
                writer.close()
                OPENED.clear()
                await asyncio.sleep(3)

        async def other() -> None:
            for name in ("localhost", "db"):
                with pytest.raises(ConnectionRefusedError):
                    await open_to(name)
                found.append(name)

        db.boot(both)
        await asyncio.sleep(1)
        shop.boot(other)
        await shop.ended
        await db.ended
        return found

    assert simulate(play).value == ["localhost", "db"]


def test_a_connection_comes_from_its_machines_address_and_others_addresses_cannot_be_taken() -> (
    None
):
    async def client() -> tuple[str, str]:
        _, writer = await open_to()
        with pytest.raises(OSError) as failure:
            await asyncio.start_server(echo, "10.0.0.1", 80)
        assert failure.value.errno in (errno.EADDRNOTAVAIL, None)  # 3.13 says it in words only
        return writer.get_extra_info("sockname")[0], writer.get_extra_info("peername")[0]

    assert meet(client).value == ("10.0.0.2", "10.0.0.1")


# ── TLS and half-close between machines ──────────────────────────────────────


def test_a_half_closed_connection_between_machines_still_answers() -> None:
    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read())[::-1])
        writer.close()

    async def client() -> bytes:
        reader, writer = await open_to()
        writer.write(b"abc")
        writer.write_eof()
        return await reader.read()

    assert meet(client, handler=whole).value == b"cba"


def test_a_connection_between_machines_is_upgraded_to_tls() -> None:
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    here, there = ssl.create_default_context(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.configure_trust(here)
    authority.issue_cert("db", key_type=trustme.KeyType.RSA).configure_cert(there)

    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"go ahead\n")
        await writer.start_tls(there)
        await echo(reader, writer)

    async def client() -> bytes:
        reader, writer = await open_to()
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go ahead\n"
        await writer.start_tls(here, server_hostname="db")
        return await ask((reader, writer), b"hidden")

    assert meet(client, handler=upgrade).value == b"hidden"


# ── repeatable ───────────────────────────────────────────────────────────────


def deliveries(*, fault: bool, seed: int = 1) -> dict[str, list[tuple[float, str]]]:
    """What arrived from each of two clients at db, one of which may have a bad line."""

    async def play(world: World) -> None:
        db = world.machine("db")
        clients = [world.machine("a"), world.machine("b")]
        db.boot(serving(echo))
        await asyncio.sleep(0.1)
        if fault:
            world.network.lossy("a", "*", 0.5)
            world.network.slow("*", "a", latency_s=(0.1, 0.2))
        for each in clients:
            each.boot(client)
        for each in clients:
            await each.ended

    async def client() -> None:
        reader, writer = await asyncio.open_connection("db", PORT)
        for number in range(20):
            await ask((reader, writer), b"%d" % number)
        writer.close()
        await writer.wait_closed()

    run = simulate(play, seed=seed, latency_s=Tail(0.01, 0.02), record=True, lateness_s=0.0)
    assert run.error is None
    found: dict[str, list[tuple[float, str]]] = {"a": [], "b": []}
    for it in run.recorded:
        if it.name == "net.data" and it.fields["source"] in found:
            found[str(it.fields["source"])].append((it.at_s, it.name))
    return found


def test_the_same_seed_delivers_the_same_and_another_does_not() -> None:
    assert deliveries(fault=True) == deliveries(fault=True)
    assert deliveries(fault=True) != deliveries(fault=True, seed=2)


def test_a_fault_left_out_changes_nothing_on_other_links() -> None:
    with_it, without = deliveries(fault=True), deliveries(fault=False)
    assert with_it["a"] != without["a"]
    assert with_it["b"] == without["b"]


def test_a_reset_of_any_machine_is_one_of_all_the_others() -> None:
    async def play(world: World) -> int:
        broken: list[str] = []
        db = world.machine("db")

        async def serve() -> None:
            async with await asyncio.start_server(echo, "db", 80):
                await asyncio.sleep(3)

        async def wait() -> None:
            reader, writer = await asyncio.open_connection("db", 80)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            broken.append("reset")
            writer.close()

        db.boot(serve)
        await asyncio.sleep(0.1)
        shops = [world.machine(name) for name in ("shop", "mill")]
        for shop in shops:
            shop.boot(wait)
        await asyncio.sleep(1)
        world.network.reset("*", "db")
        await asyncio.gather(*(shop.ended for shop in shops))
        return len(broken)

    assert simulate(play).value == 2


def test_a_name_that_nobody_has_can_be_neither_hidden_nor_refused() -> None:
    async def play(world: World) -> None:
        with pytest.raises(InvalidArgument, match="nothing is named 'db'"):
            world.network.hide_name("db")
        with pytest.raises(InvalidArgument, match="nothing is named 'db'"):
            world.network.refuse("db")

    assert simulate(play).value is None
