"""Data flows one way, and the pure rooms stay pure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def test_contracts_between_the_rooms_are_kept() -> None:
    """Migrations know the core, the core knows the plugins' API, and graph and plan no database."""
    pytest.importorskip("importlinter", reason="import-linter is of the extra 'lint'")
    code = "from importlinter.cli import lint_imports_command as main; main(['--no-cache'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 kept, 0 broken" in done.stdout
