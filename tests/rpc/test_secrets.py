"""The hello's nonces cannot be foretold, and the page says what the secret protects against."""

from __future__ import annotations

import asyncio
import hmac
from random import Random
from typing import Any

import pytest

from sdkit.errors import AuthenticationFailed, InvalidArgument
from sdkit.host import Host, running_on
from sdkit.rpc import ServerConfig, connect
from sdkit.rpc.hello import Hello, Side, proof
from sdkit.rpc.messages import PROOF
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from tests.rpc.services import SECRET, STRANGER, frame, raw_peer, serving


class Foretold(Random):
    """A generator whose state somebody has computed."""

    def getrandbits(self, count: int) -> int:
        return 0

    def randbytes(self, count: int) -> bytes:
        return bytes(count)


async def nonce_of(server: Any) -> bytes:
    async with raw_peer(server) as stranger:
        hello = await stranger.hello(proves=True)
        return bytes(hello[4])


def test_nonces_do_not_come_from_the_generator_that_draws_jitter() -> None:
    async def main() -> None:
        with running_on(Host("here", random=Foretold())):
            async with serving(secret=SECRET) as server:
                nonces = [await nonce_of(server) for _ in range(20)]
        assert len(set(nonces)) == 20
        assert bytes(32) not in nonces

    asyncio.run(main())


def test_a_simulated_host_repeats_its_nonces() -> None:
    async def main() -> list[bytes]:
        with running_on(SimulatedHost("here")):
            async with serving(secret=SECRET) as server:
                return [await nonce_of(server) for _ in range(3)]

    first, second = run(main()), run(main())
    assert first == second
    assert len(set(first)) == 3


def test_an_impostor_gets_a_proof_that_a_weak_secret_can_be_guessed_from() -> None:
    """As the page says: the secret must be long and random; TLS keeps impostors out."""
    heard: list[Any] = []

    async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import msgpack

        async def hear() -> Any:
            length = int.from_bytes(await reader.readexactly(4), "big")
            return msgpack.unpackb(await reader.readexactly(length))

        ours = Hello(b"i" * 32, True, 1 << 20, "impostor")
        theirs = Hello.from_message(await hear())
        writer.write(frame(ours.to_message()))
        kind, given = await hear()
        assert kind == PROOF
        heard.append((theirs, ours, given))
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(impostor, "127.0.0.1", 0) as server:
            with pytest.raises(Exception, match="closed the connection"):
                await connect(*server.sockets[0].getsockname()[:2], secret="summer2024")

    run(main())
    ((theirs, ours, given),) = heard
    guesses = [b"password", b"letmein", b"summer2024"]
    found = [
        each
        for each in guesses
        if hmac.compare_digest(proof(each, Side.CLIENT, theirs, ours), given)
    ]
    assert found == [b"summer2024"]


def test_a_stranger_who_connects_is_sent_nothing_made_with_the_secret() -> None:
    async def main() -> None:
        async with serving(secret=SECRET) as server, raw_peer(server) as stranger:
            await stranger.hello(proves=True)
            await stranger.say([PROOF, b"x" * 32])
            assert await stranger.hear_the_end() == "authentication_failed"

    run(main())
    assert STRANGER.nonce == b"n" * 32


@pytest.mark.parametrize("secret", [5, True, ["s"], "", b"", "half \ud800", bytearray(b"12345678")])
def test_a_secret_that_cannot_be_one_is_refused_and_not_repeated(secret: Any) -> None:
    async def main() -> None:
        with pytest.raises(InvalidArgument, match=r"^secret ") as caught:
            await connect("127.0.0.1", 1, secret=secret)
        assert "half" not in str(caught.value).replace("half of a", "")
        with pytest.raises(InvalidArgument, match=r"^secret "):
            ServerConfig(secret=secret)

    run(main())


def test_bytes_and_text_of_one_secret_are_the_same() -> None:
    async def main() -> None:
        async with serving(secret=SECRET) as server:
            async with await connect(*server.address, secret=SECRET.encode()) as connection:
                assert await connection.call("echo", 1) == 1
            with pytest.raises(AuthenticationFailed):
                await connect(*server.address, secret="wrong")

    run(main())
