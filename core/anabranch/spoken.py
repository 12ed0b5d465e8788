"""What a text that is sent to a server says to it: statement by statement, without comments.

Servers read more than the standard's text: PostgreSQL takes several statements at once and comments
within comments, MariaDB and MySQL run what stands in some comments, and statements in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from anabranch.statements import tokens

# A text without these words takes nothing away; most are not looked at any further.
_TAKING = re.compile(r"drop|alter|replace|rename", re.IGNORECASE)
_PIECES = {
    "postgresql": re.compile(
        r"""\b[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$.*?\$\1\$"""
        r"""|/\*|--[^\n]*""",
        re.DOTALL,
    ),
    "mysql": re.compile(
        r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`]|``)*`"""
        r"""|/\*M?!\d*|/\*.*?\*/|\*/|\#[^\n]*|--(?=\s)[^\n]*""",
        re.DOTALL,
    ),
}
_PIECES["mariadb"] = _PIECES["mysql"]
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_COMMENT_END = re.compile(r"/\*|\*/")
# Of MariaDB and MySQL: what holds other statements, and how those begin and end.
_WRAPPER = re.compile(
    r"\s*(?:EXECUTE|PREPARE|BEGIN|IF|CASE|FOR|LOOP|REPEAT|WHILE)\b", re.IGNORECASE
)
_WRAPPED = re.compile(
    r"\b(?:DROP|ALTER|RENAME|CREATE\s+OR\s+REPLACE)\s[^;'\"]*", re.IGNORECASE | re.DOTALL
)


def spoken(text: str, dialect: str) -> tuple[str, ...]:
    """Return the statements that *text* is, in order, as far as they may take something away.

    What is left has no comments that mislead, and no strings with a backslash in them.
    """
    if not _TAKING.search(text):
        return (text,)
    if dialect in _PIECES and any(mark in text for mark in ("/*", "#", "\\")):
        text = "".join(_uncovered(text, dialect))
    if dialect == "postgresql":
        return _split(text) if ";" in text.rstrip("; \t\n") else (text,)
    text = text.lstrip("; \t\n")
    if dialect in _PIECES and _WRAPPER.match(text):
        return tuple(_WRAPPED.findall(text)) or (text,)
    return (text,)


def _uncovered(text: str, dialect: str) -> Iterator[str]:
    place = 0
    while match := _PIECES[dialect].search(text, place):
        yield text[place : match.start()]
        piece, place = match[0], match.end()
        if piece == "/*":
            place = _end_of_comment(text, match.start())
        if piece[0] in "'\"`$eE":
            yield _ESCAPED.sub("", piece.lstrip("eE")) if piece[0] not in "`$" else piece
        else:
            yield " "
    yield text[place:]


def _end_of_comment(text: str, start: int) -> int:
    """Return where a comment of PostgreSQL ends, which may hold others."""
    depth = 0
    for match in _COMMENT_END.finditer(text, start):
        depth += 1 if match[0] == "/*" else -1
        if not depth:
            return match.end()
    return len(text)


def _split(text: str) -> tuple[str, ...]:
    ends = [token.start for token in tokens(text) if token.text == ";"]
    parts = (
        text[start:end].strip()
        for start, end in zip([0, *(end + 1 for end in ends)], [*ends, len(text)], strict=True)
    )
    return tuple(filter(None, parts)) or (text,)
