"""Prints pip constraints that pin every run-time dependency to its lower bound.

Reads the project's own ``pyproject.toml`` as text, since the oldest Python has no ``tomllib``.
"""

import re
import sys
from pathlib import Path

text = Path(sys.argv[1]).read_text(encoding="utf-8")
block = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
assert block, "pyproject.toml lists its dependencies one a line"
drivers = re.search(r"^postgresql = \[(.*?)\]$", text, re.MULTILINE)
assert drivers, "pyproject.toml has the extra 'postgresql' on one line"
for name, version in re.findall(r'"([A-Za-z0-9_-]+)(?:\[\w+\])?>=([\d.]+)', block[1] + drivers[1]):
    print(f"{name}=={version}")
