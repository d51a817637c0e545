"""Which of the cache servers has this key? A client with a ring, on the day that one server dies.

python examples/hashing_cache.py
"""

from __future__ import annotations

from sdkit.hashing import Modulo, Placement, Ring

SERVERS = [f"cache-{number}" for number in range(1, 6)]
KEYS = [f"user:{number}" for number in range(20_000)]


class Cache:
    """A dictionary for each server, and what a client does: ask the one that owns the key."""

    def __init__(self, placement: Placement) -> None:
        self.placement = placement
        self.servers: dict[str, dict[str, str]] = {node: {} for node in placement.nodes}
        self.misses = 0

    def get(self, key: str) -> str:
        server = self.servers[self.placement.owner(key)]
        if key not in server:
            self.misses += 1  # here a real client asks the database
            server[key] = f"value of {key}"
        return server[key]


def main() -> None:
    for cache in (Cache(Modulo(SERVERS)), Cache(Ring(SERVERS))):
        for key in KEYS:
            cache.get(key)
        cache.misses = 0
        moved = cache.placement.remove("cache-3")
        for key in KEYS:
            cache.get(key)
        name = type(cache.placement).__name__
        print(f"{name:<7} cache-3 is gone; the share told: {float(moved):.1%}", end="; ")
        print(f"the database is asked for {cache.misses / len(KEYS):.1%} of all keys")

    ring = Ring(SERVERS)
    first, second = ring.owners("user:42", 2)
    print(f"user:42 is on {first}, its copy on {second}")
    ring.remove(first)
    print(f"{first} is gone: user:42 is on {ring.owner('user:42')}, where the copy is")


if __name__ == "__main__":
    main()
