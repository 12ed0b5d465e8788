"""A revision's own ``verify()`` is asked in its transaction, and may undo it."""

from __future__ import annotations

import pytest

from anabranch import RevisionError
from support.store import Store, table
from support.trees import revision_file


def run(store: Store, verify: str) -> None:
    first = revision_file("c1", upgrade=table("customer"))
    second = revision_file("c2", down="c1", upgrade=table("product"))
    store.core(first, f"{second}\n\n{verify}\n")
    store.upgrade()


def fails(store: Store, verify: str, words: str) -> RevisionError:
    """*verify* rolls the revision back."""
    with pytest.raises(RevisionError, match=words) as raised:
        run(store, verify)
    assert raised.value.exit_code == 5
    assert "product" not in store.schema
    return raised.value


LOOKS = "SELECT count(*) FROM product"


@pytest.mark.parametrize(
    "verify",
    [
        f"def verify():\n    return op.get_bind().scalar(sa.text('{LOOKS}')) == 0",
        f"def verify(connection):\n    assert connection.scalar(sa.text('{LOOKS}')) == 0",
        "def verify():\n    return ''",
        "verify = 'a name of their own'",
    ],
)
def test_what_is_found_right_stays(store: Store, verify: str) -> None:
    """It sees what its revision did, in the same transaction."""
    run(store, verify)
    assert set(store.schema) == {"customer", "product"}


@pytest.mark.parametrize(
    ("verify", "words"),
    [
        ("def verify():\n    return False", "verify.. says: something is not as it must be"),
        (
            "def verify(c):\n    return 'No product.'",
            r"core@c2 failed .*verify.. says: No product\.",
        ),
    ],
)
def test_what_is_found_wrong_is_rolled_back(store: Store, verify: str, words: str) -> None:
    assert fails(store, verify, words).code == "AB304"


def test_what_it_raises_is_told_with_its_line(store: Store) -> None:
    error = fails(store, "def verify():\n    raise ValueError('no product')", "no product")
    assert (error.code, error.revision.id) == ("AB301", "c2")
    assert error.line is not None


def test_a_downgrade_asks_for_none(store: Store) -> None:
    run(store, "def verify():\n    assert not sa.inspect(op.get_bind()).has_table('nothing')")
    path = next(store.versions.glob("c2*"))
    text = path.read_text()
    start = text.index("def downgrade():")
    text = text[:start] + text[start:].replace("pass", "op.drop_table('product')", 1)
    path.write_text(text.replace("'nothing'", "'customer'"))
    with store.manager() as manager:
        manager.downgrade(store.deployment, "core@c1")
    assert set(store.schema) == {"customer"}
