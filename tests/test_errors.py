"""Errors: each crosses the wire as itself, and whatever comes, "did it happen?" is answered."""

from __future__ import annotations

import pickle
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdkit import errors
from sdkit.arguments import check_between
from sdkit.cli.pages import error_codes, load_rooms
from sdkit.errors import (
    Aborted,
    DeadlineExceeded,
    Indeterminate,
    InvalidArgument,
    LimitExceeded,
    Overloaded,
    Rejected,
    SdkitError,
    Unavailable,
    from_wire,
)

load_rooms()
# Of the package: other tests define errors of their own, some of them wrong on purpose.
CODES = {
    code: error for code, error in errors.codes().items() if error.__module__.startswith("sdkit.")
}
KINDS = {"rejected": Rejected, "unavailable": Unavailable, "aborted": Aborted}
KINDS["indeterminate"] = Indeterminate


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_error_crosses_the_wire_as_itself(code: str) -> None:
    cls = CODES[code]
    sent = cls.__new__(cls)
    SdkitError.__init__(sent, "disk 1 is full", disk=1, name=b"\xff", free=None)
    wire = msgpack.unpackb(msgpack.packb(sent.to_wire()))
    received = from_wire(*wire)
    assert type(received) is cls
    assert str(received) == received.message == "disk 1 is full"
    assert received.fields == {"disk": 1, "name": b"\xff", "free": None}
    assert received.to_wire() == sent.to_wire()


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_error_belongs_to_exactly_one_answer(code: str) -> None:
    cls = CODES[code]
    assert cls.code == code
    assert [kind for kind, branch in KINDS.items() if issubclass(cls, branch)] == [cls.kind]
    assert cls.__doc__


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_an_unknown_code_keeps_its_answer(kind: str) -> None:
    error = from_wire(kind, "from_the_future", "something new", {"a": 1})
    assert type(error) is KINDS[kind]
    assert str(error) == "something new"


def test_a_known_code_of_another_kind_is_believed_in_its_kind() -> None:
    assert type(from_wire("indeterminate", "overloaded", "?", {})) is Indeterminate


def test_an_unknown_kind_assumes_least() -> None:
    assert type(from_wire("perhaps", "overloaded", "?", {})) is Indeterminate


@pytest.mark.parametrize(
    "field", ["self", "message", "code", "kind", "fields", "args", "__class__", "", "with space"]
)
def test_a_field_of_any_name_harms_nothing(field: str) -> None:
    error = from_wire("unavailable", "overloaded", "full", {field: "hostile"})
    assert type(error) is Overloaded
    assert (error.kind, error.code, str(error)) == ("unavailable", "overloaded", "full")
    assert error.fields == {field: "hostile"}


@given(
    st.text(),
    st.text() | st.sampled_from(sorted(CODES)),
    st.text(),
    st.dictionaries(st.text() | st.integers() | st.binary(), st.none() | st.integers()),
)
def test_whatever_a_peer_sends_becomes_an_error_with_an_answer(
    kind: str, code: str, message: str, fields: dict[str, object]
) -> None:
    error = from_wire(kind, code, message, fields)
    assert isinstance(error, SdkitError)
    assert error.kind == (kind if kind in KINDS else "indeterminate")
    assert str(error) == message


def test_errors_can_be_caught_as_built_in_kinds() -> None:
    assert issubclass(DeadlineExceeded, TimeoutError)
    assert issubclass(InvalidArgument, ValueError)
    assert issubclass(errors.NotConnected, ConnectionError)
    assert issubclass(errors.UnknownMethod, LookupError)


def test_two_errors_with_one_code_are_refused() -> None:
    with pytest.raises(AssertionError, match="two errors named overloaded"):
        type("Impostor", (Unavailable,), {"code": "overloaded"})


def test_an_error_can_be_pickled_like_any_other() -> None:
    error = LimitExceeded("key is too long", size=9)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.fields) == (LimitExceeded, str(error), error.fields)


@pytest.mark.parametrize("value", [1, 5, 10])
def test_a_value_between_its_limits_is_taken(value: int) -> None:
    check_between("clients", value, 1, 10)


@pytest.mark.parametrize("value", [0, 11, float("nan"), float("inf")])
def test_a_value_outside_its_limits_is_refused_by_name(value: float) -> None:
    with pytest.raises(InvalidArgument, match=f"clients is {value}; .* between 1 and 10"):
        check_between("clients", value, 1, 10)


def test_the_page_of_codes_is_up_to_date() -> None:
    """``python -m sdkit.cli.pages errors > docs/errors.md`` writes it."""
    page = Path(__file__).parent.parent / "docs" / "errors.md"
    assert page.read_text(encoding="utf-8") == error_codes()
