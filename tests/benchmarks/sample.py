"""One measured run of one tool, in a process of its own: ``python -m benchmarks.sample``.

Imports what the tool needs first, then measures the run alone, and prints one line of JSON: CPU and
wall seconds, and the peak memory of the process in KiB.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

Action = Callable[[], object]


def measured(action: Action) -> dict[str, float]:
    """Run *action* and return what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"cpu": cpu, "wall": wall, "memory": memory}


def main() -> None:
    tool, directory, url = sys.argv[1:]
    for library in ("sqlalchemy.dialects.sqlite", "sqlalchemy.orm"):  # which no tool is measured by
        importlib.import_module(library)
    module, _, name = tool.rpartition(":")
    home = importlib.import_module(f"benchmarks.{module or 'tools'}")
    prepare: Callable[[Path, str], Action] = getattr(home, name.replace("-", "_"))
    action = prepare(Path(directory), url)
    # Whatever the tool prints is not ours.
    out, devnull = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    figures = measured(action)
    sys.stdout.flush()
    os.dup2(out, 1)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
