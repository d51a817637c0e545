"""The smallest transactional store: versions of each key in memory, one writer at a time.

Two clients change the same accounts, and a third adds them up. It must not see half of a
change. No client may overwrite a change that it has not seen. So a write does not replace
a value: it adds a *version*. A commit gives all versions of its transaction one position. A
transaction reads at its *snapshot*, the position of the last commit before it began. Readers
never wait. Of two writers of one key, the second is refused.

    $ python -m sdkit.store.smallest
    a pays b 10; before the commit an auditor sees a 100, b 0
    after the commit a new reader sees a 90, b 10; the auditor still sees a 100, b 0
    the auditor pays 1 out of a: SmallestConflict, it has changed since the snapshot
    c and d both write a: SmallestConflict for d, it has another writer
    write skew: x sees y on call and leaves, y sees x on call and leaves: nobody is left
    versions kept for a: 2, and nobody can read the first any more

What it gets wrong, and where that is answered
    1. All of it is gone when the process ends. `engine` writes a log first, and answers
       when that is durable. (`sdkit.spec.store.instant_of_commit` is about it, and asks
       for a disk.)
    2. There is one level, a snapshot. `isolation` has four, and says which rules each
       needs.
    3. The second writer of a key is refused, although the first may end soon. `locks` lets
       it wait in a queue, and `deadlock` finds circles of waiting transactions.
    4. Two transactions can each read what the other writes, and both commit: write skew.
       `optimistic` finds it, `ranges` with shared locks keeps it from happening.
    5. There are no savepoints. `transaction`.
    6. Mistakes are not refused: an empty key, a write in a read-only transaction, a value
       of a gigabyte. `limits`, `admission`.
    7. Old versions stay for ever: `vacuum`. (No property sees it: it is only memory.)
    8. A scan looks at all keys and sorts them; `versions` keeps them sorted. (No property:
       it is only slow.)

The specification of the room is run against this file. It fails at numbers 2 to 6 only
(``tests/store/test_smallest.py``).
"""

from __future__ import annotations


class SmallestConflict(Exception):
    """The transaction is rolled back; begin another one."""


class SmallestStore:
    """Keys and values, with transactions."""

    def __init__(self) -> None:
        self.position = 0  # of the last commit
        self.versions: dict[bytes, list[tuple[int, bytes | None]]] = {}  # oldest first
        self.open: list[SmallestTransaction] = []

    def begin(self) -> SmallestTransaction:
        """Begin a transaction, which reads the state of this moment."""
        self.open.append(SmallestTransaction(self))
        return self.open[-1]


class SmallestTransaction:
    """Reads and writes that take effect all at once, at commit, or not at all."""

    def __init__(self, store: SmallestStore) -> None:
        self.store, self.snapshot = store, store.position
        self.writes: dict[bytes, bytes | None] = {}  # None: deleted
        self.claimed: set[bytes] = set()

    def get(self, key: bytes) -> bytes | None:
        """The value in the snapshot, or as this transaction has written it; None if absent."""
        self.check_open()
        if key in self.writes:
            return self.writes[key]
        for position, value in reversed(self.store.versions.get(key, [])):
            if position <= self.snapshot:
                return value
        return None

    def scan(self) -> list[tuple[bytes, bytes]]:
        """Keys with their values, in order."""
        rows = ((key, self.get(key)) for key in sorted(self.store.versions.keys() | self.writes))
        return [(key, value) for key, value in rows if value is not None]

    def claim(self, key: bytes) -> None:
        """Become the one writer of ``key``, until the end.

        Raises:
            SmallestConflict: it has another writer, or has changed since the snapshot.
        """
        self.check_open()
        history = self.store.versions.get(key)
        if history and history[-1][0] > self.snapshot:
            self.rollback()
            raise SmallestConflict("it has changed since the snapshot")
        if any(key in other.claimed for other in self.store.open if other is not self):
            self.rollback()
            raise SmallestConflict("it has another writer")
        self.claimed.add(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        """Write ``value``, or with None delete the key; raises as `claim`."""
        self.claim(key)
        self.writes[key] = value

    def commit(self) -> int:
        """Show all its writes to others at once. Returns the position of the commit."""
        self.check_open()
        if self.writes:
            self.store.position += 1
        for key, value in self.writes.items():
            history = self.store.versions.setdefault(key, [])
            if value is not None or (history and history[-1][1] is not None):
                history.append((self.store.position, value))  # deleting nothing changes nothing
        self.rollback()
        return self.store.position

    def rollback(self) -> None:
        """End the transaction and drop its writes."""
        if self in self.store.open:
            self.store.open.remove(self)

    def check_open(self) -> None:
        """Refuse a transaction that has ended."""
        if self not in self.store.open:
            raise RuntimeError("the transaction has ended")


def shown(transaction: SmallestTransaction) -> str:
    """All keys with their values."""
    return ", ".join(f"{key.decode()} {value.decode()}" for key, value in transaction.scan())


def main() -> None:
    """Show it at work."""
    store = SmallestStore()
    setup = store.begin()
    for key, value in ((b"a", b"100"), (b"b", b"0")):
        setup.put(key, value)
    setup.commit()

    auditor, payment = store.begin(), store.begin()
    payment.put(b"a", b"90")
    payment.put(b"b", b"10")
    print(f"a pays b 10; before the commit an auditor sees {shown(auditor)}")
    payment.commit()
    print(
        f"after the commit a new reader sees {shown(store.begin())}; "
        f"the auditor still sees {shown(auditor)}"
    )
    try:
        auditor.put(b"a", b"99")
    except SmallestConflict as conflict:
        print(f"the auditor pays 1 out of a: SmallestConflict, {conflict}")
    c, d = store.begin(), store.begin()
    c.put(b"a", b"1")
    try:
        d.put(b"a", b"2")
    except SmallestConflict as conflict:
        print(f"c and d both write a: SmallestConflict for d, {conflict}")

    setup = store.begin()
    setup.put(b"x", b"on call")
    setup.put(b"y", b"on call")
    setup.commit()
    x, y = store.begin(), store.begin()
    for doctor, key, other in ((x, b"x", b"y"), (y, b"y", b"x")):
        if doctor.get(other) == b"on call":
            doctor.put(key, None)
    x.commit()
    y.commit()
    after = store.begin()
    left = [key for key in (b"x", b"y") if after.get(key) is not None]
    print(
        "write skew: x sees y on call and leaves, y sees x on call and leaves: "
        f"{'somebody' if left else 'nobody'} is left"
    )
    kept = len(store.versions[b"a"])
    print(f"versions kept for a: {kept}, and nobody can read the first any more")


if __name__ == "__main__":
    main()
