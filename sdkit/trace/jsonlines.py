"""JSON lines: every record as one JSON object on a line of its own.

The form that every log shipper, ``jq`` and DuckDB read without a schema. Bytes
become text with escapes, so that a line is always valid JSON.
"""

from __future__ import annotations

import json
import math
from typing import TextIO

from sdkit.arguments import shown
from sdkit.errors import InvalidArgument
from sdkit.trace.record import Record


class JsonLines:
    """A listener that writes to ``file``; whoever opened the file closes it.

    Raises:
        InvalidArgument: ``file`` cannot be written to.
    """

    def __init__(self, file: TextIO) -> None:
        if not callable(getattr(file, "write", None)):
            raise InvalidArgument(
                f"file is {shown(file)}, of type {type(file).__name__}; it must be a file of text, "
                "open for writing"
            )
        self._file = file

    def __call__(self, record: Record) -> None:
        line: dict[str, object] = {"name": record.name, "host": record.host, "at_ns": record.at_ns}
        if record.duration_ns is not None:
            line["duration_ns"] = record.duration_ns
        if record.failed:
            line["failed"] = True
        if record.context is not None:
            line["trace_id"], line["span_id"] = record.context
        if record.parent_id is not None:
            line["parent_id"] = record.parent_id
        line["fields"] = {name: _finite(value) for name, value in record.fields.items()}
        self._file.write(json.dumps(line, default=_plain, separators=(",", ":")) + "\n")


def _finite(value: object) -> object:
    # JSON has no infinity and no NaN, and Python would write them all the same.
    if isinstance(value, tuple | list):
        return [_finite(each) for each in value]
    if isinstance(value, dict):
        return {_plain(name): _finite(each) for name, each in value.items()}
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: object) -> str:
    if isinstance(value, str):
        return value
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else repr(value)
