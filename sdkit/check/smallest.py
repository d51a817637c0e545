"""The smallest checker: look for an order of the calls that explains every answer.

Clients call a register at the same time. Each writes down its calls and their answers: the
*history*. A correct register carries out the calls one after another, each at one instant
between its beginning and its end. The history does not show these instants. So the checker
tries every order. If *one* fits the times and the answers, the register may be correct. If
none fits, it is wrong. This is linearizability (Herlihy and Wing, 1990).

    $ python -m sdkit.check.smallest
    a writes 1 from 0 to 4, and b reads 1 from 1 to 2: possible, as a b
    ... c reads None from 1 to 3: possible, as c a b
    ... c reads None from 3 to 5: impossible
    the answer to a's write of 1 is lost; b reads None, c reads 1 later: possible, as b a c
    the same, and d reads None after that: impossible
    5 writes at once, and a read of another value: impossible, 326 steps
    6 writes at once, and a read of another value: impossible, 1,957 steps
    7 writes at once, and a read of another value: impossible, 13,700 steps

What it gets wrong, and where that is answered
    1. It knows registers only. `models` has maps, queues, locks, logs, counters and sets.
    2. Each further call multiplies the steps. `search` remembers where it has been. (No
       property sees it: it is only slow.)
    3. All keys are one history. `linearizability` judges each key alone, which gives the
       same verdict sooner. (No property either.)
    4. It does not say why no order fits. `reason` finds a few calls that contradict each
       other. (The specification asks for verdicts.)
    5. Transactions are more than calls: `isolation` finds their anomalies. (They have a
       specification of their own.)

The specification of checkers is run against this file. It fails at number 1 only
(``tests/check/test_smallest.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass
class Call:
    """One call of one client: its request, its answer and its times."""

    client: str
    op: str  # "write", "read" or "cas" (compare and set: its argument is old and new)
    argument: object
    result: object
    start: float
    end: float = inf  # inf: no answer came, and the call may not have happened


class SmallestChecker:
    """A checker of one register: finds an order of its calls that explains every answer."""

    def __init__(self) -> None:
        self.steps = 0

    def explain(self, calls: list[Call], value: object = None) -> list[Call] | None:
        """Find such an order. Returns None if there is none.

        Args:
            calls: in the order of their beginnings. A call without an answer may be left out.
            value: what the register holds before them.
        """
        self.steps += 1
        if all(call.end == inf for call in calls):
            return []
        for at, call in enumerate(calls):
            others = calls[:at] + calls[at + 1 :]
            if must_wait(call, calls[:at], others):
                continue
            after, answer = do(call, value)
            if call.end == inf or answer == call.result:
                rest = self.explain(others, after)
                if rest is not None:
                    return [call, *rest]
        return None


def must_wait(call: Call, begun_before: list[Call], others: list[Call]) -> bool:
    """Whether one of ``others`` was over when ``call`` began. A client makes one call at a time."""
    return any(other.end < call.start for other in others) or any(
        other.client == call.client and other.end < inf for other in begun_before
    )


def do(call: Call, value: object) -> tuple[object, object]:
    """Apply ``call`` to a register that holds ``value``: its new value, and the answer."""
    if call.op == "read":
        return value, value
    if call.op == "write":
        return call.argument, None
    assert isinstance(call.argument, tuple)
    old, new = call.argument
    return (new, True) if value == old else (value, False)


def verdict(calls: list[Call]) -> str:
    """The verdict on a history, in words."""
    order = SmallestChecker().explain(calls)
    if order is None:
        return "impossible"
    return "possible, as " + " ".join(call.client for call in order)


def main() -> None:
    """Show it at work."""
    write, read = Call("a", "write", 1, None, 0, 4), Call("b", "read", None, 1, 1, 2)
    print(f"a writes 1 from 0 to 4, and b reads 1 from 1 to 2: {verdict([write, read])}")
    for start, end in ((1, 3), (3, 5)):
        calls = sorted([write, read, Call("c", "read", None, None, start, end)], key=begins)
        print(f"... c reads None from {start} to {end}: {verdict(calls)}")

    lost = [Call("a", "write", 1, None, 0), Call("b", "read", None, None, 1, 2)]
    lost.append(Call("c", "read", None, 1, 3, 4))
    said = "the answer to a's write of 1 is lost; b reads None, c reads 1 later"
    print(f"{said}: {verdict(lost)}")
    lost.append(Call("d", "read", None, None, 5, 6))
    print(f"the same, and d reads None after that: {verdict(lost)}")

    for count in (5, 6, 7):
        checker = SmallestChecker()
        writes = [Call(str(number), "write", number, None, 0, 1) for number in range(count)]
        order = checker.explain([*writes, Call("b", "read", None, "another", 2, 3)])
        found = "impossible" if order is None else "possible"
        print(
            f"{count} writes at once, and a read of another value: {found}, {checker.steps:,} steps"
        )


def begins(call: Call) -> float:
    """When ``call`` was made."""
    return call.start


if __name__ == "__main__":
    main()
