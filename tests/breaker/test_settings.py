"""Shared settings: what a document may say, and breakers that go on without it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sdkit.breaker import (
    Backoff,
    Breaker,
    BreakerConfig,
    ConsecutiveFailures,
    FailureRate,
    Following,
    State,
    parse,
)
from sdkit.breaker.states import Trigger
from sdkit.errors import InvalidArgument
from sdkit.sim.loop import run
from sdkit.trace import listening

NOTES = b"""{
  "profile-service": {
    "status": "open",
    "failure_threshold": 50,
    "timeout": 60,
    "half_open_requests": 5
  },
  "post-service": {
    "status": "closed",
    "failure_threshold": 50,
    "timeout": 60
  }
}"""


def document(**entries: Any) -> bytes:
    return json.dumps(entries).encode()


def test_the_example_of_the_notes_is_read_and_open_is_an_operators_word() -> None:
    settings = parse(NOTES)
    assert not settings.bad
    profile, post = settings.good["profile-service"], settings.good["post-service"]
    assert profile.config == BreakerConfig(trip=FailureRate(50), open_s=60, half_open_calls=5)
    assert profile.force is Trigger.FORCE_OPEN
    assert post.config == BreakerConfig(trip=FailureRate(50), open_s=60)
    assert post.force is None, "closed means: as calls and time make it"


def test_everything_that_a_breaker_can_be_told_can_be_said_in_a_document() -> None:
    said = {
        "failure_percent": 20,
        "window_s": 30,
        "calls_min": 5,
        "slow_call_s": 2,
        "open_s": 7,
        "open_growth": 3,
        "open_max_s": 70,
        "open_jitter": 0,
        "half_open_calls": 4,
        "half_open_successes": 6,
        "half_open_s": 8,
        "status": "metrics only",
    }
    setting = parse(document(it=said)).good["it"]
    assert setting.force is Trigger.MEASURE_ONLY
    assert setting.config == BreakerConfig(
        trip=FailureRate(20, window_s=30, calls_min=5),
        slow_call_s=2,
        open_s=7,
        open_growth=3,
        open_max_s=70,
        open_jitter=0,
        half_open_calls=4,
        half_open_successes=6,
        half_open_s=8,
    )
    in_a_row = parse(document(it={"consecutive_failures": 10})).good["it"]
    assert in_a_row.config.trip == ConsecutiveFailures(10)


def test_what_an_entry_does_not_say_stays_as_the_breaker_was_made() -> None:
    made = BreakerConfig(trip=FailureRate(50, window_s=10.0), open_s=3.0)
    settings = parse(document(it={"failure_percent": 20}), {"it": made})
    assert settings.good["it"].config == BreakerConfig(
        trip=FailureRate(20, window_s=10.0), open_s=3.0
    )
    settings = parse(document(it={"window_calls": 40}), {"it": made})
    assert settings.good["it"].config.trip == FailureRate(50, window_calls=40)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"failure_threshold": 150}, "percent is 150"),
        ({"failure_threshold": 50, "failure_percent": 50}, "say the same; leave one out"),
        ({"failure_percnt": 50}, "failure_percnt is no setting; did you mean failure_percent"),
        ({"colour": "red"}, "colour is no setting"),
        ({"consecutive_failures": 5, "failure_percent": 50}, "two ways of counting"),
        ({"consecutive_failures": "5"}, "failures is '5'"),
        ({"open_s": None}, "open_s is None"),
        ({"open_s": 20, "open_max_s": 10}, "open_max_s is 10 and open_s is 20"),
        ({"window_calls": 10, "window_s": 10}, "in calls or in seconds"),
        ({"calls_min": 1000}, "could never open"),
        ({"status": "ajar"}, "status is 'ajar'; it must be one of"),
        ({"status": ["open"]}, "status is"),
        ({"half_open_calls": 1.5}, "half_open_calls is 1.5"),
        (7, "an entry is an object, not 7"),
        (None, "an entry is an object, not null"),
    ],
)
def test_a_wrong_entry_spoils_itself_only_and_says_why(entry: object, said: str) -> None:
    settings = parse(document(wrong=entry, right={"open_s": 5}))
    assert said in settings.bad["wrong"]
    assert settings.good["right"].config.open_s == 5
    assert set(settings.good) == {"right"}


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"null", b'"open"', b"\xff\xfe", b"[" * 100_000, b" " * 1024 * 1025]
)
def test_what_is_no_document_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidArgument, match="the settings are"):
        parse(text)


# ── following ────────────────────────────────────────────────────────────────


class Store:
    """A shared store that pushes: set `text`, or let it go down."""

    def __init__(self, text: bytes | None) -> None:
        self.text = text
        self.asked = 0
        self._changed = asyncio.Event()

    async def documents(self) -> AsyncIterator[bytes]:
        self.asked += 1
        while True:
            if self.text is None:
                raise OSError("the store is down")
            self._changed = changed = asyncio.Event()
            yield self.text
            await changed.wait()

    async def set(self, text: bytes | None) -> None:
        self.text = text
        self._changed.set()
        await asyncio.sleep(0.01)


QUICK = Backoff(first_s=1.0, max_s=60.0, jitter=0.0)


def test_a_change_is_pushed_and_a_force_taken_back_is_reset_once() -> None:
    async def main() -> None:
        breaker, other = Breaker("profile-service"), Breaker("other")
        store = Store(NOTES)
        async with Following(store, [breaker, other]) as following:
            assert following.problem is None
            assert (breaker.state, breaker.config.open_s) == (State.FORCED_OPEN, 60)
            assert other.state is State.CLOSED
            await store.set(document(**{"profile-service": {"consecutive_failures": 1}}))
            assert breaker.metrics().state is State.CLOSED
            breaker.attempt().fail()
            await store.set(
                document(**{"profile-service": {"consecutive_failures": 1, "open_s": 9}})
            )
            assert breaker.metrics().state is State.OPEN, "new thresholds close nothing"
            await store.set(document())
            assert breaker.config == BreakerConfig(), "no entry: as it was made"
        assert store.asked == 1

    run(main())


def test_the_last_good_settings_hold_while_the_store_is_down_or_says_nonsense() -> None:
    heard: list[tuple[str, object]] = []

    async def main() -> None:
        breaker, store = Breaker("it"), Store(document(it={"open_s": 5}))
        async with Following(store, [breaker], backoff=QUICK) as following:
            for nonsense in (b"{", document(it={"open_s": -1}), document(it=None)):
                await store.set(nonsense)
                assert breaker.config.open_s == 5
                assert following.problem
            await store.set(None)
            assert "the store is down" in (following.problem or "")
            await asyncio.sleep(3600)
            assert store.asked < 75, "it asks less and less often"
            assert breaker.config.open_s == 5
            store.text = document(it={"open_s": 6})
            await asyncio.sleep(60)
            assert (breaker.config.open_s, following.problem) == (6, None)

    with listening(lambda record: heard.append((record.name, record.fields.get("reason")))):
        run(main())
    reasons = [str(reason) for name, reason in heard if name == "breaker.settings_kept"]
    assert "no JSON" in reasons[0]
    assert "open_s is -1" in reasons[1]
    assert "OSError: the store is down" in reasons[3]


def test_a_service_starts_without_the_store_of_its_thresholds() -> None:
    async def main() -> float:
        breaker, store = Breaker("it"), Store(None)
        async with Following(store, [breaker], patience_s=2.0, backoff=QUICK):
            began = asyncio.get_running_loop().time()
            assert breaker.config == BreakerConfig()
            await breaker.call(asyncio.sleep, 0)
            return began

    assert run(main()) == 2.0


def test_a_source_that_ends_or_hangs_is_no_reason_to_hang() -> None:
    class Ends:
        async def documents(self) -> AsyncIterator[bytes]:
            yield document(it={"open_s": 5})

    class Hangs:
        async def documents(self) -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

    class Rushes:
        async def documents(self) -> AsyncIterator[bytes]:
            while True:
                yield document(it={"open_s": 7})

    async def main() -> None:
        breaker = Breaker("it")
        async with Following(Rushes(), [breaker]):
            assert breaker.config.open_s == 7
        async with Following(Ends(), [breaker], backoff=QUICK) as following:
            await asyncio.sleep(0.1)
            assert breaker.config.open_s == 5
            assert "ended the stream" in (following.problem or "")
        async with Following(Hangs(), [breaker], patience_s=0.5):
            pass
        assert len(asyncio.all_tasks()) == 1, "no task is left"

    run(main())


def test_two_breakers_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="two breakers are named it"):
        Following(Store(b"{}"), [Breaker("it"), Breaker("it")])


def test_what_is_wrong_in_a_document_may_be_huge_and_the_reason_is_not() -> None:
    long = "x" * 200_000
    settings = parse(document(a={long: 1}, b=long, c={"status": long}, d={"open_s": long}))
    assert len(settings.bad) == 4
    assert all(len(reason) < 500 for reason in settings.bad.values())
