"""Small campaigns, so that the commands stay alive and a gross fault is seen at once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def campaign(name: str, *options: str) -> str:
    """Run a campaign's command, which exits with 1 at any fault, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", f"campaigns.{name}", *options],
        cwd=TESTS,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_killed_run_is_finished_by_the_next(dialect: str) -> None:
    out = campaign("kill", "--database", dialect, "--rounds", "5", "--seed", "7", "--no-rival")
    assert re.search(r"anabranch: 5 rounds, \d+ killed while running, 0 stuck, 0 wrong", out)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_fault_at_any_statement_leaves_a_database_that_the_next_run_finishes(
    dialect: str,
) -> None:
    small = ("--workloads", "1", "--revisions", "4", "4", "--stride", "23")
    out = campaign("faults", "--database", dialect, "--seed", "7", *small)
    found = re.search(r"anabranch: (\d+) faults at (\d+) places, 0 stuck, 0 wrong, 0 with", out)
    assert found, out
    assert int(found[1]) > 5


@pytest.mark.parametrize(
    "options",
    [
        ("--schemas", "15", "--seed", "7"),
        # A copy by hand that renames a column; expressions that reflection takes too long.
        ("--only", "536185925", "632436358", "407608741", "305113796"),
    ],
)
def test_a_rebuilt_table_is_as_asked_or_as_it_was(options: tuple[str, ...]) -> None:
    out = campaign("rebuild", *options, "--no-rival")
    found = re.search(r"anabranch: (\d+) changes, (\d+) exactly .* 0 silently .* 0 failed", out)
    assert found, out
    assert int(found[2]) > 0


def test_a_long_reader_holds_up_neither_the_run_nor_other_readers() -> None:
    out = campaign("readers", "--database", "postgresql", "--rounds", "1", "--hold", "3", "3")
    assert re.search(r"anabranch: 1 rounds, 1 succeeded; [1-9]\d* reads by others, 0 refused", out)


def test_deployments_live_as_a_simple_model_says() -> None:
    out = campaign("lives", "--sequences", "8", "--steps", "10", "--seed", "7")
    assert re.search(r"\d+ sequences, \d+ steps compared, 0 differ", out), out


def test_broken_files_and_full_disks_leave_a_database_that_the_next_run_finishes() -> None:
    """As root; others mount no disks, which the campaign says."""
    out = campaign("files", "--seed", "7", "--quick", "--sizes", "1")
    found = re.search(
        r"anabranch: (\d+) runs, (\d+) of them failed, 0 with another code or text than right, "
        r"0 changed the database, 0 damaged it, 0 left something behind, 0 stuck",
        out,
    )
    assert found, out
    assert int(found[1]) > int(found[2]) > 30
    assert ("left out" in out) == ("nothing is mounted" in out)


def test_bad_input_gets_one_clear_message() -> None:
    """A few of the cases, of all kinds."""
    out = campaign("inputs", "--seed", "7", "--most", "40")
    assert re.search(r"anabranch: 40 cases, ended .*; 0 answered wrong", out), out


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_signal_ends_a_run_with_its_code(dialect: str) -> None:
    out = campaign("signals", "--database", dialect, "--rounds", "2", "--seed", "7")
    assert re.search(r"0 with another code, 0 backends left, 0 wrong", out), out


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_of_many_migrators_each_revision_has_one(dialect: str) -> None:
    out = campaign("migrators", "--database", dialect, "--sizes", "4", "--rounds", "1")
    assert re.search(r"0 rounds with a revision that did not run exactly once, 0 wrong", out), out


def test_a_terminated_session_is_rolled_back_and_the_next_run_goes_on() -> None:
    small = ("--workloads", "1", "--revisions", "4", "4", "--stride", "37")
    out = campaign("terminated", "--seed", "7", *small)
    assert re.search(r"anabranch: \d+ places, ended .*; 0 faults", out), out
