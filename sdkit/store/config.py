"""Config: the settings of a store, refused by name when they cannot be meant.

A server that starts with a wrong setting fails later, far away from the
mistake. A `StoreConfig` that exists is sound: every field is checked when it
is made, and the error names the field, the value and the limits.

Every queue and buffer of the room has its bound here. What happens there:

    transactions_max            a further begin is refused (`Overloaded`)
    key_bytes_max, value_...    the call is refused (`LimitExceeded`)
    transaction_bytes_max       the write or lock is refused (`LimitExceeded`)
    max_bytes                   the put is refused (`StoreFull`); reads, deletes, locks go on
    lock_wait_timeout_s         the waiting transaction is aborted (`LockTimeout`)
    idle_transaction_timeout_s  the idle transaction is aborted (`IdleTimeout`)
    snapshot_log_bytes          a snapshot is written, so that the log can be cut
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from sdkit.arguments import check_between, check_one_of
from sdkit.errors import InvalidArgument

Durability = Literal["sync", "interval", "os", "none"]
Serializable = Literal["optimistic", "locking"]

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
DAY_S: Final = 86_400.0


@dataclass(frozen=True, kw_only=True)
class StoreConfig:
    """How a store behaves.

    Args:
        durability: what a commit waits for. ``sync``: it is on the disk.
            ``interval``: it is with the operating system, which syncs every
            ``interval_s``. ``os``: it is with the operating system. ``none``:
            nothing; it is written in the background.
        interval_s: the most that ``interval`` loses when power fails.
        serializable: how the level of that name is kept. ``optimistic``: nobody
            waits to read, and now and then somebody is aborted for nothing.
            ``locking``: writers wait for readers, readers for writers.
        lock_wait_timeout_s: how long a statement waits for a lock.
        idle_transaction_timeout_s: how long a transaction may go without a
            statement; it ends within a quarter more.
        transactions_max: open at the same time.
        key_bytes_max: how long one key may be.
        value_bytes_max: how long one value may be.
        transaction_bytes_max: what one transaction may write and lock, overhead
            included; it also bounds its record in the log, and how long its
            commit occupies the event loop.
        max_bytes: the memory for data, old versions, uncommitted writes and
            locks. Deletes and locks are refused only where what is uncommitted
            takes all of it alone.
        snapshot_log_bytes: a snapshot is due when the log has grown by this
            much, and by as much as the last snapshot was large.
        segment_bytes: size at which the log begins a new file.
    """

    durability: Durability = "sync"
    interval_s: float = 0.1
    serializable: Serializable = "optimistic"
    lock_wait_timeout_s: float = 10.0
    idle_transaction_timeout_s: float = 60.0
    transactions_max: int = 10_000
    key_bytes_max: int = 1 * KIB
    value_bytes_max: int = 1 * MIB
    transaction_bytes_max: int = 16 * MIB
    max_bytes: int = 1 * GIB
    snapshot_log_bytes: int = 64 * MIB
    segment_bytes: int = 64 * MIB

    def __post_init__(self) -> None:
        check_one_of("durability", self.durability, get_args(Durability))
        check_one_of("serializable", self.serializable, get_args(Serializable))
        check_between("interval_s", self.interval_s, 0.001, DAY_S)
        check_between("lock_wait_timeout_s", self.lock_wait_timeout_s, 0.001, DAY_S)
        check_between("idle_transaction_timeout_s", self.idle_transaction_timeout_s, 0.001, DAY_S)
        check_between("transactions_max", self.transactions_max, 1, 1_000_000)
        check_between("key_bytes_max", self.key_bytes_max, 1, 1 * MIB)
        check_between("value_bytes_max", self.value_bytes_max, 1, 64 * MIB)
        check_between("transaction_bytes_max", self.transaction_bytes_max, 1 * KIB, 256 * MIB)
        largest = self.transaction_bytes_max - 2 * self.key_bytes_max - KIB  # and its lock
        check_between("value_bytes_max", self.value_bytes_max, 1, largest)
        check_between("max_bytes", self.max_bytes, 1 * KIB, 1 << 50)
        check_between("snapshot_log_bytes", self.snapshot_log_bytes, 4 * KIB, 1 << 50)
        check_between("segment_bytes", self.segment_bytes, 4 * KIB, 1 << 40)


def check_config(config: object, kind: type[StoreConfig] = StoreConfig) -> None:
    """Refuse what is given in place of a config; None stands for the defaults.

    Raises:
        InvalidArgument: naming what was given and what is wanted.
    """
    if config is not None and not isinstance(config, kind):
        raise InvalidArgument(
            f"config is of type {type(config).__name__}; it must be a {kind.__name__}, "
            f"as in {kind.__name__}(durability='sync')"
        )
