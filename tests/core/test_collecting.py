"""The collector is left as it was found."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from anabranch.collecting import collection_paused


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
