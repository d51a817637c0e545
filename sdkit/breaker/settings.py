"""Settings: the thresholds of all breakers, in one document that all services read.

Operators want to see and change thresholds in one place, while the services run,
and to force a breaker open when they know better. So the *settings* are shared: a
JSON document, one entry for each breaker.

    {"profile-service": {"failure_percent": 50, "window_calls": 100, "open_s": 60},
     "post-service": {"consecutive_failures": 10, "status": "forced open"}}

The *state* is not shared, and must not be. It looks tempting: one service has found
out that the callee is down, why should the others learn it the hard way? But

    * "down" is what one caller sees: its network, its region, its credentials. One bad
      host would cut everybody off from a callee that is well;
    * every call would need the store to be asked before it, and told after it; the
      store then is a dependency of every dependency, and who breaks *its* circuit?
    * counters and probes shared by many are a distributed algorithm: whose half-open
      call counts? pybreaker's Redis storage was never half-open for some callers, and
      reset its counter under others (its issues 24 and 26).

A service needs few calls to find out by itself. What all of them should agree on is
how soon, and that is a setting.

`parse` reads the document; `sdkit.breaker.following` keeps breakers up to date with it.

What an entry may say

    consecutive_failures                               opens after so many in a row, or
    failure_percent, window_calls | window_s,          by the rate of failures
        calls_min
    slow_call_s, open_s, open_growth, open_max_s,      as in `BreakerConfig`
        open_jitter, half_open_calls,
        half_open_successes, half_open_s
    status        automatic (or closed), forced open (or open), forced closed, metrics only
    failure_threshold, timeout, half_open_requests     names in use elsewhere: read as
                                                       failure_percent, open_s, half_open_calls

    ``failure_threshold: 50`` is the bare number that cannot say what it counts. It is read
    as percent, since that is what 50 can only sensibly be, and a value above 100 is refused.

One wrong entry spoils itself only: it is reported, with the reason, and the others hold.
A misspelt name is wrong, not ignored: a threshold that silently is the default is the
kind of setting that shows in an outage.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Final

from sdkit.arguments import SHOWN_MAX, check_one_of, shown
from sdkit.breaker.config import BreakerConfig
from sdkit.breaker.policies import ConsecutiveFailures, FailureRate, Policy
from sdkit.breaker.states import OPERATOR, Trigger
from sdkit.errors import InvalidArgument

DOCUMENT_BYTES_MAX: Final = 1024 * 1024
RATE: Final = {
    "failure_percent": "percent",
    "window_calls": "window_calls",
    "window_s": "window_s",
    "calls_min": "calls_min",
}
PLAIN: Final = (
    "slow_call_s",
    "open_s",
    "open_growth",
    "open_max_s",
    "open_jitter",
    "half_open_calls",
    "half_open_successes",
    "half_open_s",
)
ELSEWHERE: Final = {
    "failure_threshold": "failure_percent",
    "timeout": "open_s",
    "half_open_requests": "half_open_calls",
}
STATUS: Final[Mapping[str, Trigger | None]] = {
    "automatic": None,
    "closed": None,  # "it works as usual", which is what they mean who write it
    "open": Trigger.FORCE_OPEN,
    "forced open": Trigger.FORCE_OPEN,
    "forced closed": Trigger.FORCE_CLOSED,
    "metrics only": Trigger.MEASURE_ONLY,
}
FORCES: Final = tuple(trigger for trigger in OPERATOR if trigger is not Trigger.RESET)
NAMES: Final = ("consecutive_failures", *RATE, *PLAIN, "status", *ELSEWHERE)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the document says of one breaker.

    Args:
        config: its thresholds.
        force: the state that an operator wants, or None: what calls and time make of it. As
            text, too: "force open", "force closed" or "measure only".

    Raises:
        InvalidArgument: ``config`` or ``force`` is something else.
    """

    config: BreakerConfig
    force: Trigger | str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.config, BreakerConfig):
            raise InvalidArgument(f"config is {shown(self.config)}; it must be a BreakerConfig")
        if self.force is not None:
            check_one_of("force", self.force, FORCES)
            object.__setattr__(self, "force", Trigger(self.force))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A document that was read.

    Args:
        good: by the name of the breaker.
        bad: of entries that are wrong, why.
    """

    good: Mapping[str, Setting] = field(default_factory=dict)
    bad: Mapping[str, str] = field(default_factory=dict)


def parse(document: bytes | str, defaults: Mapping[str, BreakerConfig] | None = None) -> Settings:
    """Read a document.

    Args:
        defaults: by the name of the breaker, what holds where its entry says nothing.

    Raises:
        InvalidArgument: it is no JSON object, or longer than a megabyte; or ``defaults`` holds
            something else than configs.
    """
    if not isinstance(document, bytes | bytearray | str):
        raise InvalidArgument(f"the settings are {shown(document)}; they must be bytes or text")
    _check_defaults(defaults)
    if len(document) > DOCUMENT_BYTES_MAX:
        raise InvalidArgument(
            f"the settings are {len(document)} bytes long; the limit is {DOCUMENT_BYTES_MAX}"
        )
    try:
        entries = json.loads(document, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"the settings are no JSON: {error}") from error
    if not isinstance(entries, dict):
        raise InvalidArgument(
            f"the settings are a JSON {type(entries).__name__}; they must be an object with an "
            "entry for each breaker"
        )
    good: dict[str, Setting] = {}
    bad: dict[str, str] = {}
    for name, entry in entries.items():
        try:
            _check_once(entries, name)
            good[name] = _setting(entry, (defaults or {}).get(name) or BreakerConfig())
        except InvalidArgument as error:
            bad[name] = str(error)
    return Settings(good=good, bad=bad)


class _Pairs(dict[str, Any]):
    """A JSON object that knows which names were given twice; ``json`` keeps the last, silently."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        given = Counter(name for name, _ in pairs)
        self.doubled = {name for name, count in given.items() if count > 1}


def _check_once(entry: Mapping[str, Any], name: str) -> None:
    if isinstance(entry, _Pairs) and name in entry.doubled:
        raise InvalidArgument(f"{shown(name)} is there twice; leave one out", name=name)


def _check_defaults(defaults: object) -> None:
    if defaults is None:
        return
    if not isinstance(defaults, Mapping):
        raise InvalidArgument(f"defaults is {shown(defaults)}; it must be a mapping of configs")
    for name, config in defaults.items():
        if not isinstance(config, BreakerConfig):
            raise InvalidArgument(
                f"defaults has {shown(config)} for {name}; it must be a BreakerConfig"
            )


def _setting(entry: object, defaults: BreakerConfig) -> Setting:
    if not isinstance(entry, dict):
        raise InvalidArgument(f"an entry is an object, not {json.dumps(entry)[:SHOWN_MAX]}")
    said = _translated(entry)
    status = said.pop("status", "automatic")
    if not isinstance(status, str) or status not in STATUS:
        raise InvalidArgument(f"status is {shown(status)}; it must be one of {', '.join(STATUS)}")
    given = {name: said[name] for name in PLAIN if name in said}
    if not ({"consecutive_failures", *RATE} & said.keys()):
        return Setting(config=replace(defaults, **given), force=STATUS[status])
    return Setting(
        config=replace(defaults, trip=_policy(said, defaults.trip), **given), force=STATUS[status]
    )


def _translated(entry: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name, value in entry.items():
        _check_once(entry, name)
        if name not in NAMES:
            name = name[:SHOWN_MAX]
            near = get_close_matches(name, NAMES, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(NAMES)}"
            raise InvalidArgument(f"{name} is no setting; {hint}", name=name)
        ours = ELSEWHERE.get(name, name)
        if ours in said:
            raise InvalidArgument(f"{name} and {ours} say the same; leave one out", name=name)
        said[ours] = value
    return said


def _policy(said: dict[str, Any], default: Policy) -> Policy:
    by_rate = {RATE[name]: said[name] for name in RATE if name in said}
    if "consecutive_failures" not in said:
        if "window_s" in by_rate:  # instead of the other window, not beside it
            by_rate.setdefault("window_calls", None)
        elif "window_calls" in by_rate:
            by_rate.setdefault("window_s", None)
        return replace(default if isinstance(default, FailureRate) else FailureRate(), **by_rate)
    if by_rate:
        other = next(name for name in RATE if name in said)
        raise InvalidArgument(
            f"consecutive_failures and {other} are two ways of counting; choose one"
        )
    return ConsecutiveFailures(said["consecutive_failures"])
