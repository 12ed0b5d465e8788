"""What a database answered survives as text, whatever it was."""

from __future__ import annotations

from datetime import timezone
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from anabranch.answers import Answer, answer_in

VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.none() | st.just(timezone.utc)),
    st.timedeltas(),
)


@given(st.lists(st.tuples(VALUES, VALUES)))
def test_rows_are_given_again_as_they_were(rows: list[tuple[Any, ...]]) -> None:
    description = [("a", 3, None, 11, 11, 0, False), ("b", 253, None, 1, 1, 0, True)]
    kept = answer_in(Answer(description=description, rowcount=len(rows), rows=rows).text())
    assert kept.description == description
    assert kept.fetchall() == rows
    assert [list(map(type, row)) for row in kept.rows] == [list(map(type, row)) for row in rows]


def test_rows_are_fetched_one_by_one_or_some_at_a_time() -> None:
    answer = Answer(rows=[(number,) for number in range(5)])
    assert answer.fetchone() == (0,)
    assert answer.fetchmany(2) == [(1,), (2,)]
    assert answer.fetchmany() == [(3,)]
    assert answer.fetchall() == [(4,)]
    assert answer.fetchone() is None


def test_an_error_is_kept_with_its_arguments() -> None:
    kept = answer_in(Answer(error=("IntegrityError", (1062, "Duplicate entry"))).text())
    assert kept.error == ("IntegrityError", [1062, "Duplicate entry"])


def test_what_is_too_long_or_strange_is_not_kept() -> None:
    assert Answer(rows=[("x" * 2_000_000,)]).text() == ""
    assert Answer(rows=[(object(),)]).text() == ""
