"""Prints pip constraints that pin every run-time dependency to its lower bound.

Reads the project's own ``pyproject.toml`` as text, since the oldest Python has no ``tomllib``.
"""

import re
import sys
from pathlib import Path

text = Path(sys.argv[1]).read_text(encoding="utf-8")
block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
assert block, "pyproject.toml lists its dependencies one a line"
drivers = re.findall(r"^(?:mysql|postgresql) = \[(.*?)\]$", text, re.MULTILINE)
assert len(drivers) == 2, "pyproject.toml has each extra for a database on one line"
needed = block[1] + "".join(drivers)
for name, version in re.findall(r'"([A-Za-z0-9_-]+)(?:\[\w+\])?>=([\d.]+)', needed):
    print(f"{name}=={version}")
