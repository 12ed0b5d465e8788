"""Seeded applications to break: a core and two plugins with schema, data and rebuild revisions.

Every revision is valid where the one before it ran. Counters are incremented, so a revision whose
data change ran twice, or not at all, shows in the rows.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from support.distributions import Distribution
from support.trees import host, plugin, revision_file

OWNERS = ("core", "alpha", "beta")


@dataclass
class _Table:
    name: str
    parent: _Table | None
    columns: int = 0
    rows: int = 0


@dataclass
class _Owner:
    name: str
    revisions: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    tables: list[_Table] = field(default_factory=list)


@dataclass(frozen=True)
class Workload:
    """An application as distributions, and the same scripts as one line for stock Alembic."""

    distributions: tuple[Distribution, ...]
    line: tuple[str, ...]


def workload(seed: int, *, least: int = 10, most: int = 30) -> Workload:
    """Return an application with *least* to *most* revisions."""
    chance = random.Random(seed)
    owners = {name: _Owner(name) for name in OWNERS}
    total = chance.randint(least, most)
    line: list[str] = []
    for number in range(total):
        # The first three give every owner a table, the core first.
        owner = owners[OWNERS[number]] if number < 3 else owners[chance.choice(OWNERS)]
        body = _add_revision(owner, owners["core"], number, chance)
        line.append(
            revision_file(
                f"r{number:03}", down=f"r{number - 1:03}" if number else None, upgrade=body
            )
        )
    core, *plugins = owners.values()
    distributions = (
        host("mill", revisions=core.sources),
        *(
            plugin(owner.name, host="mill", revisions=owner.sources, models=None)
            for owner in plugins
        ),
    )
    return Workload(distributions, tuple(line))


def _add_revision(owner: _Owner, core: _Owner, number: int, chance: random.Random) -> str:
    id_ = f"{owner.name[0]}{number:03}"
    depends = None
    if owner is not core and not owner.revisions:
        depends = core.revisions[0]
    lines: list[str] = []
    for _ in range(chance.randint(1, 3)):
        lines += _operation(owner, core, number, chance)
    owner.sources.append(
        revision_file(
            id_,
            down=owner.revisions[-1] if owner.revisions else None,
            depends=depends,
            labels=None if owner.revisions else owner.name,
            message=f"step {number}",
            created=f"2024-01-01 {number // 60:02}:{number % 60:02}:00",
            upgrade="\n".join(lines),
        )
    )
    owner.revisions.append(id_)
    return "\n".join(lines)


def _operation(owner: _Owner, core: _Owner, number: int, chance: random.Random) -> Iterator[str]:
    if not owner.tables:
        yield from _create(owner, core, number, chance)
        return
    table = chance.choice(owner.tables)
    kind = chance.choice(("create", "rows", "count", "column", "index", "rebuild", "count"))
    if kind == "create":
        yield from _create(owner, core, number, chance)
    elif kind == "rows":
        for _ in range(chance.randint(1, 5)):
            table.rows += 1
            yield f'op.execute("{_insert(table)}")'
    elif kind == "count":
        yield f'op.execute("UPDATE {table.name} SET n = n + 1")'
    elif kind == "column":
        column = f"c{number}_{table.columns}"
        table.columns += 1
        yield f'op.add_column("{table.name}", sa.Column("{column}", sa.Integer))'
        yield f'op.execute("UPDATE {table.name} SET {column} = n")'
    elif kind == "index":
        name = f"ix_{table.name}_{number}_{chance.randint(0, 10**6)}"
        yield f'op.create_index("{name}", "{table.name}", ["n"])'
    else:
        length = chance.randint(20, 200)
        yield f'with op.batch_alter_table("{table.name}") as batch:'
        yield f'    batch.alter_column("text", type_=sa.String({length}))'


def _create(owner: _Owner, core: _Owner, number: int, chance: random.Random) -> Iterator[str]:
    name = f"{owner.name}_{number}_{len(owner.tables)}"
    parent = core.tables[0] if core.tables else None
    owner.tables.append(_Table(name, parent))
    yield f'op.create_table("{name}",'
    yield '    sa.Column("id", sa.Integer, primary_key=True),'
    yield '    sa.Column("n", sa.Integer, nullable=False),'
    yield '    sa.Column("text", sa.String(300)),'
    if parent is not None:
        yield (
            f'    sa.Column("parent", sa.Integer, sa.ForeignKey("{parent.name}.id", '
            f'ondelete="CASCADE", name="fk_{name}")),'
        )
    yield ")"


def _insert(table: _Table) -> str:
    if table.parent is None or not table.parent.rows:
        return f"INSERT INTO {table.name} (id, n) VALUES ({table.rows}, 0)"
    return f"INSERT INTO {table.name} (id, n, parent) VALUES ({table.rows}, 0, 1)"
