"""Limits: what the store refuses before it changes anything, each with a name and a remedy.

Refusing early and clearly is part of the interface: an empty key is a mistake
in the caller, a value of a gigabyte is a plan that cannot work, and a store
that takes more than the machine's memory dies and takes everyone's data out of
service. So there are bounds on a key, a value, a transaction, and on memory.

The data of this store is *in memory*, all of it; the log on the disk is what
makes it durable. The store counts roughly what keys, values, kept versions, uncommitted
writes and locks take, Python's overhead included. At the bound (``max_bytes``)
puts are refused by `StoreFull`. Overwriting is refused too: the old version
stays until the new one is durable and nobody reads the old one, so for a while
both take room.

Reads go on, and so do deletes and locks, since they are the way out. They are
counted and not free: one transaction's are bounded by
``transaction_bytes_max``, like its puts, and those of all open transactions
together by ``max_bytes``, committed data aside. So a full store still takes
deletes, and not even a flood of them takes it beyond twice its bound.
"""

from __future__ import annotations

from typing import Final

from sdkit.arguments import shown
from sdkit.errors import Closed, InvalidArgument, LimitExceeded, Overloaded, Unavailable
from sdkit.store.config import StoreConfig

WRITE_OVERHEAD_BYTES: Final = 260  # what becomes of a write: a key and a version of it
LIMIT_MAX: Final = 2**63 - 1  # rows of a scan: what fits into a message
LOCK_OVERHEAD_BYTES: Final = 120  # what a lock costs besides its key's bytes


class StoreFull(Unavailable):
    """There is no memory left for what the call would write; nothing was written."""

    code = "store_full"


def check_open(is_open: bool) -> None:
    """Refuse to begin a transaction in an engine that is not entered yet, or was left already.

    Raises:
        Closed: it is not open.
    """
    if not is_open:
        raise Closed(
            "the store is not open: write `async with StoreEngine(host) as store`, and use it in "
            "that block; nothing was begun"
        )


def check_flag(name: str, value: object) -> None:
    """Refuse what is neither True nor False.

    Raises:
        InvalidArgument: naming it and its value.
    """
    if value is not True and value is not False:
        raise InvalidArgument(f"{name} is {shown(value)}; it must be True or False")


def check_key_type(key: object) -> None:
    """Refuse what is not bytes. A client asks this, too, before it encodes it.

    A ``bytearray`` would arrive at a server as bytes, and work there; kept in this
    process it could change under the store that holds it. So neither takes it.

    Raises:
        InvalidArgument: naming the type, and what to write instead.
    """
    if not isinstance(key, bytes):
        raise InvalidArgument(f"a key is {_instead(key)}")


def check_value_type(key: bytes, value: object) -> None:
    """The same for the value of ``key``."""
    if not isinstance(value, bytes):
        raise InvalidArgument(f"the value of {key!r} is {_instead(value)}")


def _instead(given: object) -> str:
    match given:
        case str():
            way = "encode it, as in 'text'.encode()"
        case bytearray() | memoryview():
            way = "make a copy with bytes(...)"
        case None:
            way = "to remove a key, delete it"
        case _:
            way = "turn it into bytes first"
    return f"of type {type(given).__name__}; keys and values are bytes: {way}"


def check_key(key: object, config: StoreConfig) -> None:
    """Refuse what is not a key.

    Raises:
        InvalidArgument: not bytes, or empty.
        LimitExceeded: longer than ``key_bytes_max``.
    """
    if key.__class__ is bytes and 0 < len(key) <= config.key_bytes_max:
        return
    check_key_type(key)
    assert isinstance(key, bytes)
    if not key:
        raise InvalidArgument("a key is empty; keys have at least one byte")
    if len(key) > config.key_bytes_max:
        raise LimitExceeded(
            f"a key has {len(key)} bytes; key_bytes_max is {config.key_bytes_max}",
            bytes=len(key),
            limit=config.key_bytes_max,
        )


def check_value(key: bytes, value: object, config: StoreConfig) -> None:
    """Refuse what is not a value.

    Raises:
        InvalidArgument: not bytes.
        LimitExceeded: longer than ``value_bytes_max``.
    """
    check_value_type(key, value)
    assert isinstance(value, bytes)
    if len(value) > config.value_bytes_max:
        raise LimitExceeded(
            f"the value of {key!r} has {len(value)} bytes; "
            f"value_bytes_max is {config.value_bytes_max}",
            bytes=len(value),
            limit=config.value_bytes_max,
        )


def check_range(
    start: object,
    end: object,
    prefix: object,
    reverse: object,
    limit: object,
    config: StoreConfig | None = None,
) -> None:
    """Refuse what is not a range. A client, which does not know the ``config``, asks for less.

    Raises:
        InvalidArgument: bounds that are not bytes, or a limit that is not a count.
        LimitExceeded: a bound that is longer than any key. (One byte more is fine, as
            in "behind the longest key".)
    """
    bounds = (("start", start), ("end", end), ("prefix", prefix))
    for name, bound in bounds:
        if not isinstance(bound, bytes) and (bound is not None or name == "start"):
            raise InvalidArgument(f"{name} is {type(bound).__name__}; bounds of a scan are bytes")
    check_flag("reverse", reverse)
    is_count = isinstance(limit, int) and not isinstance(limit, bool) and 0 <= limit <= LIMIT_MAX
    if limit is not None and not is_count:
        raise InvalidArgument(
            f"limit is {shown(limit)}; it must be a number of rows, or None for all"
        )
    for name, bound in bounds:
        if config and isinstance(bound, bytes) and len(bound) > config.key_bytes_max + 1:
            raise LimitExceeded(
                f"{name} has {len(bound)} bytes; no key has more than {config.key_bytes_max} "
                "(key_bytes_max)",
                bytes=len(bound),
                limit=config.key_bytes_max,
            )


def check_transaction_bytes(number: int, grown_to: int, config: StoreConfig) -> None:
    """Refuse what makes a transaction larger than ``transaction_bytes_max``."""
    if grown_to > config.transaction_bytes_max:
        raise LimitExceeded(
            f"transaction {number} would take {grown_to} bytes for its writes and locks; "
            f"transaction_bytes_max is {config.transaction_bytes_max}; commit in smaller parts",
            transaction=number,
            bytes=grown_to,
            limit=config.transaction_bytes_max,
        )


def check_memory(used: int, more: int, config: StoreConfig) -> None:
    """Refuse what takes ``more`` memory than there is beside the ``used``."""
    if more > 0 and used + more > config.max_bytes:
        raise StoreFull(
            f"the store takes {used} bytes of memory and this call {more} more (a new key takes "
            f"{WRITE_OVERHEAD_BYTES} beside its own bytes and its value's); max_bytes is "
            f"{config.max_bytes}; delete something, end long transactions, or raise it",
            used=used,
            limit=config.max_bytes,
        )


def check_open_transactions(count: int, config: StoreConfig) -> None:
    """Refuse to begin one transaction too many."""
    if count >= config.transactions_max:
        raise Overloaded(
            f"{count} transactions are open; transactions_max is {config.transactions_max}; "
            "end some, or begin again later",
            limit=config.transactions_max,
        )
