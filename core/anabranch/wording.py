"""Small helps to say a thing in a sentence."""

from __future__ import annotations

from collections.abc import Iterable


def counted(number: int, one: str, many: str) -> str:
    """Return *number* before the words for one or for many."""
    return f"{number} {one if number == 1 else many}"


def text_of(error: BaseException) -> str:
    """Return the text of *error* in one line, also where it fails to give it."""
    try:
        return " ".join(str(error).split())
    except Exception:
        return "it cannot say why"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a closing sentence that offers the known word closest to *word*, or nothing."""
    import difflib

    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def one_line(text: str, most: int | None = None) -> str:
    """Return *text* without line breaks and control characters, which could forge lines.

    :param most: how many characters of it there is room for.
    """
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if most is None or len(line) <= most else f"{line[: most - 3].rstrip()}..."
