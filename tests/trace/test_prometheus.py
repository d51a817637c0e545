"""What `Metrics` writes, read by the parser of Prometheus' own client library."""

from __future__ import annotations

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sdkit.breaker import Breaker, BreakerConfig, ConsecutiveFailures
from sdkit.errors import InvalidArgument
from sdkit.trace import Metrics, event, listening, span
from sdkit.trace.metrics import labelled

NAMES = [
    "posts",
    "GET /users",
    "größe",
    "a b",
    'a"b',
    "a\\",
    "a\\n",
    "a\nb",
    "a\r\n# TYPE x counter",
    "{}",
    'x="1",y="2"',
    "a}b{c",
    " ",
    "\t",
    "\x00",
    "\u2028",
    "键",
    "🙂",
    "1st",
    "a-b",
    "a.b",
    "a_b",
    "#",
    "le",
    "NaN",
]


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample, by its name and labels. A line that cannot be read raises."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families), "one head for each"
    for family in families:
        assert family.type != "unknown"
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, "one series twice"
            found[key] = sample.value
    return found


def test_a_breaker_may_have_any_name_and_the_scrape_can_be_read() -> None:
    breakers = [Breaker(name, BreakerConfig(trip=ConsecutiveFailures(1))) for name in NAMES]
    gauges: dict[str, float] = {}
    for breaker in breakers[::2]:
        breaker.attempt().fail()
    for breaker in breakers:
        gauges |= breaker.gauges()
    text = Metrics().text(gauges)
    found = samples(text)
    text.encode()
    for number, name in enumerate(NAMES):
        label = (("breaker", name),)
        assert found["sdkit_breaker_open", label] == (number % 2 == 0)
        assert found["sdkit_breaker_failed_total", label] == (number % 2 == 0)
    assert text.count("# TYPE sdkit_breaker_open gauge\n") == 1


def test_events_and_spans_of_any_name_can_be_read_and_what_has_one_name_is_added_up() -> None:
    metrics = Metrics()
    with listening(metrics):
        for name in NAMES:
            event(name)
            with span(name):
                pass
    found = samples(metrics.text())
    assert found["sdkit_a_b_total", ()] == sum(
        name in ("a b", 'a"b', "a\nb", "a-b", "a.b", "a_b") for name in NAMES
    )
    assert found["sdkit_GET__users_seconds_count", ()] == 1


def test_values_of_any_name_and_size_can_be_read() -> None:
    values = {
        labelled("room.rows", table="a b"): 1.0,
        labelled("room.rows", table="größe", part="1"): 2,
        "room.rows": 3,
        "room.up": 1,
        "room.nan": math.nan,
        "room.inf": math.inf,
        "room.low": -math.inf,
        "room.many_total": 2**60,
        "room.part": 0.1,
        "GET /users": 7,
    }
    found = samples(Metrics().text(values, {"room.rows": 'Rows\nof a "table"\\.'}))
    assert found["sdkit_room_rows", ()] == 3
    assert found["sdkit_room_rows", (("table", "a b"),)] == 1
    assert found["sdkit_room_rows", (("part", "1"), ("table", "größe"))] == 2
    assert math.isnan(found["sdkit_room_nan", ()])
    assert found["sdkit_room_low", ()] == -math.inf
    assert found["sdkit_room_many_total", ()] == 2**60
    assert found["sdkit_GET__users", ()] == 7


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"a b": 1, "a-b": 2}, "two values of sdkit_a_b"),
        ({"a": "many"}, "sdkit_a is 'many'"),
        ({"a": None}, "sdkit_a is None"),
        ({"told_total": 1}, "two values of sdkit_told_total"),
    ],
)
def test_what_would_be_read_as_something_else_is_refused(
    values: dict[str, float], said: str
) -> None:
    metrics = Metrics()
    with listening(metrics):
        event("told")
    with pytest.raises(InvalidArgument, match=said):
        metrics.text(values)


def test_a_label_is_named_by_letters_digits_and_underscores() -> None:
    for name in ("a b", "größe", "1st", ""):
        with pytest.raises(InvalidArgument, match="is not made of"):
            labelled("room.noun", **{name: "x"})
    assert labelled("room.noun", at="\ud800") == 'room.noun{at="\\\\ud800"}'
