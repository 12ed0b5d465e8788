"""The collector is left as it was found."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from anabranch.collecting import collection_eased, collection_paused


@pytest.fixture(params=[True, False], ids=["enabled", "disabled"])
def enabled(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the collector runs before the test; afterwards it does."""
    if not request.param:
        gc.disable()
    yield request.param
    gc.enable()


def test_no_collection_begins_and_the_collector_is_left_as_it_was_found(enabled: bool) -> None:
    with collection_paused(), collection_paused():
        assert not gc.isenabled()
    assert gc.isenabled() == enabled


def test_an_error_leaves_it_as_it_was_found_too(enabled: bool) -> None:
    with pytest.raises(RuntimeError), collection_paused():
        raise RuntimeError
    assert gc.isenabled() == enabled


def test_what_is_set_aside_for_a_run_is_looked_through_again_after_it() -> None:
    with pytest.raises(RuntimeError), collection_eased():
        assert gc.get_freeze_count() > 0
        with collection_eased():
            assert gc.get_freeze_count() > 0
        assert gc.get_freeze_count() > 0, "a run within a run leaves it to the outer one"
        raise RuntimeError
    assert gc.get_freeze_count() == 0


def test_what_the_application_has_set_aside_stays_so() -> None:
    gc.freeze()
    try:
        before = gc.get_freeze_count()
        with collection_eased():
            pass
        assert gc.get_freeze_count() == before
    finally:
        gc.unfreeze()
