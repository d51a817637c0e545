"""Hello: agree on a version, and prove a shared secret without sending it.

The first thing that each side says is what it speaks. The one that was called
stays silent until it has heard a proper hello: a port scanner learns nothing.

    caller                                    called
      HELLO versions 1..3, nonce C, ...  ──>
                                         <──  HELLO versions 1..2, nonce S, ...
      PROOF hmac(secret, "client", C, S) ──>                        (with a secret only)
                                         <──  PROOF hmac(secret, "server", C, S)

Both then speak the highest version that both know (here 2).

Why it looks like this
    * A nonce from each side makes every proof new: a recorded one is worthless,
      whichever side was the one recorded. That holds as long as no nonce can be
      foretold: whoever knows a server's next one has a client prove it today, and
      comes with that proof tomorrow. So nonces are secrets of the host
      (`Host.secret`), never of the generator that draws jitter: 78 nonces of that
      would tell all the rest.
    * The labels "client" and "server" differ, so that a proof cannot be sent
      back to the one who made it; equal nonces are refused for the same reason.
    * The version ranges are part of what is signed: whoever in the middle cuts
      the range down to an old version breaks the proofs.
    * The caller proves first: a stranger who connects gets nothing computed
      with the secret.
    * Both prove, so a client does not talk to an impostor either. A side that
      has a secret refuses a peer that has none.

What it does not do
    * *Protect a secret that can be guessed.* An impostor that a client connects
      to, and anybody who can read the packets, gets that client's proof and may
      try words against it at home, a billion a second. No word survives that; 32
      random bytes do (``openssl rand -hex 32``).
    * *Hide or protect what is said later.* Somebody who can rewrite packets can
      wait for the proofs and take the connection over.
    * *Stop somebody in the middle* who passes both proofs on: he is not told the
      secret, and reads everything.

Against all three there is TLS: a client then connects to nobody else, and the
secret says who may come in.

The exchange is the challenge and response of SCRAM (RFC 5802) and CRAM-MD5
(RFC 2195), without their passwords: a secret here is a key, long and random.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final

from sdkit.errors import AuthenticationFailed, InvalidArgument, ProtocolError, VersionMismatch
from sdkit.rpc.messages import HELLO, PROOF, PROTOCOL, VERSION_MAX, VERSION_MIN

NONCE_BYTES: Final = 32
HELLO_BYTES_MAX: Final = 4096  # a frame of a stranger
NAME_MAX: Final = 200


class Side(Enum):
    """Who made the connection. Once it is open, the two sides have the same rights."""

    CLIENT = b"client"
    SERVER = b"server"

    @property
    def other(self) -> Side:
        return Side.SERVER if self is Side.CLIENT else Side.CLIENT


@dataclass(slots=True)
class Hello:
    """What one side says of itself.

    Args:
        nonce: ``NONCE_BYTES`` bytes that an attacker cannot foretell.
        proves: it has a secret, and asks the peer to have the same.
        frame_bytes_max: the longest message that it accepts.
        name: what it is called in traces and error messages.
    """

    nonce: bytes
    proves: bool
    frame_bytes_max: int
    name: str
    version_min: int = VERSION_MIN
    version_max: int = VERSION_MAX

    def to_message(self) -> tuple[object, ...]:
        versions = (self.version_min, self.version_max)
        about = (self.nonce, self.proves, self.frame_bytes_max, self.name)
        return (HELLO, PROTOCOL, *versions, *about)

    @classmethod
    def from_message(cls, message: list[object]) -> Hello:
        """Read a peer's hello.

        Raises:
            ProtocolError: it is not one.
        """
        match message[1:8]:
            case [
                str(protocol),
                int(low),
                int(high),
                bytes(nonce),
                bool(proves),
                int(most),
                str(name),
            ]:
                pass
            case _:
                raise ProtocolError("the first frame is not a hello")
        if protocol != PROTOCOL:
            raise ProtocolError(f"the peer speaks {protocol[:40]!r}, not {PROTOCOL!r}")
        if not (1 <= low <= high < 2**32 and len(nonce) == NONCE_BYTES and most >= HELLO_BYTES_MAX):
            raise ProtocolError("the hello holds values outside their range")
        return cls(nonce, proves, most, name[:NAME_MAX], low, high)


def common_version(ours: Hello, theirs: Hello) -> int:
    """The highest version that both sides speak.

    Raises:
        VersionMismatch: there is none.
    """
    version = min(ours.version_max, theirs.version_max)
    if version < max(ours.version_min, theirs.version_min):
        raise VersionMismatch(
            f"{ours.name} speaks versions {ours.version_min} to {ours.version_max} of {PROTOCOL}, "
            f"{theirs.name} {theirs.version_min} to {theirs.version_max}; upgrade the older one",
            ours=[ours.version_min, ours.version_max],
            theirs=[theirs.version_min, theirs.version_max],
        )
    return version


def proof(secret: bytes, side: Side, client: Hello, server: Hello) -> bytes:
    """What ``side`` sends to show that it knows ``secret``, for this connection alone."""
    versions = struct.pack(
        ">4I", client.version_min, client.version_max, server.version_min, server.version_max
    )
    signed = b"\0".join((PROTOCOL.encode(), side.value, client.nonce + server.nonce + versions))
    return hmac.digest(secret, signed, "sha256")


def check_secret(secret: object) -> None:
    """Refuse what cannot be a shared secret.

    Raises:
        InvalidArgument: saying what it must be, and not what it is.
    """
    if secret is None:
        return
    if not isinstance(secret, str | bytes):
        raise InvalidArgument(
            f"secret is of type {type(secret).__name__}; it must be text or bytes"
        )
    if not secret:
        raise InvalidArgument("secret is empty; give the one that the server has, or none")
    if isinstance(secret, str) and any("\ud800" <= each <= "\udfff" for each in secret):
        raise InvalidArgument("secret holds half of a character (a surrogate); pass it as bytes")


def check_willing(client: Hello, server: Hello) -> None:
    """Refuse to go on when one side has a secret and the other has none.

    Raises:
        AuthenticationFailed: naming who lacks it; or a nonce was echoed.
    """
    if client.proves != server.proves:
        with_one, without = ("client", "server") if client.proves else ("server", "client")
        raise AuthenticationFailed(
            f"the {with_one} asks for a shared secret and the {without} has none; "
            "give both the same one, or neither"
        )
    if client.nonce == server.nonce:
        raise AuthenticationFailed("both sides sent the same nonce: one of them echoes")


def check_proof(secret: bytes, side: Side, client: Hello, server: Hello, given: bytes) -> None:
    """Refuse a peer that does not know the secret.

    Raises:
        AuthenticationFailed: ``given`` is not the proof of ``side``.
    """
    if not hmac.compare_digest(proof(secret, side, client, server), given):
        name = (client if side is Side.CLIENT else server).name
        text = f"the {side.name.lower()} {name} does not know the shared secret: the two differ"
        raise AuthenticationFailed(text)


class Handshake:
    """One side's part of the exchange at the top of this file.

    Args:
        side: who made the connection.
        ours: what this side says of itself.
        secret: the shared secret, or None.
    """

    def __init__(self, side: Side, ours: Hello, secret: bytes | None) -> None:
        assert ours.proves == (secret is not None)
        self.ours: Final = ours
        self.theirs: Hello | None = None
        self.version = 0  # agreed on; 0 until the handshake is complete
        self._side, self._secret = side, secret

    def on_hello(self, message: list[object]) -> list[tuple[object, ...]]:
        """The peer's hello has come: what to send. Then a proof is awaited, if there is a secret.

        Raises:
            ProtocolError, VersionMismatch, AuthenticationFailed: end the connection.
        """
        self.theirs = Hello.from_message(message)
        version = common_version(self.ours, self.theirs)
        replies = [self.ours.to_message()] if self._side is Side.SERVER else []
        if self._side is Side.CLIENT or self._secret is not None:
            # A server without a secret only answers: the client shall say what it misses.
            check_willing(*self._client_and_server())
        if self._secret is None:
            self.version = version
        elif self._side is Side.CLIENT:
            replies.append((PROOF, proof(self._secret, self._side, *self._client_and_server())))
        return replies

    def on_proof(self, message: list[object]) -> list[tuple[object, ...]]:
        """The peer's proof has come: what to send. Then the handshake is complete.

        Raises:
            ProtocolError, AuthenticationFailed: end the connection.
        """
        given = message[1]
        if type(given) is not bytes:
            raise ProtocolError("a malformed PROOF")
        assert self._secret is not None
        assert self.theirs is not None
        check_proof(self._secret, self._side.other, *self._client_and_server(), given)
        self.version = common_version(self.ours, self.theirs)
        if self._side is Side.CLIENT:
            return []
        return [(PROOF, proof(self._secret, self._side, *self._client_and_server()))]

    def _client_and_server(self) -> tuple[Hello, Hello]:
        assert self.theirs is not None
        pair = (self.ours, self.theirs)
        return pair if self._side is Side.CLIENT else (pair[1], pair[0])
