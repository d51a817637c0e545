"""Metrics: how often and how long, as text that Prometheus reads.

Every event counts under its name, every span also adds up its time, and every
numeric field named in ``gauges`` keeps its last value:

    sdkit_store_commit_total 120
    sdkit_rpc_handle_seconds_sum 0.84
    sdkit_rpc_handle_seconds_count 120

Only names become metrics, never the other fields: a label per key or per
transaction would make one time series each, which is the classic way to bring
a Prometheus server down.

The text is the Prometheus exposition format 0.0.4:
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sdkit.trace.record import Record


class Metrics:
    """A listener that counts. `text` is what a scrape returns.

    Args:
        host: count only what happens on the host of this name; None for all.
    """

    def __init__(self, host: str | None = None) -> None:
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

    def text(self, gauges: Mapping[str, float] | None = None) -> str:
        """Everything counted so far, sorted by name, and ``gauges`` as they stand.

        Args:
            gauges: ``room.noun`` to its present value, read by the caller.
        """
        lines: list[str] = []
        for name, count in sorted(self._events.items()):
            metric = f"{_metric(name)}_total"
            lines += [f"# TYPE {metric} counter", f"{metric} {count}"]
        for name, count in sorted(self._spans.items()):
            metric = f"{_metric(name)}_seconds"
            lines += [
                f"# TYPE {metric} summary",
                f"{metric}_sum {self._span_ns[name] / 1e9:.9g}",
                f"{metric}_count {count}",
                f"# TYPE {_metric(name)}_failed_total counter",
                f"{_metric(name)}_failed_total {self._failures[name]}",
            ]
        for name, value in sorted((gauges or {}).items()):
            lines += [f"# TYPE {_metric(name)} gauge", f"{_metric(name)} {value:.12g}"]
        return "\n".join(lines) + "\n" if lines else ""


def _metric(name: str) -> str:
    return "sdkit_" + name.replace(".", "_").replace("-", "_")
