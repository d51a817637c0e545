"""Hashes: a number for a string of bytes, the same today, tomorrow and on every machine.

Python's own ``hash()`` is not one: it is salted anew in every process, so that nobody can
fill a web server's dictionaries with colliding keys. Two processes would disagree about
every owner, and so would one process before and after its restart.

The schemes take any function from bytes to whole numbers of 64 bits (`Hash`) that makes all
of these equally likely. `blake2b_64` is the default. It is in the standard library, and for
short keys as fast as anything there, since the call costs more than the hashing. A product to
agree with may need another: ``Ring(nodes, hash64=xxhash.xxh64_intdigest)``.

Cheap hashes are the usual way to an uneven ring: those of ``node-1``, ``node-2``, ... differ in
few bits, so the points of a node stand close together. And whoever can choose keys can choose
ones that all land on one node; for hashes that are not cryptographic that is no work at all.
With this one it takes a try for each node, and a secret prefix of your own ends it:
``hash64=lambda data: blake2b_64(secret + data)``.
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
        InvalidArgument: it is the built-in one, no function, or makes no number of 64 bits.
    """
    if hash64 is hash:
        raise InvalidArgument(
            "hash64 is the built-in hash(), which differs from process to process; "
            "leave it out, or give a function of bytes such as xxhash.xxh64_intdigest"
        )
    if not callable(hash64):
        raise InvalidArgument(f"hash64 is {hash64!r}; it must be a function of bytes")
    tried = hash64(b"sdkit")
    if not isinstance(tried, int) or not 0 <= tried < HASH_SIZE:
        raise InvalidArgument(
            f"hash64 makes {tried!r} of b'sdkit'; it must make a whole number from 0 to 2^64 - 1"
        )
    return hash64
