"""What ``--json`` prints has the keys that the documentation lists, and no others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anabranch import errors
from support.databases import sqlite
from support.store import Store, table
from support.trees import revision_file

ROOT = Path(__file__).parents[2]

#: Where in an answer an object of which kind stands: ``[]`` for each item of a list.
INSIDE = {
    "init-db": {
        "applied[]": "reference",
        "failed[]": "failed",
        "skipped[]": "skipped",
        "problems[]": "problem",
    },
    "failed": {"error": "error"},
    "db plan": {"steps[]": "step", "problems[]": "problem"},
    "db status": {
        "owners[]": "owner",
        "pending[]": "step",
        "last_event": "event",
        "problems[]": "problem",
    },
    "db history": {"events[]": "event"},
    "db plugins": {"plugins[]": "plugin"},
    "db check": {"owners[]": "checked owner", "problems[]": "problem"},
    "db sql": {"steps[]": "step"},
    "failure": {"error": "error", "problems[]": "problem"},
    "step": {"operations[]": "operation", "depends_on[]": "reference"},
    "owner": {"left": "left"},
    "left": {"tables[]": "table", "parts[]": "part", "foreign_keys[]": "foreign key"},
    "checked owner": {"findings[]": "finding"},
}


def documented() -> dict[str, set[str]]:
    text = (ROOT / "docs/reference/json.md").read_text(encoding="utf-8")
    return {
        section.partition("\n")[0]: set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
        for section in text.split("\n## ")[1:]
    }


def objects(kind: str, answer: dict[str, Any]) -> Iterator[tuple[str, set[str]]]:
    """Yield the kind and the keys of *answer* and of every object in it."""
    yield kind, set(answer)
    for place, inner in INSIDE.get(kind, {}).items():
        found = answer[place.removesuffix("[]")]
        for item in (found or []) if place.endswith("[]") else [found]:
            if item is not None:
                yield from objects(inner, item)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, dict[str, Any]]]:
    """One answer of every command, from a deployment that has something of everything."""
    directory = tmp_path_factory.mktemp("json")
    store = Store(directory, sqlite(directory / "store.sqlite"))
    c1 = revision_file("c1", upgrade=table("item"))
    p1 = revision_file(
        "p1",
        depends="c1",
        upgrade='op.create_table("stall", sa.Column("id", sa.Integer, sa.ForeignKey("item.id")))\n'
        'op.add_column("item", sa.Column("stalls", sa.Integer))',
    )
    store.core(c1)
    store.plugin("p", p1)
    store.upgrade()
    store.uninstall("p")
    edited = c1.replace("pass", "pass  # edited")
    store.core(edited, revision_file("c2", down="c1", upgrade=table("other")))
    store.plugin("q", revision_file("q1", depends="c2"))
    found: list[tuple[str, dict[str, Any]]] = []
    for command in ("plan", "status", "history", "plugins", "check", "sql"):
        result = store.db(command, "--json")
        found.append((f"db {command}", json.loads(result.out)))
    store.database.execute("DROP TABLE stall")
    found.append(("db check", json.loads(store.db("check", "--json").expect(4).out)))
    found.append(("failure", json.loads(store.db("plan", "--strict", "--json").expect(4).out)))
    boom = 'raise ValueError("no")'
    store.plugin("r", revision_file("r1", upgrade=boom), revision_file("r2", down="r1"))
    run = store.init_db("--keep-going", "--json").expect(5)
    found.append(("init-db", json.loads(run.out)))
    return found


def test_every_key_is_documented_and_every_documented_key_is_there(
    answers: list[tuple[str, dict[str, Any]]],
) -> None:
    expected = documented()
    seen: dict[str, set[str]] = {}
    for kind, answer in answers:
        assert answer.pop("schema_version") == 1, kind
        for name, keys in objects(kind, answer):
            assert keys == expected[name], name
            seen[name] = keys
    assert seen == expected


def test_every_exit_code_is_documented() -> None:
    text = (ROOT / "docs/guides/operators.md").read_text(encoding="utf-8")
    table = text.partition("## Exit codes")[2]
    documented = {int(code) for code in re.findall(r"^\| (\d)\b", table, re.MULTILINE)}
    raised = {
        value.exit_code
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.AnabranchError)
    }
    assert raised | {0, 6} <= documented
