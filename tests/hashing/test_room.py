"""Hashing from outside: the same everywhere, alone in a program, and what it refuses."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from sdkit.errors import InvalidArgument, InvalidState, LimitExceeded, Rejected
from sdkit.hashing import (
    BoundedRing,
    DuplicateNode,
    Jump,
    KetamaRing,
    Modulo,
    Placement,
    Rendezvous,
    Ring,
    Slots,
    UnknownNode,
)

SCHEMES: list[Callable[[list[str]], Placement]] = [
    Ring,
    KetamaRing,
    BoundedRing,
    Rendezvous,
    Jump,
    Slots,
    Modulo,
]


def said_only(value: object) -> str:
    """What a refusal says is its test's name."""
    return value if isinstance(value, str) else ""


scheme = pytest.mark.parametrize("make", SCHEMES, ids=lambda make: make.__name__)

TELL = """
from sdkit.hashing import BoundedRing, Jump, KetamaRing, Modulo, Rendezvous, Ring, Slots
for make in (Ring, KetamaRing, BoundedRing, Rendezvous, Jump, Slots, Modulo):
    subject = make(["a", "b", "c", "d", "e"])
    print(make.__name__, "".join(subject.owner(f"user:{number}") for number in range(24)))
"""


def test_owners_are_the_same_in_every_process_and_release() -> None:
    """No property can see this one: it needs yesterday's answers to compare with."""
    for seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", TELL],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout.splitlines() == [
            "Ring eacdbcdbddcbcaecadbedced",
            "KetamaRing ebcbeacaedabcbeebaecdabd",
            "BoundedRing eacdbcdbddcbcaecadbedced",
            "Rendezvous bceeeaeeadabadacdceebdac",
            "Jump cbecdcdcccdddcedadecbbbb",
            "Slots edcaedcaedcdabcdabcdecba",
            "Modulo bdcbbcdebbdecdbabecaaeae",
        ]


def test_each_scheme_is_imported_alone_and_type_checks(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from fractions import Fraction\n"
        "from sdkit.hashing import BoundedRing, Jump, KetamaRing, Modulo, Placement\n"
        "from sdkit.hashing import Rendezvous, Ring, Slots, slot_of\n\n"
        'nodes = ["a", "b", "c"]\n'
        "schemes: list[Placement] = [Ring(nodes), KetamaRing(nodes), BoundedRing(nodes),\n"
        "    Rendezvous({'a': 1, 'b': 2.5}), Jump(nodes), Slots(nodes), Modulo(nodes)]\n"
        'owner: str = Ring(nodes).owner("user:42")\n'
        'moved: Fraction = schemes[0].add("d")\n'
        'slot: int = slot_of(b"{user}.name")\n'
    )
    mypy = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(program)]
    done = subprocess.run(mypy, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    loaded = "import sys, sdkit.hashing; print(*sorted(sys.modules))"
    modules = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, timeout=60, check=True
    ).stdout.split()
    assert not {"asyncio", "typer", "rich", "hypothesis", "msgpack"} & set(modules)


@scheme
@pytest.mark.parametrize(
    ("nodes", "error", "said"),
    [
        ([], InvalidArgument, "nodes is empty; .* name at least one"),
        ({}, InvalidArgument, "nodes is empty"),
        (["a", "b", "a"], DuplicateNode, "node 'a' is there already; .* remove it first"),
        ("abc", InvalidArgument, "nodes is 'abc'; it must be a list of names"),
        (None, InvalidArgument, "nodes is None; it must be a list of names"),
        ([1, 2], InvalidArgument, "node is 1; it must be a name"),
        (["a", ""], InvalidArgument, "node is ''; it must be a name"),
        (["\ud800"], InvalidArgument, "has no UTF-8 form"),
        ({"a": 1, "b": 0}, InvalidArgument, "weight of node 'b' is 0; .* above 0, .* left out"),
        ({"a": -1}, InvalidArgument, "weight of node 'a' is -1"),
        ({"a": float("nan")}, InvalidArgument, "weight of node 'a' is nan"),
        ({"a": True}, InvalidArgument, "weight of node 'a' is True"),
        ({"a": "2"}, InvalidArgument, "weight of node 'a' is '2'"),
        ({"a": 10**400}, InvalidArgument, "from 1e-09 to 1e\\+09"),
        ({"a": 1e-300}, InvalidArgument, "from 1e-09 to 1e\\+09"),
    ],
)
def test_a_bad_list_of_nodes_is_named(
    make: Callable[[object], Placement], nodes: object, error: type[Rejected], said: str
) -> None:
    with pytest.raises(error, match=said):
        make(nodes)


@scheme
@pytest.mark.parametrize(
    ("attempt", "error", "said"),
    [
        (lambda s: s.add("a"), DuplicateNode, "node 'a' is there already"),
        (lambda s: s.add("c", 0), InvalidArgument, "weight of node 'c' is 0"),
        (lambda s: s.remove("x"), UnknownNode, "no node is called 'x'; there are a, b"),
        (lambda s: s.remove(["a"]), UnknownNode, r"no node is called \['a'\]"),
        (lambda s: s.owners("k", 0), InvalidArgument, "count is 0; it must lie between 1 and 2"),
        (lambda s: s.owners("k", 3), InvalidArgument, "count is 3; it must lie between 1 and 2"),
        (lambda s: s.owner(7), InvalidArgument, "key is 7, of type int; it must be str or bytes"),
        (lambda s: s.owner("\ud800"), InvalidArgument, "has no UTF-8 form .*; pass bytes instead"),
    ],
    ids=said_only,
)
def test_a_refusal_is_named_and_nothing_has_changed(
    make: Callable[[list[str]], Placement],
    attempt: Callable[[Placement], object],
    error: type[Rejected],
    said: str,
) -> None:
    subject, untouched = make(["a", "b"]), make(["a", "b"])
    with pytest.raises(error, match=said):
        attempt(subject)
    assert subject.nodes == untouched.nodes
    for number in range(50):
        assert subject.owners(f"key {number}", 2) == untouched.owners(f"key {number}", 2)


@scheme
def test_the_last_node_cannot_leave(make: Callable[[list[str]], Placement]) -> None:
    subject = make(["a"])
    with pytest.raises(InvalidArgument, match=r"node 'a' is the only one, .* add another"):
        subject.remove("a")
    assert subject.owner("key") == "a"


@scheme
def test_a_copy_answers_what_a_change_would_move(make: Callable[[list[str]], Placement]) -> None:
    subject = make(["a", "b", "c"])
    assert 0 < copy.copy(subject).add("d") < 1
    assert list(subject.nodes) == ["a", "b", "c"]
    assert subject.owners("key", 3) == make(["a", "b", "c"]).owners("key", 3)


@scheme
def test_nodes_cannot_be_changed_from_outside(make: Callable[[list[str]], Placement]) -> None:
    with pytest.raises(TypeError):
        make(["a"]).nodes["b"] = 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: Jump({"a": 2}), InvalidArgument, "knows no weight but 1; Ring, Rendezvous and"),
        (lambda: Modulo({"a": 2}), InvalidArgument, "weight of node 'a' is 2"),
        (lambda: Ring(["a"], virtual_nodes=0), InvalidArgument, "virtual_nodes is 0"),
        (lambda: Ring({"a": 1, "b": 0.001}), InvalidArgument, "'b' is 0.001; .* than one point"),
        (lambda: Ring({"a": 1e8}), LimitExceeded, "only their ratios matter"),
        (lambda: Ring(["a"], hash64=hash), InvalidArgument, "differs from process to process"),
        (lambda: Ring(["a"], hash64=lambda data: -1), InvalidArgument, "hash64 makes -1 of"),
        (lambda: Jump(["a"], hash64=lambda data: 2**64), InvalidArgument, "from 0 to 2"),
        (lambda: KetamaRing({"a": 10_000, "b": 1}), InvalidArgument, "'b' is 1 of 10001; .* never"),
        (lambda: Slots({"a": 20_000, "b": 1}), InvalidArgument, "'b' is 1 of 20001; .* one slot"),
        (lambda: Slots(map(str, range(16_385))), InvalidArgument, "have fewer nodes"),
        (
            lambda: BoundedRing(["a"], factor=0.9),
            InvalidArgument,
            "factor is 0.9; .* between 1.0 and",
        ),
        (lambda: BoundedRing(["a"], factor=float("nan")), InvalidArgument, "factor is nan"),
        (lambda: BoundedRing(["a"], factor=True), InvalidArgument, "factor is True"),
        (lambda: Ring(["a"], hash64=None), InvalidArgument, "hash64 is None"),  # type: ignore[arg-type]
        (lambda: BoundedRing(["a"]).release("a"), InvalidState, "holds nothing"),
        (lambda: BoundedRing(["a"]).capacity("b"), UnknownNode, "no node is called 'b'"),
    ],
    ids=said_only,
)
def test_what_one_scheme_refuses_is_named(
    make: Callable[[], object], error: type[Rejected], said: str
) -> None:
    with pytest.raises(error, match=said):
        make()


def test_adding_a_node_that_makes_another_too_light_is_refused() -> None:
    for subject in (KetamaRing(["a", "b"]), Slots(["a", "b"])):
        with pytest.raises(InvalidArgument, match="node 'a' is 1 of"):
            subject.add("c", 100_000)
        assert list(subject.nodes) == ["a", "b"]
        assert subject.add("c", 1) > Fraction(1, 4)


@scheme
def test_it_shows_its_nodes_at_one_look(make: Callable[[list[str]], Placement]) -> None:
    subject = make(["a"])
    kind = type(subject).__name__
    assert repr(subject) == f"<{kind}: 1 node, a>"
    for node in "bcdefg":
        subject.add(node)
    assert repr(subject) == f"<{kind}: 7 nodes, a, b, c, d, e and 2 more>"
