"""The README's first command does and prints what the README says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def first_command() -> tuple[str, str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    command = re.search(r"```sh\n(python3 -m venv .*?init-db.*?)\n```", text)
    transcript = re.search(r"```console\n(Created .*?)```", text, re.DOTALL)
    assert command and transcript
    return command[1], transcript[1]


def without_variables(text: str) -> str:
    """Leave out what differs from run to run: places and durations."""
    text = re.sub(r"sqlite:////\S+/deployment/", "sqlite:////…/deployment/", text)
    return re.sub(r"\d+\.\d\d s", "0.00 s", text)


def test_the_first_command_prints_the_transcript_and_then_finds_nothing_to_do(
    tmp_path: Path,
) -> None:
    command, transcript = first_command()
    clone = tmp_path / "anabranch"
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes((ROOT / name).read_bytes())
    environment = {key: os.environ[key] for key in os.environ if key.startswith(("PIP_", "HOME"))}
    environment["PATH"] = f"{Path(sys.executable).resolve().parent}:{os.environ['PATH']}"
    command = command.replace("python3", sys.executable, 1)
    for expected in (transcript, None):
        done = subprocess.run(
            command, shell=True, cwd=clone, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        if expected is not None:
            assert without_variables(done.stdout) == without_variables(expected)
        else:
            assert done.stdout.endswith("Nothing is pending: the database is up to date.\n")
