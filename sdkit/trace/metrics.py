"""Metrics: how often and how long, as text that Prometheus reads.

Every event counts under its name, and every span also adds up its time. A server
adds the values that it can read off itself at any moment:

    # HELP sdkit_store_commit_total Events store.commit.
    # TYPE sdkit_store_commit_total counter
    sdkit_store_commit_total 120
    sdkit_rpc_serve_seconds_sum 0.84
    sdkit_rpc_serve_seconds_count 120
    sdkit_store_keys 1000

A *counter* only rises, and begins at zero again with the process: what one asks
is its rate. A *gauge* goes up and down: what one asks is its value. Prometheus
wants the name of a counter to end in ``_total``, so here that name decides, and
no third list has to be kept.

Only names become metrics, never the other fields: a label per key or per
transaction would make one time series each, which is the classic way to bring
a Prometheus server down.

What somebody has given a name to, such as a breaker called ``GET /users``, is not part of a
metric's name, which has letters, digits and underscores only. It is a label (`labelled`), whose
value may be any text:

    sdkit_breaker_open{breaker="GET /users"} 1

Whatever stands in the name of an event, one line that cannot be read would spoil the whole
scrape. So other characters become underscores, and events that then have the same name
are counted together.

The text is the Prometheus exposition format 0.0.4:
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sdkit.arguments import shown
from sdkit.errors import InvalidArgument
from sdkit.trace.record import Record

LABEL: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
LABELS: Final = re.compile(
    r'\{[a-zA-Z]\w*="([^"\\\n]|\\.)*"(,[a-zA-Z]\w*="([^"\\\n]|\\.)*")*\}', re.ASCII
)
OTHER: Final = re.compile(r"[^a-zA-Z0-9_]")
EXACT_MAX: Final = 2**53  # whole numbers up to here are exact as floats


class Metrics:
    """A listener that counts. `text` is what a scrape returns.

    Args:
        host: count only what happens on the host of this name; None for all.
    """

    def __init__(self, host: str | None = None) -> None:
        if host is not None and not isinstance(host, str):
            raise InvalidArgument(f"host is {shown(host)}; it must be a host's name, as text")
        self._host = host
        self._events: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._spans: Counter[str] = Counter()
        self._span_ns: Counter[str] = Counter()

    def __call__(self, record: Record) -> None:
        if self._host is not None and record.host != self._host:
            return
        if record.duration_ns is None:
            self._events[record.name] += 1
            return
        self._spans[record.name] += 1
        self._span_ns[record.name] += record.duration_ns
        self._failures[record.name] += record.failed

    def count(self, name: str) -> int:
        """How many events, or finished spans, of this name there were."""
        return self._events[name] + self._spans[name]

    def text(
        self,
        values: Mapping[str, float] | None = None,
        meanings: Mapping[str, str] | None = None,
    ) -> str:
        """Everything counted so far, sorted by name, and ``values`` as they stand.

        Args:
            values: ``room.noun`` to its present value, read by the caller. A
                name that ends in ``_total`` is a counter, any other a gauge. One with
                labels is made by `labelled`.
            meanings: what each of them is, in a sentence.

        Raises:
            InvalidArgument: two values, or a value and an event, would be one time series;
                or a value is no number, or its name no text, or has labels that are not
                as `labelled` makes them.
        """
        families: dict[str, Family] = {}
        for name, count in sorted(self._events.items()):
            metric = f"{_metric(name)}_total"
            _family(families, metric, "counter", f"Events {name}.").add(metric, count)
        for name, count in sorted(self._spans.items()):
            metric, failed = f"{_metric(name)}_seconds", f"{_metric(name)}_failed_total"
            meaning = f"How long {name} took, and how often it was done."
            seconds = _family(families, metric, "summary", meaning)
            seconds.add(f"{metric}_sum", self._span_ns[name] / 1e9)
            seconds.add(f"{metric}_count", count)
            failures = _family(families, failed, "counter", f"How often {name} failed.")
            failures.add(failed, self._failures[name])
        for series, value in sorted((values or {}).items()):
            name, brace, labels = _parts(series)
            metric = _metric(name)
            kind = "counter" if name.endswith("_total") else "gauge"
            family = _family(families, metric, kind, (meanings or {}).get(name, name))
            family.set(_encodable(metric + brace + labels), value)
        return "".join(family.text() for family in families.values())


def labelled(name: str, **labels: str) -> str:
    """The name of a value with labels, as `Metrics.text` takes it.

    Args:
        name: ``room.noun``.
        labels: their values may be any text.

    Raises:
        InvalidArgument: a label's name is not made of letters, digits and underscores.
    """
    for label in labels:
        if not LABEL.fullmatch(label):
            raise InvalidArgument(
                f"label {shown(label)} is not made of letters, digits and underscores"
            )
    pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels.items())
    return f"{name}{{{pairs}}}"


@dataclass(slots=True)
class Family:
    """The time series of one metric, which the format wants together, under one head."""

    metric: str
    kind: str
    meaning: str
    series: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.series[name] = self.series.get(name, 0) + value

    def set(self, name: str, value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidArgument(f"{name} is {shown(value)}; a metric's value is a number")
        if name in self.series:
            raise InvalidArgument(
                f"there are two values of {name}; give one of them another name, or label both"
            )
        self.series[name] = value

    def text(self) -> str:
        # In a help text the format asks for these two escapes only.
        meaning = _encodable(self.meaning).replace("\\", r"\\").replace("\n", r"\n")
        lines = [f"# HELP {self.metric} {meaning}", f"# TYPE {self.metric} {self.kind}"]
        lines += [f"{name} {_number(value)}" for name, value in self.series.items()]
        return "\n".join(lines) + "\n"


def _family(families: dict[str, Family], metric: str, kind: str, meaning: str) -> Family:
    family = families.setdefault(metric, Family(metric, kind, meaning))
    if family.kind != kind:
        raise InvalidArgument(
            f"{metric} would be a {family.kind} ({family.meaning}) and a {kind} ({meaning}); "
            "give one of them another name"
        )
    return family


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value.is_integer() and abs(value) <= EXACT_MAX else f"{value:.12g}"


def _escaped(value: str) -> str:
    return _encodable(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _parts(series: object) -> tuple[str, str, str]:
    name, brace, labels = series.partition("{") if isinstance(series, str) else ("", "", "")
    if not name or (brace and not LABELS.fullmatch(brace + labels)):
        raise InvalidArgument(
            f"{shown(series)} is no name of a value; it must be `room.noun`, as text, or with "
            "labels as labelled('room.noun', label='value') makes it"
        )
    return name, brace, labels


def _encodable(value: object) -> str:
    # A lone surrogate has no UTF-8 form, and the scrape could not be sent.
    return str(value).encode("utf-8", "backslashreplace").decode()


def _metric(name: str) -> str:
    return "sdkit_" + OTHER.sub("_", name)
