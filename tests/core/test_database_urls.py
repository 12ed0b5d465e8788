"""A database URL is read as people write it, and never repeated with its secrets."""

from __future__ import annotations

import json
import re
import traceback
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import sqlalchemy as sa
from hypothesis import assume, example, given
from hypothesis import strategies as st

from anabranch.database import Database
from anabranch.errors import ConfigurationError
from anabranch.urls import masked, parse_url

HERE = Path("/srv/shop")


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("sqlite:///./shop.sqlite", "/srv/shop/shop.sqlite"),
        ("sqlite:///shop.sqlite", "/srv/shop/shop.sqlite"),
        ("sqlite:///data/../x.db", "/srv/shop/x.db"),
        ("sqlite:///../x.db", "/srv/x.db"),
        ("sqlite:////var/x.db", "/var/x.db"),
        ("sqlite+pysqlite:///x y.db", "/srv/shop/x y.db"),
        ("sqlite://", None),
        ("sqlite:///:memory:", ":memory:"),
        ("sqlite:///file:x.db?uri=true", "file:x.db"),
    ],
)
def test_relative_sqlite_file_is_put_into_the_directory(text: str, file: str | None) -> None:
    """What is no file, a database in memory or a URI of SQLite's own, stays as it is."""
    assert parse_url(text, HERE).database == file


def test_other_databases_are_left_as_they_are() -> None:
    """Their last part is a name and no path."""
    url = parse_url("postgresql+psycopg://u@h:5433/shop?sslmode=require", HERE)
    assert url.render_as_string() == "postgresql+psycopg://u@h:5433/shop?sslmode=require"


@pytest.mark.parametrize(
    "password",
    [
        "secret",
        "p@ss",
        "p@@ss@",
        "100%",
        "50%zz",
        "a:b",
        "a/b",
        "a?b",
        "a#b",
        "a+b",
        "ä ö",
        ":@%",
        "/@?",
        "a@b/c",
        "#@/?",
    ],
)
def test_password_need_not_be_encoded(password: str) -> None:
    """As it is typed, and percent-encoded; user, host and database are not touched by it."""
    for written in {password, quote(password, safe="")}:
        url = parse_url(f"postgresql://me:{written}@host:5433/shop", HERE)
        assert (url.username, url.password, url.host, url.port, url.database) == (
            "me",
            password,
            "host",
            5433,
            "shop",
        )


@pytest.mark.parametrize("user", ["me:pw", "me@server:pw"])
def test_database_may_hold_an_at_sign(user: str) -> None:
    """Then the first reading that leaves a host is meant."""
    url = parse_url(f"postgresql://{user}@host:5433/db@x?sslmode=require", HERE)
    assert (url.host, url.port, url.database) == ("host", 5433, "db@x")
    assert url.password == "pw"


@pytest.mark.parametrize(
    ("scheme", "instead"),
    [
        ("sqlite+aiosqlite", "sqlite"),
        ("postgresql+asyncpg", "postgresql+psycopg"),
        ("postgresql+psycopg_async", "postgresql+psycopg"),
        ("mysql+aiomysql", "mysql+pymysql"),
    ],
)
def test_asynchronous_driver_is_answered_with_one_that_is_not(scheme: str, instead: str) -> None:
    """Which applications have, and whose connections no script can use."""
    with pytest.raises(ConfigurationError) as caught:
        parse_url(f"{scheme}://u:hunter2@h/d", HERE, "in x/config.toml")
    assert caught.value.exit_code == 2
    if "asynchronous" in caught.value.what:  # else it is not even installed
        assert f"(in x/config.toml) names an asynchronous driver, {scheme}." in caught.value.what
        assert caught.value.remedy.endswith(f"write {instead}:// for them.")
    assert "hunter2" not in str(caught.value)


def test_user_may_hold_an_at_sign() -> None:
    """Some servers want ``user@server``."""
    url = parse_url("postgresql://me@server:p@ss@host/shop", HERE)
    assert (url.username, url.password, url.host) == ("me@server", "p@ss", "host")


@pytest.mark.parametrize("scheme", ["postgres", "nosuch", "postgresql+nosuch"])
def test_unknown_database_is_named_and_the_known_ones_too(scheme: str) -> None:
    """``postgres://``, as some hosts write it, is not what SQLAlchemy reads."""
    with pytest.raises(ConfigurationError) as caught:
        parse_url(f"{scheme}://u:hunter2@h/d", HERE, "x/config.toml")
    assert f"(x/config.toml) names a database or a driver that is not known, {scheme}." in str(
        caught.value
    )
    assert "postgresql://" in caught.value.remedy
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__  # SQLAlchemy's own would show the whole URL


@pytest.mark.parametrize(
    "text",
    [
        "hunter2",
        "postgresql:/u:hunter2@h/d",
        "postgresql://u:hunter2@h:port/d",
        "",
    ],
)
def test_url_that_cannot_be_read_is_not_repeated(text: str) -> None:
    """Neither in the message nor in a traceback that somebody logs."""
    with pytest.raises(ConfigurationError) as caught:
        parse_url(text, HERE)
    assert str(caught.value) == "The database URL cannot be read."
    assert "dialect://user:password@host/database" in caught.value.remedy
    frames = traceback.format_exception(caught.value)
    assert "hunter2" not in "".join(frames)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:hunter2@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:hun@ter2@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:hun%40ter2@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql:///d?user=u&password=hunter2", "postgresql:///d?password=***&user=u"),
        ("postgresql://h/d?sslpassword=hunter2", "postgresql://h/d?sslpassword=***"),
        ("postgresql://h/d?Token=hunter2&sslmode=on", "postgresql://h/d?Token=***&sslmode=on"),
        ("postgresql://h/d?password=hunter2&password=x", "postgresql://h/d?password=***"),
        ("sqlite:////var/x.db", "sqlite:////var/x.db"),
    ],
)
def test_masked_url_hides_passwords_wherever_they_stand(text: str, shown: str) -> None:
    """In the authority and in the query; the rest stays readable."""
    url = parse_url(text, HERE)
    assert "hunter2" not in masked(url) and "ter2" not in masked(url)
    assert sa.make_url(masked(url)) == sa.make_url(shown)
    assert Database.of(url).title == masked(url)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=1000), min_size=4, max_size=12))
@example("p@ss w/rd")
@example("a+b c%/")
def test_scrubbed_text_holds_no_spelling_of_the_password(password: str) -> None:
    """Raw, encoded either way, or as SQLAlchemy writes it: none comes through."""
    assume(password not in "postgresql://u:***@h/d")
    url = sa.URL.create("postgresql", "u", password, "h", database="d")
    spelt = [password, quote(password), quote_plus(password)]
    spelt.append(url.render_as_string(hide_password=False))
    text = Database.of(url).scrub(" | ".join(f"<{each}>" for each in spelt))
    assert text.startswith("<***> | <***> | <***> | <postgresql://u:***@h/d>")


def test_passwords_of_the_query_are_scrubbed_too() -> None:
    """A driver that quotes its own arguments gives nothing away."""
    url = parse_url("postgresql://h/d?password=hunter2&sslmode=require", HERE)
    assert (
        Database.of(url).scrub("password=hunter2 sslmode=require") == "password=*** sslmode=require"
    )


@pytest.mark.parametrize("password", ["o'q\"b\\s", "it's", "tab\tä€", "low%2F/er", "p'w"])
def test_password_is_scrubbed_as_programs_write_it(password: str) -> None:
    """Python and JSON, within a longer text too, SQL, libpq, and a URL in small letters."""
    url = sa.URL.create("postgresql", "u", password, "h")
    within = repr({"password": f"{password}'\""})
    libpq = password.replace("\\", "\\\\").replace("'", "\\'")
    encoded = re.sub("%..", lambda found: found[0].lower(), quote(password, safe=""))
    spelt = [repr(password), ascii(password), json.dumps(password), within, libpq, encoded]
    spelt += [json.dumps(password, ensure_ascii=False), password.replace("'", "''")]
    left = [re.sub(r"\W|password", "", Database.of(url).scrub(text)) for text in spelt]
    assert left == [""] * len(spelt)


@pytest.mark.parametrize("password", ["two\nlines", "a\u2028b\t ", " c"])
def test_password_is_scrubbed_from_a_text_that_was_made_one_line(password: str) -> None:
    url = sa.URL.create("postgresql", "u", password, "h")
    text = " ".join(f"refused <{password}> for u".split())
    assert Database.of(url).scrub(text) == "refused <***> for u"


def test_every_password_of_the_query_is_scrubbed() -> None:
    """One may stand there twice."""
    url = parse_url("postgresql://h/d?password=hunter2&password=hunter3&pwd=hunter4", HERE)
    assert Database.of(url).scrub("hunter2 hunter3 hunter4") == "*** *** ***"
    assert "hunter" not in masked(url)


@pytest.mark.parametrize("password", ["p@h?unter2", "hun@ter?x=2", "b@c?d"])
def test_password_of_which_a_part_would_be_shown_is_refused(password: str) -> None:
    """What stands after an @ would be taken for a host, shown, and looked up."""
    with pytest.raises(ConfigurationError, match="can be read in two ways") as caught:
        parse_url(f"postgresql://u:{password}@host/d", HERE)
    assert password not in str(caught.value) + caught.value.remedy
    url = parse_url(f"postgresql://u:{quote(password, safe='')}@host/d?x=a%40b", HERE)
    assert (url.password, url.host, url.query["x"]) == (password, "host", "a@b")


def test_password_that_the_driver_cannot_send_is_answered() -> None:
    """Not with a part of it, as the driver does."""
    url = parse_url("mysql+pymysql://u:hunter€2@127.0.0.1:1/d", HERE)
    with (
        pytest.raises(ConfigurationError, match="cannot send a password") as caught,
        Database.of(url).look(),
    ):
        pass
    assert "20ac" not in str(caught.value) and caught.value.__suppress_context__


def test_text_without_secrets_is_left_as_it_is() -> None:
    """An empty password is none."""
    for text in ("sqlite:///x.db", "postgresql://u@h/d", "postgresql://u:@h/d"):
        assert Database.of(parse_url(text, HERE)).scrub("as it is") == "as it is"
