"""Hash functions of another width, sign or kind are refused with what to do about it."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import math
import random
import zlib
from binascii import crc_hqx
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import AsyncMock

import pytest

from sdkit.errors import InvalidArgument
from sdkit.hashing import BoundedRing, Jump, Modulo, Rendezvous, Ring, blake2b_64

SCHEMES = [Ring, BoundedRing, Rendezvous, Jump, Modulo]


def signed(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big", signed=True)


async def later(data: bytes) -> int:
    return blake2b_64(data)


def generator(data: bytes) -> Iterator[int]:
    yield blake2b_64(data)


class Later:
    async def __call__(self, data: bytes) -> int:
        return blake2b_64(data)


def not_of_the_empty(data: bytes) -> int:
    return blake2b_64(data) + 0 * data[0]


def not_of_the_long(data: bytes) -> int:
    return blake2b_64(data) if len(data) < 100 else -1


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("hash64", "said"),
    [
        (signed, r"without a sign, `lambda data: signed64\(data\) % 2\*\*64`"),
        (lambda data: signed(data) >> 32, "without a sign"),
        (zlib.crc32, r"spread over all .* hash32\(data\) \* \(2\*\*32 \+ 1\)"),
        (lambda data: crc_hqx(data, 0), "spread over all"),
        (lambda data: blake2b_64(data) >> 1, "spread over all"),
        (lambda data: blake2b_64(data) | 1 << 63, "spread over all"),
        (lambda data: blake2b_64(data) / 2**64, "of type float"),
        (lambda data: math.nan, "hash64 makes nan"),
        (lambda data: math.inf, "hash64 makes inf"),
        (lambda data: True, "hash64 makes True"),
        (lambda data: hashlib.md5(data).digest(), r"int\.from_bytes\(digest\[:8\], 'big'\)"),
        (lambda data: hashlib.md5(data).hexdigest(), "of type str"),
        (hashlib.md5, "hash64 makes <md5"),
        (lambda data: None, "hash64 makes None"),
        (lambda data: later(data), "of type coroutine"),
        (later, "must be a plain function"),
        (functools.partial(later), "must be a plain function"),
        (Later(), "must be a plain function"),
        (AsyncMock(return_value=7), "must be a plain function"),
        (generator, "a generator"),
        (7, "hash64 is 7"),
        ("md5", "hash64 is 'md5'"),
        (hash, "differs from process to process"),
        (lambda data: random.getrandbits(64), "two answers for one key"),
        (not_of_the_empty, "fails for a key of 0 bytes"),
        (not_of_the_long, "hash64 makes -1"),
        (lambda: 7, "fails for a key"),
    ],
)
def test_a_hash_of_another_kind_is_refused_with_the_remedy(
    scheme: Callable[..., object], hash64: Any, said: str
) -> None:
    with pytest.raises(InvalidArgument, match=said):
        scheme(["a", "b", "c"], hash64=hash64)


@pytest.mark.parametrize("scheme", [Ring, BoundedRing, Rendezvous, Jump])
def test_a_hash_that_is_too_wide_is_refused_where_it_does_harm(
    scheme: Callable[..., object],
) -> None:
    def wide(data: bytes) -> int:
        return int.from_bytes(hashlib.md5(data).digest(), "big")

    with pytest.raises(InvalidArgument, match=r"`lambda data: wide\(data\) % 2\*\*64`"):
        scheme(["a", "b"], hash64=wide)
    assert Modulo(["a", "b"], hash64=wide).owner("key") == "ab"[wide(b"key") % 2]


REMEDIES = [
    lambda data: signed(data) % 2**64,
    lambda data: zlib.crc32(data) * (2**32 + 1),
    lambda data: int.from_bytes(hashlib.md5(data).digest(), "big") % 2**64,
    lambda data: int.from_bytes(hashlib.sha1(data).digest()[:8], "big"),
]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("hash64", REMEDIES)
def test_each_remedy_is_accepted_and_spreads_the_keys(
    scheme: Callable[..., Any], hash64: Callable[[bytes], int]
) -> None:
    subject = scheme(["a", "b", "c", "d"], hash64=hash64)
    owned = [subject.owner(f"user:{number}:{number % 7}") for number in range(2_000)]
    assert all(200 < owned.count(node) < 900 for node in "abcd")


def test_what_a_hash_function_never_awaits_complains_of_nothing() -> None:
    async def main() -> None:
        with pytest.raises(InvalidArgument):
            Ring(["a"], hash64=lambda data: later(data))  # type: ignore[arg-type, return-value]

    asyncio.run(main())
