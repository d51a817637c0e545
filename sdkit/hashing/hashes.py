"""Hashes: a number for a string of bytes, the same today, tomorrow and on every machine.

Python's own ``hash()`` is not one: it is salted anew in every process, so that nobody can
fill a web server's dictionaries with colliding keys. Two processes would disagree about
every owner, and so would one process before and after its restart.

The schemes take any function from bytes to a whole number of 64 bits (`Hash`), all of
them equally likely. `blake2b_64` is the default: in the standard library, as fast there as
anything for short keys (a call costs more than the hashing), and nobody can choose
keys that all land on one node. A product to agree with may need another:
``Ring(nodes, hash64=xxhash.xxh64_intdigest)``.

Cheap hashes are the usual way to an uneven ring: CRC-32 or FNV-1a of ``node-1``, ``node-2``, ...
differ in few bits, and the points of a node stand together.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from sdkit.errors import InvalidArgument
from sdkit.hashing.placement import Hash

HASH_SIZE: Final = 2**64  # how many values a `Hash` has: 0 up to one less


def blake2b_64(data: bytes) -> int:
    """The 64-bit BLAKE2b digest of ``data`` (RFC 7693), read as a big-endian number."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def checked_hash(hash64: Hash) -> Hash:
    """``hash64``, after a try.

    Raises:
        InvalidArgument: it is the built-in one, or makes no number of 64 bits.
    """
    if hash64 is hash:
        raise InvalidArgument(
            "hash64 is the built-in hash(), which differs from process to process; "
            "leave it out, or give a function of bytes such as xxhash.xxh64_intdigest"
        )
    tried = hash64(b"sdkit")
    if not isinstance(tried, int) or not 0 <= tried < HASH_SIZE:
        raise InvalidArgument(
            f"hash64 makes {tried!r} of b'sdkit'; it must make a whole number from 0 to 2^64 - 1"
        )
    return hash64
