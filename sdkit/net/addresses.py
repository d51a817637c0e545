"""Addresses: why a server cannot listen or be reached, each reason with its own remedy.

Binding fails for reasons that have nothing in common but the exception, and the
advice for one is nonsense for another: to somebody who mistyped the name of the
host, "choose another port" is a wild-goose chase. What the operating system
says is told apart here, by its number:

    EADDRINUSE           somebody else listens there   another port
    EADDRNOTAVAIL        not an address of this machine   another host
    EACCES, EPERM        a port below 1024   a higher port, or the privilege
    getaddrinfo fails    nobody knows the name   another host

Only the first may go away by waiting for the other program; the code says so to
those who start servers in a loop.
"""

from __future__ import annotations

import errno
import socket
import ssl as tls
from typing import Final

from sdkit.arguments import shown
from sdkit.errors import (
    AddressInUse,
    AuthenticationFailed,
    InvalidArgument,
    NotConnected,
    ProtocolError,
    SdkitError,
    Unavailable,
)

NAME_MAX: Final = 255  # characters: DNS has no longer names
PRIVILEGED_PORTS: Final = 1024  # below it, Unix asks for a privilege
HOSTS = "use 127.0.0.1 for this machine alone, or 0.0.0.0 for every interface"


class AddressUnusable(Unavailable, OSError):
    """The server cannot listen there, whoever else does: the name, the address or the right."""

    code = "address_unusable"


def cannot_listen(error: OSError | UnicodeError, host: str, port: int) -> Unavailable:
    """The error of a failed bind, in our words."""
    where = f"cannot listen on {host}:{port}: "
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        text = "it is in use by another program; choose another port, or 0 for any free one"
        return AddressInUse(where + text, host=host, port=port)
    if isinstance(error, UnicodeError | socket.gaierror):
        text = f"the name {host!r} is not known; {HOSTS}"
    elif error.errno == errno.EADDRNOTAVAIL or "could not bind on any" in str(error):
        text = f"this machine has no such address; {HOSTS}"
    elif isinstance(error, PermissionError) and 0 < port < PRIVILEGED_PORTS:
        text = f"ports below {PRIVILEGED_PORTS} are for root; choose a higher one, or 0"
    else:
        text = f"{error.strerror or error}"
    return AddressUnusable(where + text, host=host, port=port)


def check_name(name: str, value: object) -> None:
    """Refuse what cannot be the name or the address of a host.

    Args:
        name: of the argument.

    Raises:
        InvalidArgument: naming the value.
    """
    if not isinstance(value, str) or not _is_name(value):
        raise InvalidArgument(
            f"{name} is {shown(value)}; it must be a name or an address, as text of at most "
            f"{NAME_MAX} characters"
        )


def _is_name(text: str) -> bool:
    # Half of a character (a surrogate) could not even be printed in the error that follows.
    strange = any(each == "\0" or "\ud800" <= each <= "\udfff" for each in text[:NAME_MAX])
    return 0 < len(text) <= NAME_MAX and not strange


def check_address(host: object, port: object) -> None:
    """Refuse what no address can be made of.

    Raises:
        InvalidArgument: naming the host or the port.
    """
    check_name("host", host)
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise InvalidArgument(
            f"port is {shown(port)}; it must be a whole number between 1 and 65535"
        )


def check_tls(ssl: object, server_hostname: object, side: str) -> None:
    """Refuse what is no TLS context, or is one for the other side.

    Args:
        side: "client" or "server".

    Raises:
        InvalidArgument: saying how to make the right one.
    """
    wanted = "ssl.create_default_context()"
    if side == "server":
        wanted = "ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) with a certificate"
    if ssl is None:
        if server_hostname is not None:
            raise InvalidArgument(
                f"server_hostname is {shown(server_hostname)}, and ssl is not given: without TLS "
                f"there is no certificate to hold it against; pass ssl={wanted}"
            )
    elif not isinstance(ssl, tls.SSLContext):
        raise InvalidArgument(
            f"ssl is {shown(ssl)}, of type {type(ssl).__name__}; it must be an SSLContext, as "
            f"made by {wanted}"
        )
    elif ssl.protocol == (tls.PROTOCOL_TLS_SERVER if side == "client" else tls.PROTOCOL_TLS_CLIENT):
        raise InvalidArgument(f"ssl is a context for the other side; a {side} takes {wanted}")
    if server_hostname is not None:
        check_name("server_hostname", server_hostname)


def not_connected(error: Exception, where: str, *, uses_tls: bool) -> SdkitError:
    """Why connecting to ``where`` has failed with ``error``, in our words."""
    match error:
        case tls.SSLCertVerificationError():
            text = f"{where} shows a certificate that is not trusted: {error.verify_message}"
            return AuthenticationFailed(text)
        case tls.SSLError() if error.reason in _NOT_TLS:
            return ProtocolError(
                f"{where} does not speak TLS; leave ssl out, or give the server a certificate"
            )
        case tls.SSLError():
            words = (error.reason or str(error)).lower().replace("_", " ")
            return ProtocolError(f"no TLS with {where}: {words}")
        case UnicodeError() | ValueError():
            return NotConnected(f"cannot connect to {where}: no host can have this name")
    # With several addresses, asyncio puts the reasons into one text.
    if isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        text = "the connection was refused; no program listens there"
    elif uses_tls and isinstance(error, ConnectionError):
        text = "it closed the connection during the TLS handshake; does it speak TLS?"
    else:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return NotConnected(f"cannot connect to {where}: {text}")


# What OpenSSL calls bytes that are no TLS at all, by version.
_NOT_TLS: Final = frozenset(
    ["WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"]
)
