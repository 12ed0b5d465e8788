"""Write what was measured into the docs, a table and a plot: ``python -m benchmarks.report``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.figures import Sample, Spread, exponent, ratios, short
from benchmarks.results import FILE, Runs, load

PAGE, PLOT = FILE.with_suffix(".md"), FILE.with_suffix(".svg")
BEGIN, END = "<!-- written by benchmarks.report -->\n", "<!-- end -->\n"

SMALL, LARGE, IMPORTS = "2x5", "100x100", "imports and a connect"


@dataclass(frozen=True)
class Aim:
    """A ratio of two samples of one run, and what it should be."""

    title: str
    run: str
    over: str
    under: str
    bound: float
    is_least: bool = False
    measure: Literal["cpu", "wall", "memory"] = "cpu"

    def row(self, runs: Runs) -> str:
        """The line of the table, if there are samples."""
        taken = runs.get(self.run, {})
        if self.over not in taken or self.under not in taken:
            return ""
        seen = ratios(taken[self.over], taken[self.under], self.measure)
        sign = "≥" if self.is_least else "≤"
        is_met = seen.median >= self.bound if self.is_least else seen.median <= self.bound
        cells = (self.title, str(len(taken[self.over])), f"{seen}", f"{sign} {self.bound:g}")
        return _line(*cells, "met" if is_met else "**missed**")


_TABLE, _EMPTY = "fresh 100x100 table sqlite", "fresh 100x100 empty sqlite"
_SERVER = "fresh 10x100 table postgresql"
AIMS = (
    Aim("fresh install, 10 000 tables, SQLite ÷ Core", _TABLE, "anabranch", "core", 1.3),
    Aim("stock Alembic ÷ that", _TABLE, "alembic", "anabranch", 3, is_least=True),
    Aim("fresh install, 10 000 empty revisions, SQLite ÷ Core", _EMPTY, "anabranch", "core", 4),
    Aim("stock Alembic ÷ that", _EMPTY, "alembic", "anabranch", 15, is_least=True),
    Aim(
        "fresh install, 1 000 tables, PostgreSQL, wall ÷ Core",
        *(_SERVER, "anabranch", "core", 1.1),
        measure="wall",
    ),
    Aim("no-op, 20 revisions ÷ imports and a connect", "idle", f"{SMALL} init-db", IMPORTS, 1.15),
    Aim(
        "`alembic upgrade heads` ÷ that",
        *("idle", f"{SMALL} alembic", f"{SMALL} init-db", 1.5),
        is_least=True,
    ),
    Aim(
        "no-op, 10 000 revisions ÷ no-op, 20 revisions",
        *("idle", f"{LARGE} init-db", f"{SMALL} init-db", 1.6),
    ),
    Aim(
        "`alembic upgrade heads` ÷ the no-op at 10 000",
        *("idle", f"{LARGE} alembic", f"{LARGE} init-db", 5),
        is_least=True,
    ),
    *(
        Aim(f"`{name}` ÷ the no-op at 10 000", "idle", f"{LARGE} {name}", f"{LARGE} init-db", 2)
        for name in ("db status", "db plan", "db history")
    ),
    Aim(
        "peak memory of the no-op at 10 000 ÷ the imports",
        *("idle", f"{LARGE} init-db", IMPORTS, 1.5),
        measure="memory",
    ),
    Aim(
        "`make-migrations`, 10 tables of 1 000 ÷ stock's comparison",
        *("authoring 1000 sqlite", "ours", "stock", 0.1),
    ),
)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def _head(*cells: str) -> str:
    return _line(*cells) + _line(*("---" for _ in cells))


def render() -> str:
    """Everything between the marks of the page."""
    kept = load()
    runs: Runs = kept["runs"]
    versions = ", ".join(f"{name} {version}" for name, version in kept["with"].items())
    lines = [f"\n{versions}. CPU time unless it says otherwise.\n\n"]
    lines += [_head("measure", "pairs", "seen", "aim", ""), *(aim.row(runs) for aim in AIMS)]
    lines += [*_check_row(runs), *_growth_rows(runs), "\n"]
    for run, taken in runs.items():
        if run.startswith("fresh "):
            lines += _fresh(run, taken)
    return "".join(lines)


def _check_row(runs: Runs) -> Iterator[str]:
    taken = runs.get("idle", {}).get(f"{LARGE} check_current")
    if taken:
        seen = Spread.of([sample["cpu"] * 1000 for sample in taken])
        met = "met" if seen.median <= 100 else "**missed**"
        title = "`check_current` in a running application at 10 000, ms"
        yield _line(title, str(len(taken)), f"{seen}", "≤ 100", met)


def _growth_rows(runs: Runs) -> Iterator[str]:
    for name, samples in runs.get("growth", {}).items():
        sizes = [int(each["size"]) for each in samples]
        power = exponent(sizes, [each["cpu"] for each in samples])
        title = f"planning, {name}: power of the size, {sizes[0]} to {sizes[-1]}"
        if name.endswith("floor"):
            yield _line(title, "best", f"{power:.2f}", "", "Python's own")
        else:
            met = "met" if power <= 1.1 else "**missed**"
            yield _line(title, "best", f"{power:.2f}", "≤ 1.1", met)


def _fresh(run: str, taken: dict[str, list[Sample]]) -> Iterator[str]:
    _, shape, kind, database = run.split()
    plugins, revisions = shape.split("x")
    yield f"Fresh install, {plugins} plugins of {revisions} revisions, {kind}, {database}:\n\n"
    yield _head("tool", "CPU s", "wall s", "CPU ÷ anabranch", "peak MiB")
    for name, samples in taken.items():
        cells = (str(Spread.of([each[measure] for each in samples])) for measure in ("cpu", "wall"))
        more = ratios(samples, taken["anabranch"], "cpu")
        memory = Spread.of([each["memory"] / 1024 for each in samples]).median
        yield _line(name, *cells, str(more), f"{memory:.0f}")
    yield "\n"


# -- the plot

_WIDTH, _LEFT, _BAR = 720, 180, 18


def plot() -> str:
    """The CPU seconds of every fresh install as bars, on a logarithmic scale."""
    runs = {name: taken for name, taken in load()["runs"].items() if name.startswith("fresh ")}
    parts: list[str] = []
    top = 0
    for run, taken in runs.items():
        top += 30
        parts.append(f'<text x="4" y="{top}" font-weight="bold">{run}, CPU seconds</text>')
        seconds = {
            name: Spread.of([each["cpu"] for each in samples]).median
            for name, samples in taken.items()
        }
        least = math.log(min(seconds.values()) / 2)
        scale = (_WIDTH - _LEFT - 60) / (math.log(max(seconds.values())) - least)
        for name, each in seconds.items():
            top += _BAR + 4
            length = (math.log(each) - least) * scale
            colour = "#2563a8" if name == "anabranch" else "#9aa7b4"
            parts += [
                f'<text x="{_LEFT - 6}" y="{top}" text-anchor="end">{name}</text>',
                f'<rect x="{_LEFT}" y="{top - 13}" width="{length:.0f}" height="{_BAR}" '
                f'fill="{colour}"/>',
                f'<text x="{_LEFT + length + 5:.0f}" y="{top}">{short(each)}</text>',
            ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + 14}" '
        'font-family="sans-serif" font-size="13" fill="#333">\n'
        '<rect width="100%" height="100%" fill="white"/>\n'
    )
    return head + "\n".join(parts) + "\n</svg>\n"


def written(page: str) -> str:
    """The *page* with what is between its marks written anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{render()}{END}{after}"


def main() -> None:
    Path(PAGE).write_text(written(PAGE.read_text()))
    Path(PLOT).write_text(plot())


if __name__ == "__main__":
    main()
