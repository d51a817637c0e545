"""RPC: call a function in another process as if it were here, knowing that it is not.

    async with await rpc.connect("127.0.0.1", port) as connection:
        answer = await connection.call("add", 2, 3, timeout_s=1.0)

A remote call looks like a local one and is not: it can be slow, fail half-way,
or happen without anybody learning of it. So every call may have a deadline,
which cancels the handler too; every error says whether it happened; and calls
to one peer share one connection without waiting for each other.

Three things to notice
    1. *The deadline of a call lies around it, not in it.* ``timeout_s`` is one
       call's own limit; a handler's calls inherit what is left of the handler's
       (`sdkit.net.deadlines`). The connection itself has none of whoever
       happened to make it: `connect` steps out of the deadline and the span.
    2. *Failing to connect never leaves doubt.* Nothing was asked, so every
       error here is of the kinds that say "it did not happen".
    3. *There is no reconnecting in here.* What is safe to repeat after a lost
       connection only the caller knows.
"""

from __future__ import annotations

import asyncio
import ssl as tls
from collections.abc import Mapping

from sdkit import host as hosts
from sdkit.arguments import check_between, shown
from sdkit.errors import (
    ConnectionLost,
    InvalidArgument,
    NotConnected,
    ProtocolError,
    SdkitError,
)
from sdkit.net import deadlines
from sdkit.net.addresses import check_address, check_tls, not_connected
from sdkit.net.limits import SECOND_NS, TIMEOUT_S_MAX
from sdkit.rpc.calling import Waiter
from sdkit.rpc.connection import Connection
from sdkit.rpc.handlers import Handler, table
from sdkit.rpc.hello import NONCE_BYTES, Side, check_secret
from sdkit.rpc.limits import Limits
from sdkit.rpc.session import Session
from sdkit.trace import adopt

__all__ = ["Connection", "connect", "new_session"]


def new_session(
    side: Side,
    limits: Limits,
    secret: str | bytes | None,
    loop: asyncio.AbstractEventLoop,
    session_type: type[Session[Waiter]],
) -> Session[Waiter]:
    """A session that begins now, on the current host."""
    here = hosts.current()
    return session_type(
        side,
        limits=limits,
        name=here.name,
        # Who knows a server's next nonce can have a client prove it in advance (`hello`).
        nonce=here.secret(NONCE_BYTES),
        secret=secret.encode() if isinstance(secret, str) else secret,
        now_ns=int(loop.time() * SECOND_NS),
    )


async def connect(
    host: str,
    port: int,
    *,
    secret: str | bytes | None = None,
    ssl: tls.SSLContext | None = None,
    server_hostname: str | None = None,
    handlers: Mapping[str, Handler] | None = None,
    limits: Limits | None = None,
    timeout_s: float = 10.0,
    connection_type: type[Connection] = Connection,
) -> Connection:
    """Connect to a server and shake hands with it.

    Args:
        secret: the one that the server has, if it has one.
        ssl: makes it TLS; ``server_hostname`` is what the certificate must say, the
            host unless given.
        handlers: what the server may call at this side.
        limits: what the server is allowed.
        connection_type: what to build it of.
        timeout_s: for all of it: the connection, TLS, the handshake; 0 to 1,000,000.

    Raises:
        InvalidArgument: an argument is of the wrong kind or out of range; it is named.
        NotConnected: nothing answers there, or not in time.
        AuthenticationFailed: the secrets differ, or the certificate is not trusted.
        VersionMismatch, ProtocolError: it speaks something else.
        Overloaded: it has too many connections at the moment.
    """
    check_address(host, port)
    check_tls(ssl, server_hostname, "client")
    check_secret(secret)
    check_between("timeout_s", timeout_s, 0.0, TIMEOUT_S_MAX)
    limits = Limits() if limits is None else limits
    _check_kinds(limits, connection_type)
    methods = table(handlers or {})
    loop = asyncio.get_running_loop()
    session = new_session(Side.CLIENT, limits, secret, loop, connection_type.session_type)
    connection = connection_type(session, methods, loop)
    # What runs on a connection has not the deadline or span of whoever happened to make it.
    token = deadlines.inherit(None)
    try:
        with adopt(None):
            async with asyncio.timeout(timeout_s):
                await loop.create_connection(
                    lambda: connection, host, port, ssl=ssl, server_hostname=server_hostname
                )
                await asyncio.shield(connection.opened)
    except BaseException as error:
        await connection.discard()
        # The error holds this frame, and the session may hold the error.
        del connection, session
        raise _explained(error, f"{host}:{port}", timeout_s, uses_tls=ssl is not None) from error
    finally:
        deadlines.disinherit(token)
    return connection


def _check_kinds(limits: object, connection_type: object) -> None:
    if not isinstance(limits, Limits):
        raise InvalidArgument(f"limits is {shown(limits)}; it must be of type Limits")
    if not (isinstance(connection_type, type) and issubclass(connection_type, Connection)):
        raise InvalidArgument(
            f"connection_type is {shown(connection_type)}; it must be a subclass of Connection"
        )


def _explained(
    error: BaseException, where: str, timeout_s: float, *, uses_tls: bool
) -> BaseException:
    """Why there is no connection, as one of ours where it is not one already."""
    match error:
        case ConnectionLost():
            hint = "" if uses_tls else "; if it speaks TLS, pass ssl"
            return NotConnected(f"{where} closed the connection before it said hello{hint}")
        case NotConnected():
            return NotConnected(f"no connection to {where}: {error.message}")
        case ProtocolError():
            text = (
                f"{where} does not speak sdkit's protocol; is it an sdkit server? {error.message}"
            )
            return ProtocolError(text, **error.fields)
        case SdkitError():
            return error
        case TimeoutError() if not error.errno:  # with a number, it is the system's, of one address
            return NotConnected(f"no connection to {where} within {timeout_s:g} s")
        case OSError() | ValueError():
            return not_connected(error, where, uses_tls=uses_tls)
    return error
