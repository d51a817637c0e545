"""Addresses: why a server cannot listen, each reason with its own remedy.

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

from sdkit.errors import AddressInUse, InvalidArgument, Unavailable

PRIVILEGED_PORTS = 1024  # below it, Unix asks for a privilege
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


def check_address(host: object, port: object) -> None:
    """Refuse what no address can be made of.

    Raises:
        InvalidArgument: naming the host or the port.
    """
    if not isinstance(host, str) or not host:
        raise InvalidArgument(f"host is {host!r}; it must be a name or an address, as text")
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise InvalidArgument(f"port is {port!r}; it must be a whole number between 1 and 65535")
