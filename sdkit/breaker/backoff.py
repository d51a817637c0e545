"""Back-off: wait longer each time, and not at the same time as everybody else.

Whoever asks again at once asks a callee that is still down, and adds to its load.
So each further wait is longer, up to a limit:

    number    1     2     3     4     5     6
    at most   0.1   0.2   0.4   0.8   1.6   2.0     first 0.1, growth 2, longest 2.0

Growing alone is not enough. A callee that fails, fails for a thousand callers in
the same moment; if all wait 0.1 s, all come back in the same moment. *Jitter*
draws each wait at random below the bound. With ``jitter`` 1 ("full jitter") it is
anything from nothing to the bound, which spreads a crowd best; retries use that.
A breaker's open time uses a little: it must be a pause, only not everybody's.

Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from sdkit.arguments import check_between
from sdkit.errors import InvalidArgument

DOUBLINGS_MAX: Final = 64  # more would leave the range of numbers, and every limit is below
SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Waits that grow.

    Args:
        first_s: bound of the first wait, 0 to 86,400 s.
        max_s: no bound is longer; at least ``first_s``.
        growth: each bound is so many times the one before, 1 to 10.
        jitter: the part of a wait that is drawn, 0 (none of it) to 1 (all of it).

    Raises:
        InvalidArgument: a value is out of range, or ``max_s`` below ``first_s``.
    """

    first_s: float = 0.1
    max_s: float = 5.0
    growth: float = 2.0
    jitter: float = 1.0

    def __post_init__(self) -> None:
        check_between("first_s", self.first_s, 0.0, 86_400.0)
        check_between("max_s", self.max_s, 0.0, 86_400.0)
        check_between("growth", self.growth, 1.0, 10.0)
        check_between("jitter", self.jitter, 0.0, 1.0)
        if self.max_s < self.first_s:
            raise InvalidArgument(
                f"max_s is {self.max_s} and first_s is {self.first_s}; "
                "the longest wait cannot be shorter than the first",
                name="max_s",
            )

    def bound_ns(self, number: int) -> int:
        """The longest that wait 1, 2, ... can be."""
        grown_s = self.first_s * self.growth ** min(number - 1, DOUBLINGS_MAX)
        return round(min(self.max_s, grown_s) * SECOND_NS)

    def wait_ns(self, number: int, randomness: Random) -> int:
        """How long to wait, drawn for wait 1, 2, ..."""
        bound_ns = self.bound_ns(number)
        return bound_ns - round(bound_ns * self.jitter * randomness.random())
