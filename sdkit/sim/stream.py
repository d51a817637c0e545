"""Stream: the two ends of a TCP connection, and what each sees of the other, one latency late.

What a program learns of a broken connection depends on who did what first, and
on bytes still under way. These are the rules, as Linux has them:

    the other side       and we                  then we see
    closed               read everything         end of file (b"")
    closed               write twice             the first is accepted, the second a
                                                 BrokenPipeError: a reset came between
    closed, and had not  read what had arrived,  ConnectionResetError
      read everything    then read on
    was reset            write                   ConnectionResetError once, then BrokenPipeError
    sent end of file     write                   it arrives: half-closed is still open
    does not read        write                   BlockingIOError, when its buffer is full
    was killed           whatever                as was reset
    lost power           wait                    nothing, for ever
    lost power           write                   TimeoutError (ETIMEDOUT) when it is given up, or
                                                 ConnectionResetError if it is up again before

Things to notice
    1. `Endpoint` never looks at its peer's state, except for the room in its
       buffer (the window that TCP advertises): everything else is told by a
       message over the `Post`, which keeps order.
    2. A message is a call that happens later. What arrives at an end that is
       already closed is answered with a reset.

After RFC 9293 (§3.5.3 resets, §3.6 closing); buffers and windows are one
number. Losing and repeating is the line's affair (`sdkit.sim.links`).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

# Carries a message to the other end: the call happens there, later, in order. With the
# number of bytes, and "connect", "data", "end" or "reset".
Post = Callable[[Callable[[], None], int, str], None]


class Endpoint:
    """One end. It begins unconnected; `established` or `refused` ends that.

    Args:
        post: carries messages to the peer.
        buffer_bytes: how much may be under way to this end or wait here unread.
    """

    def __init__(self, post: Post, buffer_bytes: int) -> None:
        self.peer: Endpoint = self  # until `join`
        self.on_change: Callable[[], None] = _nothing  # readable or writable may have changed
        self.on_empty: Callable[[], None] = _nothing  # it is not readable any more
        self.inbox = bytearray()
        self.under_way = 0  # bytes sent to this end and not yet arrived
        self.connected = False
        self.dead = False  # reset or refused: no message goes or comes
        self._post = post
        self._buffer_bytes = buffer_bytes
        self._ended = False  # the peer will send no more
        self._finished = False  # we shall send no more
        self._deaf = False  # we shall read no more
        self._closed = False
        self._forgotten = False  # the machine knows nothing of it: messages get a reset as answer
        self._error = 0  # an errno that the program has not seen yet

    # ── what the program does ────────────────────────────────────────────────

    @property
    def readable(self) -> bool:
        """Would `recv` return at once?"""
        return bool(self.inbox) or self._ended or self.dead or self._deaf

    @property
    def writable(self) -> bool:
        """Would `send` return at once?"""
        if not self.connected:
            return self.dead
        return self._finished or self.dead or self.peer.room > 0

    @property
    def room(self) -> int:
        """How many more bytes may be sent to this end."""
        return self._buffer_bytes - len(self.inbox) - self.under_way

    def send(self, data: bytes) -> int:
        """Send as much as there is room for; how much that was.

        Raises:
            BlockingIOError: no room at the moment, or not connected yet.
            OSError: the connection is broken.
        """
        if self._error:
            self._raise_error()
        if self._finished or self.dead:
            raise _error(errno.EPIPE)
        peer = self.peer
        # `room`, written out here and below: the two halves of a message pass here.
        room = peer._buffer_bytes - len(peer.inbox) - peer.under_way
        if not self.connected or room <= 0:
            raise _error(errno.EAGAIN)
        part = data[:room]
        size = len(part)
        peer.under_way += size
        self._post(partial(peer.arrive, part), size, "data")
        return size

    def recv(self, length: int) -> bytes:
        """Up to ``length`` of the bytes that have arrived; b"" at the end.

        Raises:
            BlockingIOError: none have.
            OSError: the connection is broken.
        """
        if self.inbox:
            was_full = len(self.inbox) + self.under_way >= self._buffer_bytes
            if length < len(self.inbox):
                part = bytes(self.inbox[:length])
                del self.inbox[:length]
            else:
                part = bytes(self.inbox)
                self.inbox.clear()
                if not (self._ended or self.dead or self._deaf):
                    self.on_empty()
            if was_full:
                self.peer.on_change()  # it may write again
            return part
        if not self._ended:  # whoever said goodbye before the reset has said it
            self._raise_error()
        if self.readable:
            return b""
        raise _error(errno.EAGAIN)

    def finish(self) -> None:
        """Say that no more will be sent (half-close)."""
        if not self._finished and not self.dead:
            self._finished = True
            self._post(self.peer.end, 0, "end")

    def stop_reading(self) -> None:
        self._deaf = True

    def close(self, *, abort: bool = False) -> None:
        """Give the end up. A reset if anything unread is thrown away, or if ``abort``."""
        if self._closed:
            return
        self._closed = True
        if abort or self.inbox or not self.connected:
            self._reset_peer()
        else:
            self.finish()
        self.inbox.clear()
        self.on_change = _nothing

    def take_error(self) -> int:
        """The pending errno, or 0; taking it clears it (``SO_ERROR``)."""
        error, self._error = self._error, 0
        return error

    def accept(self) -> None:
        """Agree to a connection that the peer asked for, and let it know."""
        self.connected = True
        self._post(self.peer.established, 0, "connect")

    def refuse(self, code: int) -> None:
        """Turn the peer's request down, with an errno."""
        self.dead = True
        self._post(lambda: self.peer.refused(code), 0, "reset")

    # ── what happens to the machine, or to the line ──────────────────────────

    @property
    def is_over(self) -> bool:
        """Can the program here see no more of it?"""
        return self._closed or self.dead

    def give_up(self) -> None:
        """Nothing got through for too long. The peer is not told; it would not hear it."""
        self._die(errno.ETIMEDOUT)
        self._forgotten = True

    def vanish(self) -> None:
        """The machine has lost power: nobody is told anything."""
        self._closed = self.dead = self._forgotten = True
        self.inbox.clear()
        self.on_change = _nothing

    def break_now(self) -> None:
        """Something on the way has broken the connection, and told this end."""
        self._die(errno.ECONNRESET)

    # ── what messages do ─────────────────────────────────────────────────────

    def established(self) -> None:
        """The connection is open at this end."""
        if self._forgotten:
            self._post(self.peer.reset, 0, "reset")
        elif not self.dead:
            self.connected = True
            self.on_change()

    def refused(self, code: int) -> None:
        """There will be no connection, because of errno ``code``."""
        self._die(code)

    def arrive(self, data: bytes) -> None:
        """Bytes from the peer."""
        self.under_way -= len(data)
        if self._forgotten:
            self._post(self.peer.reset, 0, "reset")
        elif self._closed:
            self._reset_peer()
        elif not self.dead:
            self.inbox += data
            self.on_change()

    def end(self) -> None:
        """The peer will send no more."""
        if self._forgotten:
            self._post(self.peer.reset, 0, "reset")
        elif not self.dead:
            self._ended = True
            self.on_change()

    def reset(self) -> None:
        """The peer has forgotten the connection."""
        self._die(errno.EPIPE if self._ended else errno.ECONNRESET)

    def _die(self, code: int) -> None:
        if not self.dead:
            self.dead = True
            self._error = code
            self.on_change()

    def _reset_peer(self) -> None:
        if not self.dead:
            self.dead = True
            self._post(self.peer.reset, 0, "reset")

    def _raise_error(self) -> None:
        if code := self.take_error():
            raise _error(code)


def join(one: Endpoint, other: Endpoint) -> None:
    """Make two ends of one connection."""
    one.peer, other.peer = other, one


def _error(code: int) -> OSError:
    return OSError(code, errno.errorcode[code])  # becomes BlockingIOError, BrokenPipeError, ...


def _nothing() -> None:
    pass
