"""Hashes: a number for a string of bytes, the same today, tomorrow and on every machine.

Python's own ``hash()`` is not one: it is salted anew in every process, so that nobody can
fill a web server's dictionaries with colliding keys. Two processes would disagree about
every owner, and so would one process before and after its restart.

The schemes take any function from bytes to whole numbers of 64 bits (`Hash`) that makes all
of these equally likely. One of another kind is accepted by no error of its own: 32 bits fill the
first part in four thousand million of a circle, and the node behind it gets every key; with a
sign, half of the keys lie before its beginning. So `checked_hash` tries a few dozen keys, and
says how to mend it. `blake2b_64` is the default. It is in the standard library, and for
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

from sdkit.arguments import check_function, close_unawaited, shown
from sdkit.errors import InvalidArgument
from sdkit.hashing.placement import Hash

HASH_SIZE: Final = 2**64  # how many values a `Hash` has: 0 up to one less
# Keys as they come: none, short, alike, long, every byte. A hash of 64 bits whose highest bit is
# the same for all of them is met once in 2^60 tries.
TRIED: Final = (
    b"",
    b"sdkit",
    bytes(64),
    bytes(range(256)),
    b"\xff" * 1_000,
    *(bytes([byte]) for byte in range(0, 256, 16)),
    *(b"node-%d" % number for number in range(20)),
    *(b"user:%d" % (number * 7_919) for number in range(20)),
    *(b"a rather long key, " * number for number in range(1, 5)),
)


def blake2b_64(data: bytes) -> int:
    """The 64-bit BLAKE2b digest of ``data`` (RFC 7693), read as a big-endian number."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def checked_hash(hash64: Hash, *, bits: int | None = 64) -> Hash:
    """``hash64``, after a try of `TRIED`. Some 60 calls of it; none if it is the default.

    A hash with few different values passes: what becomes of colliding points is studied with it.

    Args:
        bits: of its numbers; None where more do no harm.

    Raises:
        InvalidArgument: it is the built-in one or no plain function; it fails, or gives two
            answers for one key; or its numbers have another width, a sign or a fraction.
    """
    if hash64 is blake2b_64:
        return hash64
    if hash64 is hash:
        raise InvalidArgument(
            "hash64 is the built-in hash(), which differs from process to process; "
            "leave it out, or give a function of bytes such as xxhash.xxh64_intdigest"
        )
    check_function("hash64", hash64, asynchronous=False)
    made = {key: _tried(hash64, key, bits) for key in TRIED}
    if any(_tried(hash64, key, bits) != number for key, number in made.items()):
        raise InvalidArgument(
            "hash64 gives two answers for one key; it must depend on the key alone, or nobody "
            "finds a key again"
        )
    top, different = (bits or 64) - 1, len(set(made.values()))
    if len({number >> top for number in made.values()}) == 1 and different > len(made) // 2:
        raise InvalidArgument(
            f"hash64 makes numbers from {min(made.values())} to {max(made.values())} of "
            f"{len(made)} keys, so that one node would own most; they must be spread over all "
            f"from 0 to 2^{top + 1} - 1: a hash of 32 bits is, as "
            "`lambda data: hash32(data) * (2**32 + 1)`"
        )
    return hash64


def _tried(hash64: Hash, key: bytes, bits: int | None) -> int:
    try:
        made: object = hash64(key)
    except Exception as error:
        raise InvalidArgument(
            f"hash64 fails for a key of {len(key)} bytes, {shown(key)}: "
            f"{type(error).__name__}: {error}; it must take any bytes"
        ) from error
    close_unawaited(made)
    problem = f"hash64 makes {shown(made)} of {shown(key)}; it must make a whole number from 0 to "
    if isinstance(made, bool) or not isinstance(made, int):
        raise InvalidArgument(
            f"{problem}2^64 - 1, and this is of type {type(made).__name__}: from a digest it is "
            "made by int.from_bytes(digest[:8], 'big')"
        )
    if made < 0:
        raise InvalidArgument(
            f"{problem}2^64 - 1: give the same bits without a sign, "
            "`lambda data: signed64(data) % 2**64`"
        )
    if bits is not None and made >> bits:
        raise InvalidArgument(
            f"{problem}2^{bits} - 1: of a wider hash take as many bits, "
            f"`lambda data: wide(data) % 2**{bits}`"
        )
    return made
