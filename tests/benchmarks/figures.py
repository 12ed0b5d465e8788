"""Samples in processes of their own, taken in turns, and what they say: ratios with spread."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]

Sample = dict[str, float]
"""``cpu`` and ``wall`` in seconds, ``memory`` in KiB."""

# A process of its own, and a small one: the peak memory of a process is never less than what the
# one that started it had.
_LAUNCH = """
import json, os, sys, time
started = time.perf_counter()
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(child, 0)
wall, cpu = time.perf_counter() - started, usage.ru_utime + usage.ru_stime
print(json.dumps({"cpu": cpu, "wall": wall, "memory": usage.ru_maxrss}))
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True)
class Spread:
    """The middle one of some numbers, with the least and the greatest."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Spread:
        return cls(statistics.median(numbers), min(numbers), max(numbers))

    def __str__(self) -> str:
        return f"{short(self.median)} ({short(self.least)}-{short(self.most)})"


def ratios(over: Sequence[Sample], under: Sequence[Sample], measure: str) -> Spread:
    """Divide pair by pair: what slowed the machine down slowed both samples of a pair."""
    return Spread.of([a[measure] / b[measure] for a, b in zip(over, under, strict=True)])


def interleaved(
    samplers: Mapping[str, Callable[[], Sample]], pairs: int
) -> dict[str, list[Sample]]:
    """Take *pairs* samples of each, in turns, the order turned round each time."""
    found: dict[str, list[Sample]] = {name: [] for name in samplers}
    for number in range(pairs):
        names = list(samplers)
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(samplers[name]())
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the power of the size that the seconds grow with, by least squares of logarithms."""
    xs, ys = [math.log(size) for size in sizes], [math.log(each) for each in seconds]
    return statistics.linear_regression(xs, ys).slope


def in_process(tool: str, directory: Path, url: str, environment: Mapping[str, str]) -> Sample:
    """Run ``benchmarks.sample``, which measures the run without the imports."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sample", tool, str(directory), url],
        cwd=TESTS,
        env=compiled({**os.environ, **environment}),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{tool} failed:\n{done.stderr[-4000:]}")
    sample: Sample = json.loads(done.stdout.splitlines()[-1])
    return sample


def compiled(environment: Mapping[str, str]) -> dict[str, str]:
    """Return *environment* so that bytecode is kept: what an installer puts in place has some."""
    return {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}


def whole_process(
    command: Sequence[str | Path], environment: Mapping[str, str], cwd: Path | None = None
) -> Sample:
    """Run *command* and measure all of it, the start of Python included."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCH, *map(str, command)],
        cwd=cwd,
        env=compiled(environment),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command} failed:\n{done.stderr[-4000:]}")
    sample: Sample = json.loads(done.stdout)
    return sample


def short(number: float) -> str:
    """Return *number* with three digits at most, if it is below 1000."""
    return f"{number:.3g}" if number < 100 else f"{number:.0f}"
