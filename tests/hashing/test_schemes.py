"""What others have published about each scheme, and what its file claims."""

from __future__ import annotations

import copy
import math
import random
import statistics
from bisect import bisect_left
from fractions import Fraction
from hashlib import md5

import pytest
from redis.crc import key_slot
from uhashring import HashRing

from sdkit.errors import InvalidArgument
from sdkit.hashing import (
    BoundedRing,
    Jump,
    KetamaRing,
    Modulo,
    Rendezvous,
    Ring,
    Slots,
    jump_bucket,
    slot_of,
)
from sdkit.hashing.circle import Circle, moved

# ── modulo ───────────────────────────────────────────────────────────────────


def test_the_picture_of_modulo() -> None:
    before = Modulo(["a", "b", "c"], hash64=lambda key: int.from_bytes(key, "big"))
    after = Modulo(["a", "b", "c", "d"], hash64=lambda key: int.from_bytes(key, "big"))
    rows = ["".join(each.owner(bytes([n])) for n in range(12)) for each in (before, after)]
    assert rows == ["abcabcabcabc", "abcdabcdabcd"]
    assert before.add("d") == 1 - Fraction(3, 12)


@pytest.mark.parametrize("count", [2, 3, 7, 10])
def test_the_share_that_modulo_moves_is_counted_over_a_whole_period(count: int) -> None:
    def number(key: bytes) -> int:
        return int.from_bytes(key, "big")

    nodes = [f"node {n}" for n in range(count)]
    for leaving in nodes:
        subject = Modulo(nodes, hash64=number)
        keys = [n.to_bytes(2, "big") for n in range(count * (count - 1))]
        before = [subject.owner(key) for key in keys]
        told = subject.remove(leaving)
        differ = sum(subject.owner(key) != owner for key, owner in zip(keys, before, strict=True))
        assert told == Fraction(differ, len(keys))


# ── circle and ring ──────────────────────────────────────────────────────────


def test_a_position_belongs_to_the_first_point_at_or_after_it_and_past_the_last_to_the_first() -> (
    None
):
    circle = Circle([(3, "a"), (5, "b"), (8, "c")], bits=4)
    assert "".join(circle.owner_at(position) for position in range(16)) == "aaaabbcccaaaaaaa"
    assert list(circle.walk(4)) == ["b", "c", "a"]
    assert circle.shares() == {"a": Fraction(11, 16), "b": Fraction(2, 16), "c": Fraction(3, 16)}


def test_the_table_of_parts_finds_what_a_search_of_all_points_finds() -> None:
    rng = random.Random(0)
    for bits in (1, 4, 10):
        for count in (1, 2, 3, 8, 40):
            circle = Circle([(rng.randrange(2**bits), "a") for _ in range(count)], bits=bits)
            for position in range(2**bits):
                assert circle.index(position) == bisect_left(circle.points, position)


def test_what_moves_is_counted_position_by_position() -> None:
    before = Circle([(3, "a"), (5, "b"), (8, "c")], bits=4)
    for after in (
        Circle([(3, "a"), (4, "d"), (5, "b"), (8, "c"), (9, "d")], bits=4),
        Circle([(0, "b")], bits=4),
        Circle([(15, "b"), (2, "a")], bits=4),
        before.without(["a"]),
    ):
        differ = sum(before.owner_at(p) != after.owner_at(p) for p in range(16))
        assert moved(before, after) == moved(after, before) == Fraction(differ, 16)


def test_of_two_nodes_at_one_point_the_other_is_there_when_the_first_leaves() -> None:
    circle = Circle([(5, "b"), (5, "a"), (9, "c")], bits=4)
    assert circle.owner_at(4) == "a"
    assert circle.without(["a"]).owner_at(4) == "b"


def test_the_shares_of_a_ring_add_up_and_are_what_a_change_moves() -> None:
    ring = Ring({"a": 1, "b": 2, "c": 0.5})
    assert sum(ring.shares().values()) == 1
    assert ring.add("d") == ring.shares()["d"]
    leaving = ring.shares()["b"]
    assert ring.remove("b") == leaving


@pytest.mark.parametrize(("virtual_nodes", "strays"), [(30, 0.18), (160, 0.08)])
def test_a_share_strays_by_one_over_the_root_of_the_virtual_nodes(
    virtual_nodes: int, strays: float
) -> None:
    nodes = [f"node {number}" for number in range(200)]
    shares = Ring(nodes, virtual_nodes=virtual_nodes).shares().values()
    found = statistics.pstdev(float(share) * len(nodes) for share in shares)
    assert found == pytest.approx(1 / math.sqrt(virtual_nodes), rel=0.15)
    assert found == pytest.approx(strays, abs=0.02)


def test_with_one_point_each_the_longest_of_ten_arcs_is_three_times_the_mean() -> None:
    longest = [
        10 * float(max(Ring([f"{draw}/{n}" for n in range(10)], virtual_nodes=1).shares().values()))
        for draw in range(400)
    ]
    assert statistics.mean(longest) == pytest.approx(2.93, abs=0.15)


# ── ketama ───────────────────────────────────────────────────────────────────

SERVERS = {
    f"10.0.1.{number}:11211": memory
    for number, memory in enumerate([600, 300, 200, 350, 1000, 800, 950, 100], start=1)
}


def answers_of_libketama(count: int) -> bytes:
    """What its test program prints: for each key its hash, the point that owns it, the server."""
    circle = KetamaRing(SERVERS)._circle
    points, owners, lines = [*circle.points, circle.points[0]], circle.owners, [""]
    for number in range(count):
        position = int.from_bytes(md5(b"%d" % number).digest()[:4], "little")
        index = bisect_left(circle.points, position)
        lines.append(f"{position} {points[index]} {owners[index]}")
    return "\n".join([*lines, ""]).encode()


def test_a_thousand_answers_are_those_of_libketama() -> None:
    """The digest in MediaWiki's tests, which was taken from the C code."""
    answers = answers_of_libketama(1_000)
    assert md5(answers).hexdigest() == "d1a4912a80e4654ec2e4e462c8b911c6"
    ring = KetamaRing(SERVERS)
    for number, line in enumerate(answers.decode().splitlines()[1:]):
        assert ring.owner(str(number)) == line.split()[-1]


def test_a_million_answers_are_those_of_libketama() -> None:
    """The digest in libketama's own ``test.sh``."""
    assert md5(answers_of_libketama(1_000_000)).hexdigest() == "5672b131391f5aa2b280936aec1eea74"


def test_the_points_of_equal_nodes_are_those_of_uhashring() -> None:
    for count in (1, 3, 10, 41):
        nodes = [f"10.0.0.{number}:11211" for number in range(count)]
        circle = KetamaRing(nodes)._circle
        ours = dict(zip(circle.points, circle.owners, strict=False))
        assert len(circle.points) == 160 * count
        assert sorted(ours.items()) == HashRing(nodes, hash_fn="ketama").get_points()


def test_a_weighted_node_that_joins_moves_keys_between_others_in_ketama_only() -> None:
    for make, others_too in ((KetamaRing, True), (Ring, False)):
        ring = make({server: memory / 100 for server, memory in SERVERS.items()})
        keys = [f"user:{number}" for number in range(2_000)]
        before = [ring.owner(key) for key in keys]
        ring.add("10.0.1.9:11211", 50)
        takers = {ring.owner(k) for k, o in zip(keys, before, strict=True) if ring.owner(k) != o}
        assert (takers != {"10.0.1.9:11211"}) is others_too


# ── bounded ──────────────────────────────────────────────────────────────────


def test_the_picture_of_bounded() -> None:
    ring = BoundedRing(["a", "b", "c"], factor=1.25)
    by_owner = {ring.owner(f"key {n}"): f"key {n}" for n in range(50)}
    for node, count in (("b", 1), ("c", 2), ("a", 5)):
        ring._held[node] = count
    ring._weigh()
    assert [ring.capacity(node) for node in "abc"] == [4, 4, 4]
    assert ring.owner(by_owner["a"]) != "a"
    assert ring.shares()["a"] == 0


def test_what_a_full_node_does_not_serve_counts_as_moved_when_it_leaves() -> None:
    ring = BoundedRing(["a", "b", "c"], factor=1)
    for _ in range(30):
        ring.acquire("hot")
    assert set(ring.held.values()) == {10}
    ring.release("b")
    assert ring.shares() == {"a": 0, "b": 1, "c": 0}
    assert ring.remove("c") == 0  # it served nothing new
    assert ring.held["c"] == 10


def test_a_copy_of_a_bounded_ring_holds_what_it_is_given_itself() -> None:
    ring = BoundedRing(["a", "b"])
    ring.acquire("key")
    copied = copy.copy(ring)
    copied.acquire("key")
    assert (sum(ring.held.values()), sum(copied.held.values())) == (1, 2)


# ── rendezvous ───────────────────────────────────────────────────────────────


def test_bids_survive_the_smallest_and_the_largest_hash() -> None:
    for value in (0, 2**64 - 1):
        subject = Rendezvous({"a": 1, "b": 2}, hash64=lambda _, value=value: value)  # type: ignore[misc]
        assert subject.owners("key", 2) == ["b", "a"]
        subject.add("c", 2)
        assert subject.owner("key") == "c"  # a tie goes to the later name


def test_multiplied_bids_would_make_three_of_two() -> None:
    """The claim of the lesson: P(2x > y) for uniform x and y is 3/4, not 2/3."""
    steps = 200
    larger = sum(2 * x > y for x in range(steps) for y in range(steps))
    assert larger / steps**2 == pytest.approx(0.75, abs=0.01)


def test_the_share_of_a_weight_is_exact() -> None:
    subject = Rendezvous({"a": 1, "b": 0.5})
    assert subject.add("c", 2.5) == Fraction(5, 8)
    assert subject.remove("b") == Fraction(1, 8)


# ── jump ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("key", "buckets", "bucket"),
    [
        (1, 1, 0),
        (42, 57, 43),
        (0xDEAD10CC, 1, 0),
        (0xDEAD10CC, 666, 361),
        (256, 1024, 520),
        (0, 60, 0),
        (1, 60, 55),
        (2, 60, 46),
    ],
)
def test_the_vectors_that_other_jump_hashes_share(key: int, buckets: int, bucket: int) -> None:
    assert jump_bucket(key, buckets) == bucket


def test_the_picture_of_jump() -> None:
    pictured = [0, 0, 2, 2, 2, 5, 5, 5]
    key = next(k for k in range(1000) if [jump_bucket(k, b) for b in range(1, 9)] == pictured)
    assert jump_bucket(key, 6) == 5


def test_a_key_jumps_forward_only_and_only_into_the_new_bucket() -> None:
    for key in range(0, 2**64, 2**64 // 200):
        before = 0
        for buckets in range(2, 60):
            bucket = jump_bucket(key, buckets)
            assert bucket in (before, buckets - 1)
            before = bucket


def test_a_jump_that_is_none_is_refused() -> None:
    for key, buckets in ((-1, 1), (2**64, 1), (0, 0), (0, 2**31 + 1)):
        with pytest.raises(InvalidArgument, match=r"(key|buckets) is"):
            jump_bucket(key, buckets)


def test_the_last_node_leaves_jump_cheaply_and_another_does_not() -> None:
    nodes = [f"node {number}" for number in range(10)]
    assert Jump(nodes).remove("node 9") == Fraction(1, 10)
    assert Jump(nodes).remove("node 3") == Fraction(1, 10) + Fraction(8, 90)


# ── slots ────────────────────────────────────────────────────────────────────


def test_the_slots_of_the_redis_cluster_specification() -> None:
    assert slot_of("123456789") == 0x31C3 % 16_384
    assert slot_of("{user1000}.following") == slot_of("{user1000}.followers")
    assert slot_of("{user1000}.following") == slot_of("user1000")
    assert slot_of("foo{}{bar}") != slot_of("bar")
    assert slot_of("foo{{bar}}zap") == slot_of("{bar")
    assert slot_of("foo{bar}{zap}") == slot_of("bar")


def test_a_slot_is_the_one_that_redis_py_calculates() -> None:
    rng = random.Random(0)
    drawn = ["".join(rng.choices("ab{}", k=rng.randrange(9))) for _ in range(1_000)]
    for key in ["", "{", "}", "{}", "{}{a}", "}{", "}a{b}", "{{a}}", "x{y}z{w}", "größe", *drawn]:
        assert slot_of(key) == key_slot(key.encode()), key


def test_a_table_of_three_is_cut_as_redis_cli_cuts_it() -> None:
    slots = Slots(["a", "b", "c"])
    runs = [(slots.slots(node)[0], slots.slots(node)[-1]) for node in "abc"]
    assert runs == [(0, 5460), (5461, 10922), (10923, 16383)]


def test_a_node_that_joins_the_slots_gets_its_part_and_all_stay_even() -> None:
    slots = Slots(["a", "b", "c"])
    assert slots.add("d") == Fraction(4096, 16_384)
    assert [len(slots.slots(node)) for node in "abcd"] == [4096] * 4
    assert slots.remove("a") == Fraction(4096, 16_384)
    assert sorted(len(slots.slots(node)) for node in "bcd") == [5461, 5461, 5462]
    slots.add("heavy", 3)
    assert len(slots.slots("heavy")) == 8192
    assert slots.slots("nobody") == []
