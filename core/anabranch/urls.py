"""Database URLs: reading them as people write them, and showing them without a secret."""

from __future__ import annotations

import json
import os
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import exc

from anabranch.errors import ConfigurationError

_SECRET_KEYS = re.compile(r"pass|pwd|secret|token|key", re.IGNORECASE)
# A user, a password and an "@" that stands before no more than a host, a database and a query. What
# stands after a user with an "@" may be a port.
_AUTHORITY = re.compile(
    r"([\w+]+://)(?![^:/?@]*@[^:@/?]*:\d+(?:[/?]|$))([^:/?]+):(.*?)"
    r"(@(?:[^@/?]+|(?=/[^/?]))(?:/[^/?]*)?(?:\?.*)?)",
    re.DOTALL,
)
_SYNCHRONOUS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
URI_DRIVERS = ("pysqlite",)
"""SQLite's drivers that open a file by a URI."""
_SQLITE_OPTIONS = (
    "cached_statements",
    "check_same_thread",
    "detect_types",
    "isolation_level",
    "timeout",
    "uri",
)


def parse_url(text: str, directory: Path, origin: str = "") -> sa.URL:
    """Read a database URL; a relative SQLite path is relative to *directory*.

    A password need not be percent-encoded, whatever characters it holds. Where that leaves several
    readings, it is the shortest. An "@" in the query is refused: the password may be longer than
    that, and a part of it would be shown.

    :param origin: where the URL was found, for messages.
    :raises ConfigurationError: if it cannot be read, or its driver is missing or asynchronous. The
        message does not repeat the URL.
    """
    where = f"The database URL ({origin})" if origin else "The database URL"
    if match := _AUTHORITY.fullmatch(text):
        scheme, user, password, rest = match.groups()
        if "@" in rest.partition("?")[2]:
            raise ConfigurationError(
                f"{where} can be read in two ways: an @ follows a question mark.",
                remedy="Write those of the password as %40 and %3F, and an @ after them as %40.",
            )
        quoted = urllib.parse.quote(password, safe="%")
        text = scheme + user.replace("@", "%40") + ":" + quoted + rest
    try:
        url = sa.make_url(text)
    except (exc.ArgumentError, ValueError):
        raise ConfigurationError(
            f"{where} cannot be read.",
            remedy="It reads dialect://user:password@host/database, "
            "or sqlite:///./file.sqlite for a file in the deployment.",
        ) from None  # the cause may quote the password
    try:
        dialect = url.get_dialect()
    except exc.NoSuchModuleError:
        raise ConfigurationError(
            f"{where} names a database or a driver that is not known, {url.drivername}.",
            remedy="Begin it with sqlite://, postgresql://, mariadb+pymysql:// or mysql+pymysql://.",
        ) from None
    except ImportError as error:
        raise ConfigurationError(
            f"{where} needs a driver that is not installed: {error.name}.",
            remedy=driver_remedy(error),
        ) from error
    if dialect.is_async:
        name = _SYNCHRONOUS.get(dialect.name, dialect.name)
        raise ConfigurationError(
            f"{where} names an asynchronous driver, {url.drivername}.",
            remedy=f"Migrations run synchronously: write {name}:// for them.",
        )
    if dialect.name == "sqlite" and (url.host or url.username or url.password):
        raise ConfigurationError(
            f"{where} names a server or a user, which SQLite does not have.",
            remedy="Write sqlite:///./file.sqlite for a file in the deployment.",
        )
    if dialect.name == "sqlite":
        _check_query(url, where)
    if dialect.name == "sqlite" and is_file(url):
        url = url.set(database=os.path.normpath(directory / (url.database or "")))
    return url


def _check_query(url: sa.URL, where: str) -> None:
    """Refuse what would be passed over, or become a part of the file's name.

    :raises ConfigurationError: if the query of a SQLite URL cannot be meant.
    """
    is_uri = (url.database or "").startswith("file:")
    unknown = [key for key in url.query if key not in _SQLITE_OPTIONS]
    if unknown and not is_uri and url.get_driver_name() in URI_DRIVERS:
        raise ConfigurationError(
            f"{where} has {', '.join(unknown)} after the question mark, which SQLite's driver does "
            "not know.",
            remedy=f"It knows {', '.join(_SQLITE_OPTIONS)}.",
        )
    try:
        url.get_dialect()().create_connect_args(url)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{where} has a wrong value after the question mark: {error}.",
            remedy="Correct it, or take it out.",
        ) from error


def driver_remedy(error: ImportError) -> str:
    """Say how to install the driver that is missing."""
    if error.name == "psycopg":
        return "Install it: pip install 'anabranch[postgresql]'."
    if error.name == "pymysql":
        return "Install it: pip install 'anabranch[mysql]'."
    if error.name == "MySQLdb":
        return "Install it, or take PyMySQL: mysql+pymysql:// and pip install 'anabranch[mysql]'."
    return f"Install it: pip install {error.name}."


def masked(url: sa.URL) -> str:
    """Return *url* as text without a password, wherever in it that stands."""
    query = {key: "***" if _SECRET_KEYS.search(key) else value for key, value in url.query.items()}
    return url.set(query=query).render_as_string(hide_password=True).replace("%2A%2A%2A", "***")


def scrubbed(text: str, url: sa.URL) -> str:
    """Return *text* without the password of *url*, in any spelling."""
    secrets = [url.password or ""]
    for key, value in url.query.items():
        if _SECRET_KEYS.search(key):
            secrets += [value] if isinstance(value, str) else value
    spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, "***")
    return text


def _spellings(secret: str) -> Iterator[str]:
    """Yield *secret* as it is, and as URLs, Python, JSON, SQL and connection strings write it."""
    if not secret:
        return
    rendered = sa.URL.create("x", "x", secret).render_as_string(hide_password=False)
    encoded = (
        rendered.removeprefix("x://x:").removesuffix("@"),
        urllib.parse.quote(secret),
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
    )
    yield from encoded
    yield from (re.sub("%..", lambda found: found[0].lower(), each) for each in encoded)
    # Within a longer text Python may have to escape a quote that it would not here.
    yield from (secret, repr(secret)[1:-1], repr(f'{secret}"')[1:-2], ascii(f'{secret}"')[1:-2])
    yield from (json.dumps(secret, ensure_ascii=plain)[1:-1] for plain in (True, False))
    yield " ".join(f"<{secret}>".split())[1:-1]  # as in a text that is made one line
    yield from (secret.replace("'", "''"), secret.replace("\\", "\\\\").replace("'", "\\'"))


def is_file(url: sa.URL) -> bool:
    """Tell whether a SQLite URL names a file, not a database in memory nor a URI."""
    database = url.database or ""
    return database not in ("", ":memory:") and not database.startswith("file:")
