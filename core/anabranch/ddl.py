"""Statements that make, change or drop tables and indexes, and say which, told by their beginning.

They are matched from the first word on, as :func:`~anabranch.statements.uncommented` leaves them;
what is :data:`OPAQUE` does not say.
"""

from __future__ import annotations

import re

from anabranch.standing import NAME, QUALIFIED

_FLAGS = re.IGNORECASE | re.DOTALL
CREATED_TABLE = re.compile(
    rf"CREATE\s+(?:UNLOGGED\s+|OR\s+REPLACE\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?{QUALIFIED}",
    _FLAGS,
)
DROPPED_TABLES = re.compile(
    rf"DROP\s+TABLE\s+(?:IF\s+EXISTS\s+)?({QUALIFIED}(?:\s*,\s*{QUALIFIED})*)", _FLAGS
)
ALTERED_TABLE = re.compile(
    rf"ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?{QUALIFIED}\s+"
    rf"(?:RENAME\s+TO\s+{QUALIFIED}|SET\s+SCHEMA\s+({NAME}))?",
    _FLAGS,
)
CREATED_INDEX = re.compile(
    r"CREATE\s+(?:(?:UNIQUE|FULLTEXT|SPATIAL)\s+)?INDEX\s+(?:CONCURRENTLY\s+)?(?:IF\s+NOT\s+EXISTS\s+)?"
    rf"(?:{QUALIFIED}\s+)?ON\s+(?:ONLY\s+)?{QUALIFIED}",
    _FLAGS,
)
DROPPED_INDEX = re.compile(
    rf"(?:DROP|ALTER)\s+INDEX\s+(?:CONCURRENTLY\s+)?(?:IF\s+EXISTS\s+)?{QUALIFIED}", _FLAGS
)
TEMPORARY = re.compile(r"CREATE\s+(?:(?:GLOBAL|LOCAL)\s+)?TEMP(?:ORARY)?\b", _FLAGS)
# A rolled-back savepoint undoes what was seen; the others hide statements inside themselves.
OPAQUE = re.compile(
    r"CREATE\s+VIRTUAL\b|(?:DO|CALL|EXECUTE|RENAME|ROLLBACK)\b|SELECT\b.*\bINTO\b"
    r"|.*;\s*\S",
    _FLAGS,
)
DDL = re.compile(r"(?:CREATE|DROP|ALTER)\b", _FLAGS)
WRITE = re.compile(
    r"(?:WITH\b.*?\b)?(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|REPLACE\s+INTO|UPDATE(?:\s+OR\s+\w+)?"
    rf"|DELETE\s+FROM)\s+{QUALIFIED}",
    _FLAGS,
)
