"""The identity of a revision is the pair of owner and id."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anabranch.revision import CORE, Revision, RevisionKey

_owners = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
_ids = st.from_regex(r"[A-Za-z0-9_.]{1,32}", fullmatch=True)


@given(_owners, _ids)
def test_key_is_written_and_read_back(owner: str, id_: str) -> None:
    """``owner@id`` says it all, for every name that is allowed."""
    key = RevisionKey(owner, id_)
    assert str(key) == f"{owner}@{id_}"
    assert RevisionKey.parse(str(key)) == key


def test_equal_ids_of_two_owners_are_two_revisions() -> None:
    """Everything that maps revisions goes by the pair."""
    keys = {RevisionKey(CORE, "0001"), RevisionKey("billing", "0001"), RevisionKey(CORE, "0001")}
    assert sorted(map(str, keys)) == ["billing@0001", "core@0001"]


def test_revision_knows_its_owner_and_id() -> None:
    """The two halves of the key can be asked for."""
    revision = Revision(RevisionKey("billing", "3f2c"))
    assert (revision.owner, revision.id) == ("billing", "3f2c")
