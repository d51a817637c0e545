"""Versions, snapshots and the vacuum: nothing that is read is lost, nothing else is kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sdkit.store.snapshots import Snapshots
from sdkit.store.vacuum import CHAIN_SLACK, Vacuum
from sdkit.store.versions import KEY_OVERHEAD_BYTES, Versions, version_bytes

KEYS = [b"a", b"b", b"c"]


class Bench:
    """Versions, their vacuum, and the plain truth: every state there ever was."""

    def __init__(self) -> None:
        self.snapshots = Snapshots()
        self.versions = Versions(self.snapshots)
        self.vacuum = Vacuum(self.versions, self.snapshots)
        self.states: list[dict[bytes, bytes]] = [{}]

    @property
    def now(self) -> int:
        return len(self.states) - 1

    def commit(self, key: bytes, value: bytes | None) -> None:
        state = dict(self.states[-1])
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value
        self.states.append(state)
        self.versions.install(key, self.now, value)
        self.vacuum.collect()

    def end(self, position: int) -> None:
        self.vacuum.ended(oldest=self.snapshots.drop(position))

    def check(self) -> None:
        for at in {*self.snapshots.positions, self.now}:
            for key in KEYS:
                assert self.versions.read(key, at) == self.states[at].get(key)
        queue = self.vacuum._queue
        assert len(set(queue)) == len(queue), "a key stands in the queue twice"
        dirty = {
            key
            for key, (_, value, older) in self.versions.newest.items()
            if older is not None or value is None
        }
        assert set(queue) == dirty | self.versions.cleaned
        assert not dirty & self.versions.cleaned
        assert list(self.versions.keys) == sorted(self.versions.newest)
        chains = [self.versions.chain(key) for key in self.versions.newest]
        assert self.versions.superseded == sum(len(chain) - 1 for chain in chains)
        assert self.versions.tombstones == sum(chain[0][1] is None for chain in chains)
        assert self.versions.bytes == sum(
            KEY_OVERHEAD_BYTES + len(key) + sum(map(version_bytes, self.versions.chain(key)))
            for key in self.versions.newest
        )


steps = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.sampled_from(KEYS), st.none() | st.binary(max_size=2)),
        st.just(("take",)),
        st.tuples(st.just("end"), st.integers(0, 5)),
        st.tuples(st.just("step"), st.integers(1, 3)),
    ),
    min_size=10,
    max_size=80,
)


def follow(bench: Bench, program: list[tuple[object, ...]]) -> None:
    for step in program:
        match step:
            case ("commit", bytes() as key, value):
                assert value is None or isinstance(value, bytes)
                bench.commit(key, value)
            case ("take",):
                bench.snapshots.take(bench.now)
            case ("end", int() as index) if bench.snapshots.positions:
                positions = bench.snapshots.positions
                bench.end(positions[index % len(positions)])
            case ("step", int() as visits):
                bench.vacuum.step(visits)


@given(steps)
def test_every_snapshot_reads_its_state_whatever_is_written_and_cleaned(
    program: list[tuple[object, ...]],
) -> None:
    bench = Bench()
    for step in program:
        follow(bench, [step])
        bench.check()


@given(steps)
def test_a_chain_is_no_longer_than_its_readers_need(program: list[tuple[object, ...]]) -> None:
    bench = Bench()
    follow(bench, program)
    bound = 2 * len(bench.snapshots.positions) + CHAIN_SLACK
    peak = 2 * sum(step == ("take",) for step in program) + CHAIN_SLACK
    for key in KEYS:
        assert len(bench.versions.chain(key)) <= max(bound, peak) + 1


@given(steps)
def test_when_the_last_reader_has_gone_nothing_old_is_left(
    program: list[tuple[object, ...]],
) -> None:
    bench = Bench()
    follow(bench, program)
    while bench.snapshots.positions:
        bench.end(bench.snapshots.positions[0])
    bench.vacuum.step(bench.vacuum.due)
    assert bench.vacuum.held == bench.vacuum.queued == 0
    assert set(bench.versions.newest) == set(bench.states[-1])
    assert all(len(bench.versions.chain(key)) == 1 for key in bench.versions.newest)


def test_a_long_reader_does_not_keep_what_only_others_could_have_seen() -> None:
    """The picture in `sdkit.store.vacuum`."""
    bench = Bench()
    positions = {20: b"20", 60: b"60", 95: b"95", 130: b"130"}
    for position, value in positions.items():
        bench.snapshots.take(position - 1)  # so that every version is kept at first
        bench.versions.install(b"k", position, value)
    for position in positions:
        bench.snapshots.drop(position - 1)
    for reader in (25, 100):
        bench.snapshots.positions.append(reader)
    bench.vacuum.collect()
    bench.vacuum.clean(b"k")
    assert [at for at, _, _ in bench.versions.chain(b"k")] == [130, 95, 20]


def test_without_readers_an_update_leaves_nothing_for_the_vacuum() -> None:
    bench = Bench()
    for number in range(100):
        bench.commit(b"a", b"%d" % number)
    bench.commit(b"a", None)
    assert not bench.versions.newest
    assert bench.vacuum.queued == 0
    assert bench.versions.bytes == 0


def test_a_key_written_again_and_again_among_overlapping_readers_stays_short() -> None:
    bench = Bench()
    bench.snapshots.take(0)  # a report that runs all night
    for number in range(1_000):
        bench.commit(b"a", b"%d" % number)
        bench.snapshots.take(bench.now)
        if number >= 3:
            bench.end(bench.now - 3)
    assert len(bench.versions.chain(b"a")) <= 2 * 5 + CHAIN_SLACK + 1


def test_a_key_deleted_and_put_again_and_again_stands_in_the_queue_once() -> None:
    for begun in (0, 1):  # the reader sees nothing, or a value
        bench = Bench()
        for _ in range(begun):
            bench.commit(b"a", b"0")
        bench.snapshots.take(bench.now)
        for _ in range(100):
            bench.commit(b"a", b"1")
            bench.commit(b"a", None)
        assert bench.vacuum.queued == 1


def test_a_lap_of_the_vacuum_makes_as_many_visits_as_it_is_asked_for() -> None:
    bench = Bench()
    keys = [b"%03d" % number for number in range(100)]
    for key in keys:
        bench.commit(key, b"old")
    reader = bench.snapshots.take(bench.now)
    for key in keys:
        bench.commit(key, b"new")
    assert bench.vacuum.held == 100
    bench.end(reader)
    bench.vacuum.step(30)
    assert (bench.vacuum.held, bench.vacuum.due, bench.vacuum.removed) == (70, 70, 30)


def test_the_end_of_a_reader_that_is_not_the_oldest_owes_few_visits() -> None:
    bench = Bench()
    bench.snapshots.take(0)
    for number in range(100):
        bench.commit(b"%03d" % number, b"1")
    young = bench.snapshots.take(bench.now)
    for number in range(100):
        bench.commit(b"%03d" % number, b"2")
    bench.end(young)
    assert bench.vacuum.due == 4
