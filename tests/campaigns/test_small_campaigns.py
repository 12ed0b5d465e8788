"""Small campaigns, so that the commands stay alive and a gross fault is seen at once."""

from __future__ import annotations

import pytest

from campaigns import faults, kill


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_killed_run_is_finished_by_the_next(dialect: str) -> None:
    ours = kill.run(dialect, 12, seed=7, rival=False)["anabranch"]
    assert ours.counts["rounds"] == 12
    assert ours.faults == []


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_fault_at_any_statement_leaves_a_database_that_the_next_run_finishes(
    dialect: str,
) -> None:
    figures = faults.run(dialect, 1, seed=7, least=4, most=4, stride=9)
    assert figures.counts["injected"] > 15
    assert figures.faults == []
