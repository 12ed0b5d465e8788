"""One spelling for each owner."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.names import is_owner_name, normalise


@pytest.mark.parametrize("name", ["shop-reviews", "Shop_Reviews", "shop.reviews", "SHOP-_.reviews"])
def test_spellings_of_one_name_are_one_name(name: str) -> None:
    """As PEP 503 compares the names of distributions."""
    assert normalise(name) == "shop-reviews"


@given(st.text(max_size=20))
def test_normalised_name_stays_as_it_is(name: str) -> None:
    """Normalising twice changes nothing, so it may be done at every door."""
    assert normalise(normalise(name)) == normalise(name)


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("a", True),
        ("shop-reviews", True),
        ("7", True),
        ("x" * 100, True),
        ("x" * 101, False),
        ("", False),
        ("-a", False),
        ("a-", False),
        ("a b", False),
        ("a@b", False),
        ("A", False),
        ("a\n", False),
        ("ä", False),
    ],
)
def test_owner_names_fit_into_files_sql_and_messages(name: str, fits: bool) -> None:
    """Letters, digits and dashes inside; 100 at most, as wide as the column that holds it."""
    assert is_owner_name(name) is fits
