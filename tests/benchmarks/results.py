"""What was measured, kept beside the docs: the samples of each run by its name."""

from __future__ import annotations

import json
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.figures import Sample

FILE = Path(__file__).parents[2] / "docs" / "benchmarks.json"

Runs = dict[str, dict[str, list[Sample]]]


def load() -> dict[str, Any]:
    """Return what is kept: ``with``, the versions of the last run, and ``runs``."""
    kept: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {"runs": {}}
    return kept


def store(run: str, samples: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Keep the *samples* of *run*, by their names, in place of what it saw before."""
    kept = load()
    kept["with"] = {
        "Python": platform.python_version(),
        "SQLAlchemy": version("sqlalchemy"),
        "Alembic": version("alembic"),
        "SQLite": sqlite3.sqlite_version,
    }
    kept["runs"][run] = {
        name: [{key: float(f"{value:.4g}") for key, value in each.items()} for each in taken]
        for name, taken in samples.items()
    }
    kept["runs"] = dict(sorted(kept["runs"].items()))
    text = json.dumps(kept, indent=1)
    # A sample per line: a new run is to be read as a change.
    for gap in ("\n     ", "\n    }"):
        text = text.replace(gap, " " if gap.endswith(" ") else "}")
    FILE.write_text(text + "\n")
