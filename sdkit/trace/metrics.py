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

The text is the Prometheus exposition format 0.0.4:
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

from sdkit.arguments import shown
from sdkit.errors import InvalidArgument
from sdkit.trace.record import Record

_STRANGE: Final = re.compile("[^a-zA-Z0-9_]")


class Metrics:
    """A listener that counts. `text` is what a scrape returns.

    Args:
        host: count only what happens on the host of this name; None for all.

    Raises:
        InvalidArgument: ``host`` is no name.
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
                name that ends in ``_total`` is a counter, any other a gauge.
            meanings: what each of them is, in a sentence.

        Raises:
            InvalidArgument: a value is no number.
        """
        lines: list[str] = []
        for name, count in sorted(self._events.items()):
            metric = f"{_metric(name)}_total"
            lines += _head(metric, "counter", f"Events {name}.") + [f"{metric} {count}"]
        for name, count in sorted(self._spans.items()):
            metric, failed = f"{_metric(name)}_seconds", f"{_metric(name)}_failed_total"
            lines += _head(metric, "summary", f"How long {name} took, and how often it was done.")
            lines += [f"{metric}_sum {self._span_ns[name] / 1e9:.9g}", f"{metric}_count {count}"]
            lines += _head(failed, "counter", f"How often {name} failed.")
            lines += [f"{failed} {self._failures[name]}"]
        for name, value in sorted((values or {}).items()):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidArgument(f"{name} is {shown(value)}; a metric's value is a number")
            metric = _metric(name)
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += _head(metric, kind, (meanings or {}).get(name, name))
            lines += [f"{metric} {value:.12g}"]
        return "\n".join(lines) + "\n" if lines else ""


def _head(metric: str, kind: str, meaning: str) -> list[str]:
    escaped = meaning.replace("\\", r"\\").replace(
        "\n", r"\n"
    )  # the only two that the format asks for
    return [f"# HELP {metric} {escaped}", f"# TYPE {metric} {kind}"]


def _metric(name: str) -> str:
    """The name as a metric's: one strange character would spoil the whole scrape."""
    return "sdkit_" + _STRANGE.sub("_", name)
