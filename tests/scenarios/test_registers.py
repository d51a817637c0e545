"""The witness of `registers` notices who is overtaken, and nothing else."""

from __future__ import annotations

from sdkit.scenarios.registers import Queues
from sdkit.store.interface import Isolation, TransactionInfo

KEY = b"register/0"


def waiting(number: int, *behind: int, key: bytes = KEY) -> TransactionInfo:
    return info(number, [], key, list(behind))


def holding(number: int) -> TransactionInfo:
    return info(number, [KEY], None, [])


def info(number: int, locks: list[bytes], key: bytes | None, behind: list[int]) -> TransactionInfo:
    state = "active" if key is None else "waiting"
    level = Isolation.READ_COMMITTED
    return TransactionInfo(number, level, False, state, None, 0.1, locks, key, behind)


def overtaken(*looks: list[TransactionInfo]) -> int:
    queues = Queues()
    for look in looks:
        queues.look(look)
    return len(queues.overtaken)


def test_the_later_one_gets_the_lock_and_the_earlier_one_waits() -> None:
    assert overtaken([holding(1), waiting(2, 1), waiting(3, 1, 2)], [waiting(2, 3), holding(3)])


def test_in_order_nobody_is_overtaken() -> None:
    first = [holding(1), waiting(2, 1), waiting(3, 1, 2)]
    assert not overtaken(first, [holding(2), waiting(3, 2)], [holding(3)])


def test_who_has_left_the_queue_is_not_overtaken() -> None:
    assert not overtaken([holding(1), waiting(2, 1), waiting(3, 1, 2)], [holding(3)])


def test_who_waits_for_another_key_now_is_not_overtaken() -> None:
    first = [holding(1), waiting(2, 1), waiting(3, 1, 2)]
    assert not overtaken(first, [holding(3), waiting(2, 1, key=b"register/1")])


def test_after_a_restart_the_numbers_mean_others() -> None:
    queues = Queues()
    queues.look([holding(1), waiting(2, 1), waiting(3, 1, 2)])
    queues.forget()
    queues.look([waiting(2, 3), holding(3)])
    assert not queues.overtaken
