"""A script that takes applied revisions out of our records: all of them would run again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch import RevisionError
from support.databases import Database
from support.store import Store, table
from support.trees import revision_file

EMPTYING = "DELETE FROM anabranch_revision"


@pytest.fixture
def store(tmp_path: Path, every_database: Database) -> Iterator[Store]:
    """Two revisions are applied."""
    store = Store(tmp_path, every_database)
    store.core(*APPLIED)
    store.upgrade()
    yield store
    store.site.close()


APPLIED = (
    revision_file("c1", upgrade=table("one")),
    revision_file("c2", down="c1", upgrade=table("two")),
)


@pytest.mark.parametrize(
    "body",
    [
        f"op.execute({EMPTYING!r})",
        f"op.get_bind().connection.cursor().execute({EMPTYING!r})",
        f"op.execute({EMPTYING!r})\nop.get_bind().commit()",
        f"op.execute({EMPTYING + chr(32) + 'WHERE revision = ' + repr('c1')!r})",
    ],
    ids=["statement", "driver", "committed", "one row"],
)
def test_a_script_cannot_take_applied_revisions_out(store: Store, body: str) -> None:
    store.core(*APPLIED, revision_file("c3", down="c2", upgrade=body))
    with pytest.raises(RevisionError, match="out of anabranch_revision") as raised:
        store.upgrade()
    assert (raised.value.code, raised.value.state.startswith("core@c3 was rolled")) == (
        "AB301",
        True,
    )
    assert store.applied == {"core@c1", "core@c2"}


def test_who_only_reads_the_records_is_left_alone(store: Store) -> None:
    body = "assert op.get_bind().exec_driver_sql('SELECT * FROM anabranch_revision').all()"
    plain = "op.execute('UPDATE anabranch_revision SET distribution = version')"
    store.core(
        *APPLIED,
        revision_file("c3", down="c2", upgrade=body),
        revision_file("c4", down="c3", upgrade=plain),
    )
    assert store.upgrade() == ["core@c3", "core@c4"]
