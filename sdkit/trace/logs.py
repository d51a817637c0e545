"""Logs: records as log lines of the standard library's ``logging``.

A record ``store.commit`` goes to the logger ``sdkit.store``. A library that
prints by itself is a nuisance, so nothing is shown until the program that uses
it configures logging and adds this listener.
"""

from __future__ import annotations

import logging

from sdkit.arguments import check_between
from sdkit.trace.record import Record


class Logs:
    """A listener that logs.

    Args:
        level: the level of every record that is not a failure, 0 to 100, as `logging.INFO` is.

    Raises:
        InvalidArgument: it is no such number.
    """

    def __init__(self, level: int = logging.INFO) -> None:
        check_between("level", level, 0, 100)
        self._level = level

    def __call__(self, record: Record) -> None:
        room, _, _ = record.name.partition(".")
        level = logging.WARNING if record.failed else self._level
        logger = logging.getLogger(f"sdkit.{room}")
        if not logger.isEnabledFor(level):
            return
        facts = " ".join(f"{name}={value!r}" for name, value in record.fields.items())
        took = "" if record.duration_ns is None else f" took={record.duration_ns / 1e6:.3f}ms"
        logger.log(level, "%s %s%s [%s]", record.name, facts, took, record.host)
