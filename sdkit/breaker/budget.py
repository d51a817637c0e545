"""Budget: how many retries all callers together may add to the load.

Three attempts for each call sound modest. When the callee is down, every call
fails, so every call is made three times, and if the caller's caller does the same,
nine times: the load triples, or worse, exactly when there is least to carry it. That
is a *retry storm*, and no back-off of a single caller prevents it.

The idea
    Retries are paid for out of calls. Each call puts ``percent`` of a retry into one
    account, shared by all callers, and each retry takes a whole one out:

        10 %, nothing saved    twenty calls go well    then every call fails
        saved                  0.1, 0.2, ... 2.0       2.1  1.2  0.3 ... 0.9  1.0  0.1
        retried                                        yes  yes  no  ... no   yes  no

In every stretch, however long, there are at most ``percent`` of a retry per call, and
``saved_max`` on top. While few calls fail, all of them are retried, as if there were
no budget; when all fail, the callee sees a tenth more load and the saved ones, not three times
as much.

As in Finagle's RetryBudget and gRPC's retry throttling (gRFC A6). Counted in
hundredths of a retry, in whole numbers, so that a hundred calls are worth exactly as
many retries as promised.
"""

from __future__ import annotations

from sdkit.arguments import check_between
from sdkit.breaker.layer import Unique

RETRY: int = 100  # hundredths


class RetryBudget(Unique):
    """An account of retries, to be given to every `Retry` that should share it.

    It begins full: the first calls of a process may fail, too.

    Args:
        percent: of the calls, how many retries may be added, 0 to 1000, whole.
        saved_max: how many can be saved up, 1 to 1,000,000.

    Raises:
        InvalidArgument: a value is out of range.
    """

    kind = "a retry budget"

    def __init__(self, *, percent: int = 10, saved_max: int = 10) -> None:
        check_between("percent", percent, 0, 1000)
        check_between("saved_max", saved_max, 1, 1_000_000)
        self._percent = percent
        self._limit = self._saved = saved_max * RETRY

    def __repr__(self) -> str:
        return f"<RetryBudget: {self._percent} %, {self.retries} of {self._limit // RETRY} saved>"

    @property
    def retries(self) -> int:
        """How many could be made now."""
        return self._saved // RETRY

    def earn(self) -> None:
        """A call has been made (a first attempt, not a retry)."""
        self._saved = min(self._limit, self._saved + self._percent)

    def spend(self) -> bool:
        """Pay for a retry; False, and nothing paid, if there is too little."""
        if self._saved < RETRY:
            return False
        self._saved -= RETRY
        return True
