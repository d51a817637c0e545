"""Last good: what the callee said when it last said something.

Yesterday's recommendations are better than none, and often nobody sees the
difference. So a fallback may keep each good answer, by what was asked, and give it
again when there is no new one.

It is not a cache: it is looked at only when the call has failed, so it saves no
call and serves nothing stale while all is well. Its two bounds are how many answers
(the least recently given goes first) and how old one may be, since at some age
"better than none" stops being true.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from sdkit.arguments import check_between


class LastGood:
    """Good answers, by key. Not safe for threads: the shell calls it one at a time.

    Args:
        entries_max: how many are kept, 1 to 10,000,000.
        age_max_ns: older ones are not given; None: however old.

    Raises:
        InvalidArgument: ``entries_max`` is out of range.
    """

    def __init__(self, entries_max: int, age_max_ns: int | None) -> None:
        check_between("entries_max", entries_max, 1, 10_000_000)
        self._entries_max, self._age_max_ns = entries_max, age_max_ns
        self._kept: Final[OrderedDict[Hashable, tuple[object, int]]] = OrderedDict()

    def keep(self, key: Hashable, answer: object, now_ns: int) -> None:
        """Remember an answer, in place of an earlier one."""
        self._kept[key] = answer, now_ns
        self._kept.move_to_end(key)
        if len(self._kept) > self._entries_max:
            self._kept.popitem(last=False)

    def find(self, key: Hashable, now_ns: int) -> tuple[object, int] | None:
        """The answer and its age, or None. A clock that stepped back makes it young, not lost."""
        if key not in self._kept:
            return None
        answer, at_ns = self._kept[key]
        age_ns = max(0, now_ns - at_ns)
        if self._age_max_ns is not None and age_ns > self._age_max_ns:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return answer, age_ns


def with_types(value: Hashable) -> Hashable:
    """A key that is equal to another only if the types are, too, those inside included."""
    match value:
        case tuple():
            return type(value), value, tuple(with_types(item) for item in value)
        case frozenset():
            return type(value), value, frozenset(with_types(item) for item in value)
        case _:
            return type(value), value
