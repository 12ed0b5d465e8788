"""A fault is data, and a typo is answered."""

from __future__ import annotations

import pytest

from anabranch.errors import IntegrityError
from anabranch.problems import Problem
from anabranch.wording import did_you_mean


@pytest.mark.parametrize(
    ("word", "known", "sentence"),
    [
        ("acounts", ["core", "accounts"], " Did you mean 'accounts'?"),
        ("core", [], ""),
        ("zzz", ["core", "accounts"], ""),
        ("lock_timout", ("lock_timeout",), " Did you mean 'lock_timeout'?"),
    ],
)
def test_closest_known_word_is_offered(word: str, known: list[str], sentence: str) -> None:
    """The sentence closes a message, so it brings its own blank; no likeness, no sentence."""
    assert did_you_mean(word, known) == sentence


def test_equally_close_words_are_chosen_by_letters_and_not_by_chance() -> None:
    """A message is the same in every process, whatever the order of a set."""
    assert did_you_mean("c0", ["c1", "c2", "c3"]) == did_you_mean("c0", ["c3", "c1", "c2"])


def test_error_of_several_problems_holds_them_all() -> None:
    """Nobody mends one fault only to meet the next: code and remedy of the first, text of all."""
    error = IntegrityError(
        [Problem("AB106", "a", "One.", "Do this."), Problem("AB104", "b", "Two.", "Do that.")]
    )
    assert (error.code, error.remedy, error.exit_code) == ("AB106", "Do this.", 4)
    assert str(error) == "One.\nAB104 Two. Do that."
    assert [problem.owner for problem in error.problems] == ["a", "b"]
