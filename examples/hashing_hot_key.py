"""One key is famous: a balancer with bounded load keeps its owner from burning.

python examples/hashing_hot_key.py
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sdkit.hashing import BoundedRing

SERVERS = ["app-1", "app-2", "app-3", "app-4"]


@contextmanager
def served(ring: BoundedRing, key: str) -> Iterator[str]:
    """The server for one request, which is released when the request has ended, however it does."""
    server = ring.acquire(key)
    try:
        yield server
    finally:
        ring.release(server)


def main() -> None:
    ring = BoundedRing(SERVERS, factor=1.25)
    with served(ring, "post:1") as quiet:
        print(f"a quiet hour: post:1 is served by {quiet}")

    holders = [ring.acquire("post:1") for _ in range(60)]
    print("60 readers at once:", ", ".join(f"{node} {held}" for node, held in ring.held.items()))
    print(f"nobody holds more than 1.25 times the fair 15: at most {max(ring.held.values())}")

    for server in holders:
        ring.release(server)
    with served(ring, "post:1") as again:
        print(f"they have left: post:1 is served by {again} again")
    assert again == quiet


if __name__ == "__main__":
    main()
