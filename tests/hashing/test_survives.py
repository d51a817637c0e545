"""What a placement survives: threads that look up, changes while it is read, copies."""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sdkit.errors import InvalidArgument, InvalidState, LimitExceeded, Rejected
from sdkit.hashing import (
    BoundedRing,
    Jump,
    KetamaRing,
    Modulo,
    Placement,
    Rendezvous,
    Ring,
    Slots,
    UnknownNode,
    placement,
)
from sdkit.hashing.placement import check_count

SCHEMES: list[Callable[[list[str]], Any]] = [
    Ring,
    KetamaRing,
    BoundedRing,
    Rendezvous,
    Jump,
    Modulo,
    Slots,
]
KEYS = [f"key {number}" for number in range(100)]
scheme = pytest.mark.parametrize("make", SCHEMES)


@pytest.mark.parametrize("make", [Ring, KetamaRing, Rendezvous, Jump, Modulo, Slots])
def test_threads_that_look_up_during_a_change_see_the_state_before_or_after(
    make: Callable[[list[str]], Placement],
) -> None:
    subject = make(["a", "b"])
    before = {key: subject.owners(key, 2) for key in KEYS}
    subject.add("c")
    after = {key: subject.owners(key, 2) for key in KEYS}
    subject.remove("c")
    over, wrong = threading.Event(), list[object]()

    def look() -> None:
        while not over.is_set():
            for key in KEYS:
                seen = subject.owners(key, 2)
                # The table of slots depends on the past: all that can be said is "two nodes".
                is_right = (
                    len(set(seen)) == 2 if make is Slots else seen in (before[key], after[key])
                )
                if not is_right:
                    wrong.append((key, seen))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=look) for _ in range(2)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(5):
            subject.add("c")
            subject.remove("c")
    finally:
        over.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert wrong == []


@pytest.mark.parametrize(
    ("make", "module"), [(make, sys.modules[make.__module__]) for make in (Ring, Rendezvous, Slots)]
)
def test_a_node_that_leaves_while_owners_are_counted_ends_in_a_refusal_and_not_in_fewer(
    make: Callable[[list[str]], Placement], module: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = make(["a", "b", "c"])

    def and_then_one_leaves(count: int, nodes: Any) -> None:
        check_count(count, nodes)
        if "c" in subject.nodes:
            subject.remove("c")

    monkeypatch.setattr(module, "check_count", and_then_one_leaves)
    with pytest.raises(InvalidArgument, match="count is 3"):
        subject.owners("key", 3)


@scheme
def test_nodes_that_are_read_during_a_change_are_those_before_it(
    make: Callable[[list[str]], Placement],
) -> None:
    subject = make(["a", "b"])
    seen = []
    for node in subject.nodes:
        subject.add(node + "'")
        seen.append(node)
    assert seen == ["a", "b"]
    assert list(subject.nodes) == ["a", "b", "a'", "b'"]


@scheme
def test_a_copy_and_a_pickle_answer_alike_and_change_alone(
    make: Callable[[list[str]], Placement],
) -> None:
    subject = make(["a", "b", "c"])
    said = [subject.owner(key) for key in KEYS]
    for other in (
        copy.copy(subject),
        copy.deepcopy(subject),
        pickle.loads(pickle.dumps(subject)),
    ):
        assert [other.owner(key) for key in KEYS] == said
        other.add("d")
        other.remove("a")
        assert [subject.owner(key) for key in KEYS] == said
        assert list(subject.nodes) == ["a", "b", "c"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@scheme
def test_a_forked_child_answers_as_its_parent(make: Callable[[list[str]], Placement]) -> None:
    subject = make(["a", "b", "c"])
    said = "".join(subject.owner(key) for key in KEYS)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, "".join(subject.owner(key) for key in KEYS).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read().decode() == said
    os.waitpid(child, 0)


@scheme
def test_names_without_end_are_refused(
    make: Callable[[Any], Placement], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "NODES_MAX", 100)
    with pytest.raises(LimitExceeded, match="more than 100 nodes"):
        make(f"node {number}" for number in itertools.count())


def test_what_is_no_name_holds_nothing() -> None:
    ring: Any = BoundedRing(["a"])
    wrongs: list[object] = [[], None, 7, b"a", {}]
    for wrong in wrongs:
        with pytest.raises(InvalidState, match="holds nothing"):
            ring.release(wrong)
        with pytest.raises(UnknownNode):
            ring.capacity(wrong)


@scheme
def test_what_is_refused_may_be_huge_and_the_message_is_not(
    make: Callable[[list[str]], Any],
) -> None:
    subject, long = make(["a", "b"]), "x" * 1_000_000
    subject.add(long)
    refusals: list[Callable[[], object]] = [
        lambda: subject.owner(10**5_000),
        lambda: subject.owner([long]),
        lambda: subject.owner(long + "\ud800"),
        lambda: subject.add([long]),
        lambda: subject.add(long),
        lambda: subject.add("c", 10**5_000),
        lambda: subject.remove(10**5_000),
        lambda: subject.remove([long]),
        lambda: subject.remove("c"),
        lambda: make([10**5_000]),  # type: ignore[list-item]
        lambda: make(long),  # type: ignore[arg-type]
    ]
    for refused in refusals:
        with pytest.raises(Rejected) as told:
            refused()
        assert len(str(told.value)) < 500
