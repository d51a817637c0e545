"""Record: an event or a finished span as data, and how it reaches the listeners.

`event` is one fact at one instant. `span` is something that takes time; it
becomes one record, when it ends. A record carries the host it happened on and
the span it happened in.

Decisions
    * Listeners are called at once, in the caller's stack, in the order in which
      they were added: a listener sees the run in the order in which it happened.
      A listener that raises fails the block it observes, loudly; a silently
      broken observer would be worse in a kit whose verdicts rest on observers. Where
      the block is shared by many, as the task that writes a log is, its owner hands
      the error to the event loop instead (`sdkit.storage.callbacks`).
    * Names read ``room.verb`` and fields are plain values. Both are public:
      each room's page has the table, and a test holds the room to it.
    * Without a listener no id is drawn and no clock is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Final, NamedTuple

from sdkit import host as hosts
from sdkit.arguments import check_function, shown
from sdkit.errors import InvalidArgument


class SpanContext(NamedTuple):
    """Where in which tree of spans the code is; what travels along with a remote call."""

    trace_id: int
    span_id: int


class Record(NamedTuple):
    """One event (``duration_ns`` is None) or one finished span."""

    name: str
    fields: dict[str, object]
    host: str
    at_ns: int  # wall clock; of a span, its beginning
    duration_ns: int | None
    context: SpanContext | None  # of an event: the span it happened in
    parent_id: int | None  # of a span: the one it began in
    failed: bool = False  # of a span: an exception left it


Listener = Callable[[Record], None]

_listeners: tuple[Listener, ...] = ()  # of every record
_chosen: Final[dict[str, tuple[Listener, ...]]] = {}  # of the records of one name
_context: Final[ContextVar[SpanContext | None]] = ContextVar("sdkit_span", default=None)


def event(name: str, /, **fields: object) -> None:
    """Say that something happened.

    Args:
        name: ``room.verb``, as in ``"journal.sync"``.
        fields: the facts: None, bool, int, float, str, bytes, or tuples of these.

    Raises:
        InvalidArgument: somebody listens, and ``name`` is no text.
    """
    if _listeners or name in _chosen:
        _tell(name, fields)


@contextmanager
def span(name: str, /, **fields: object) -> Iterator[SpanContext | None]:
    """Say how long the block took, and that what happens in it belongs together.

    Left in another context than it was entered in, as an async generator is that the event loop
    closes, it is told all the same.

    Yields:
        what to send along with a remote call, or None while nobody listens.

    Raises:
        InvalidArgument: somebody listens, and ``name`` is no text.
    """
    if not _listeners and name not in _chosen:
        yield _context.get()
        return
    _check_name(name)
    host, parent = hosts.current(), _context.get()
    span_id = next(host.span_serial)
    here = SpanContext(parent.trace_id if parent else span_id, span_id)
    began_at_ns, began_ns = host.now_ns(), host.monotonic_ns()
    token = _context.set(here)
    failed = True
    try:
        yield here
        failed = False
    finally:
        with suppress(ValueError):  # this context never was in the span
            _context.reset(token)
        _deliver(
            Record(
                name,
                fields,
                host.name,
                began_at_ns,
                host.monotonic_ns() - began_ns,
                here,
                parent.span_id if parent else None,
                failed,
            )
        )


def active() -> bool:
    """Whether anybody listens to everything.

    For code to which even naming the facts would cost too much. Who listens to
    chosen names only is not counted: a server that prints its refusals must not
    pay for the tracing of every call.
    """
    return bool(_listeners)


def is_heard(name: str) -> bool:
    """Whether anybody listens to the records of this name. For code that tells them later."""
    return bool(_listeners) or name in _chosen


def context() -> SpanContext | None:
    """The span that the calling code is in."""
    return _context.get()


@contextmanager
def adopt(remote: SpanContext | None) -> Iterator[None]:
    """Go on, for the block, in the span of whoever called us from elsewhere."""
    token = _context.set(remote)
    try:
        yield
    finally:
        _context.reset(token)


@contextmanager
def listening(listener: Listener, *names: str) -> Iterator[None]:
    """`add_listener` for the block, and `remove_listener` after it."""
    add_listener(listener, *names)
    try:
        yield
    finally:
        remove_listener(listener)


def add_listener(listener: Listener, *names: str) -> None:
    """Give records of this process to ``listener`` from now on.

    Args:
        names: only the records of these names; without any, every record.

    Raises:
        InvalidArgument: ``listener`` is no plain function of a record, or a name is no text;
            it is not added.
    """
    check_function("listener", listener, asynchronous=False)
    for name in names:
        if not isinstance(name, str):
            raise InvalidArgument(
                f"a name to listen to is {shown(name)}; it must be text, as 'room.verb'"
            )
    global _listeners  # noqa: PLW0603  one tuple, replaced whole, so `event` reads it in one step
    if not names:
        _listeners = (*_listeners, listener)
    for name in names:
        _chosen[name] = (*_chosen.get(name, ()), listener)


def remove_listener(listener: Listener) -> None:
    """Stop giving records to ``listener``; one that was never added is ignored."""
    global _listeners  # noqa: PLW0603
    # By equality: a bound method is another object each time it is named.
    _listeners = tuple(known for known in _listeners if known != listener)
    for name, known in list(_chosen.items()):
        left = tuple(each for each in known if each != listener)
        if left:
            _chosen[name] = left
        else:
            del _chosen[name]


def _check_name(name: object) -> None:
    # A listener keeps it: `Metrics` would fail at each scrape from then on.
    if not isinstance(name, str):
        raise InvalidArgument(f"name is {shown(name)}; an event or span is named by a text")


def _tell(name: str, fields: dict[str, object]) -> None:
    _check_name(name)
    host = hosts.current()
    _deliver(Record(name, fields, host.name, host.now_ns(), None, _context.get(), None))


def _deliver(record: Record) -> None:
    for listener in (*_listeners, *_chosen.get(record.name, ())):
        listener(record)
