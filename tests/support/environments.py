"""A virtual environment of its own, into which pip installs what a test has built."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from support.sites import Result

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}


class Environment:
    """A virtual environment that sees what the tests' own has, and what is installed into it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
        (packages,) = path.glob("lib/python*/site-packages")
        outer = sysconfig.get_path("purelib")
        (packages / "outer.pth").write_text(f"import site; site.addsitedir({outer!r})\n")

    def install(self, *arguments: str | Path) -> None:
        """Let pip install *arguments*; what they require is there already."""
        done = self._pip("install", "--quiet", "--no-deps", *arguments)
        if done.returncode and "No matching distribution found" in done.stderr and not IN_CI:
            pytest.skip(f"the package index has no build backend to give: {done.stderr[-300:]}")
        assert done.returncode == 0, done.stderr

    def uninstall(self, distribution: str) -> None:
        """Let pip uninstall *distribution*."""
        done = self._pip("uninstall", "--quiet", "--yes", distribution)
        assert done.returncode == 0, done.stderr

    def _pip(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        pip = [sys.executable, "-m", "pip", "--python", str(self.path / "bin" / "python")]
        command = [*pip, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def run(self, program: str, *arguments: str | Path, cwd: Path, **env: str) -> Result:
        """Run one of its programs."""
        done = subprocess.run(
            [self.path / "bin" / program, *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **env},
            capture_output=True,
            text=True,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)
