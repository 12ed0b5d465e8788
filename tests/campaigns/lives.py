"""Let deployments live at random, and compare each with a simple model after every step.

``python -m campaigns.lives --sequences 2000 --steps 15 --seed 1`` (in ``tests``). Four owners are
installed in any version, upgraded, disabled, uninstalled, downgraded and purged, by us and by stock
Alembic. After each step the applied set is the model's, the schema is what the applied revisions
say, and whatever was refused was refused with a code and a way out, and changed nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from anabranch import AnabranchError
from campaigns.targets import versions
from support.databases import BOOKKEEPING, sqlite
from support.store import NAME, Store
from support.trees import revision_file

Key = tuple[str, str]


@dataclass(frozen=True)
class Revision:
    """A revision of the applications that live here, and what a database has because of it.

    :ivar version: the first version of its distribution that brings it.
    :ivar effects: ``table NAME``, ``column TABLE.NAME`` and ``index NAME``.
    """

    owner: str
    id: str
    version: int
    upgrade: str
    downgrade: str
    effects: frozenset[str]
    down: str | None = None
    depends: Key | None = None

    @property
    def key(self) -> Key:
        return self.owner, self.id

    @cached_property
    def parents(self) -> frozenset[Key]:
        """What it follows and needs; a plugin's first needs the core's first."""
        down = {(self.owner, self.down)} if self.down else set()
        implied = {("core", "c1")} if self.owner != "core" and not down else set()
        return frozenset({*down, *({self.depends} if self.depends else implied)})

    @property
    def source(self) -> str:
        return revision_file(
            self.id,
            down=self.down,
            depends=self.depends and self.depends[1],
            labels=None if self.down or self.owner == "core" else self.owner,
            created=f"2024-01-0{self.version} 00:00:00",
            upgrade=self.upgrade,
            downgrade=self.downgrade,
        )


def _table(owner: str, id_: str, version: int, *, refers: str = "", **links: Any) -> Revision:
    name = f"{owner}_{id_}"
    key = f", sa.ForeignKey('{refers}.id', name='fk_{name}')" if refers else ""
    return Revision(
        owner,
        id_,
        version,
        f"op.create_table('{name}', sa.Column('id', sa.Integer, primary_key=True),\n"
        f"    sa.Column('other', sa.Integer{key}))",
        f"op.drop_table('{name}')",
        frozenset({f"table {name}", f"column {name}.id", f"column {name}.other"}),
        **links,
    )


def _column(owner: str, id_: str, version: int, table: str, **links: Any) -> Revision:
    name = f"{owner}_{id_}"
    return Revision(
        owner,
        id_,
        version,
        f"op.add_column('{table}', sa.Column('{name}', sa.Integer))",
        f"op.drop_column('{table}', '{name}')",
        frozenset({f"column {table}.{name}"}),
        **links,
    )


def _index(owner: str, id_: str, version: int, table: str, **links: Any) -> Revision:
    name = f"ix_{owner}_{id_}"
    return Revision(
        owner,
        id_,
        version,
        f"op.create_index('{name}', '{table}', ['other'])",
        f"op.drop_index('{name}', '{table}')",
        frozenset({f"index {name}"}),
        **links,
    )


REVISIONS = {
    revision.key: revision
    for revision in (
        _table("core", "c1", 1),
        _table("core", "c2", 2, refers="core_c1", down="c1"),
        _column("core", "c3", 3, "core_c1", down="c2"),
        _table("alpha", "a1", 1, refers="core_c1"),
        _column("alpha", "a2", 2, "core_c1", down="a1"),
        _index("alpha", "a3", 3, "core_c2", down="a2", depends=("core", "c2")),
        _table("beta", "b1", 1, refers="alpha_a1", depends=("alpha", "a1")),
        _table("beta", "b2", 2, refers="core_c2", down="b1", depends=("core", "c2")),
        _index("beta", "b3", 3, "beta_b2", down="b2", depends=("alpha", "a2")),
        _table("gamma", "g1", 1),
        _column("gamma", "g2", 2, "gamma_g1", down="g1"),
        _table("gamma", "g3", 3, refers="core_c2", down="g2", depends=("core", "c3")),
    )
}
PLUGINS = ("alpha", "beta", "gamma")


@dataclass
class Model:
    """What should be so: versions by installed owner, the disabled owners, the applied set."""

    installed: dict[str, int] = field(default_factory=lambda: {"core": 1})
    disabled: set[str] = field(default_factory=set)
    applied: set[Key] = field(default_factory=set)

    @property
    def effects(self) -> set[str]:
        return {effect for key in self.applied for effect in REVISIONS[key].effects}

    @property
    def files(self) -> set[Key]:
        """The revisions whose files are there."""
        return {
            key
            for key, revision in REVISIONS.items()
            if revision.version <= self.installed.get(key[0], 0)
        }

    @property
    def taking_part(self) -> set[str]:
        return set(self.installed) - self.disabled

    @property
    def is_sound(self) -> bool:
        """Whether no owner that takes part is older than the database or misses what it needs."""
        files = self.files
        known = files | self.applied
        return all(key in files for key in self.applied if key[0] in self.taking_part) and all(
            REVISIONS[key].parents <= known for key in files if key[0] in self.taking_part
        )

    def upgraded(self) -> set[Key]:
        """What is applied after an upgrade: all whose needs are applied or can be."""
        applied = set(self.applied)
        for key in (key for _ in REVISIONS for key in REVISIONS):
            if key[0] in self.taking_part and key in self.files:
                applied |= {key} if REVISIONS[key].parents <= applied else set()
        return applied

    def needing(self, keys: Iterable[Key]) -> set[Key]:
        """*keys* and every applied revision that needs one of them."""
        found = set(keys)
        for key in (key for _ in REVISIONS for key in REVISIONS):
            if key in self.applied and REVISIONS[key].parents & found:
                found.add(key)
        return found


def lives(counts: Counter[str]) -> type[RuleBasedStateMachine]:
    """Return the state machine; *counts* is told what was done and what was refused."""

    class Lives(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            counts["sequences"] += 1
            self.folder = tempfile.TemporaryDirectory()
            root = Path(self.folder.name)
            self.store = Store(root, sqlite(root / "store.sqlite"))
            self.model = Model()
            self._install("core", 1)

        def teardown(self) -> None:
            self.folder.cleanup()

        # -- packages

        @rule(owner=st.sampled_from(("core", *PLUGINS)), version=st.integers(1, 3))
        def install(self, owner: str, version: int) -> None:
            self._install(owner, version)

        @precondition(lambda self: len(self.model.installed) > 1)
        @rule(data=st.data())
        def uninstall(self, data: st.DataObject) -> None:
            owner = data.draw(st.sampled_from(sorted(set(self.model.installed) - {"core"})))
            self.store.uninstall(owner)
            del self.model.installed[owner]

        @rule(disabled=st.sets(st.sampled_from(PLUGINS), max_size=2))
        def configure(self, disabled: set[str]) -> None:
            names = ", ".join(f'"{name}"' for name in sorted(disabled))
            self.store.configure(f"[plugins]\ndisabled = [{names}]\n")
            self.model.disabled = disabled

        # -- verbs

        @rule()
        def init_db(self) -> None:
            expected = self.model.upgraded()
            with self._verb("upgrade", must=self.model.is_sound):
                with self.store.manager() as manager:
                    manager.upgrade(self.store.deployment)
                self.model.applied = expected

        @precondition(lambda self: bool(self.model.applied))
        @rule(data=st.data(), cascade=st.booleans())
        def downgrade(self, data: st.DataObject, cascade: bool) -> None:
            model = self.model
            owner, id_ = data.draw(st.sampled_from(sorted(model.applied)))
            target = data.draw(st.sampled_from([id_, "base"]))
            own = [key for key in REVISIONS if key[0] == owner and key in model.applied]
            kept = own.index((owner, id_)) + 1 if target != "base" else 0
            going = model.needing(own[kept:])
            others = {key[0] for key in going} - {owner}
            possible = (
                model.is_sound
                and going <= model.files
                and (cascade or not others)
                and not {key[0] for key in going} & model.disabled
            )
            with self._verb("downgrade", must=possible):
                with self.store.manager() as manager:
                    manager.downgrade(self.store.deployment, f"{owner}@{target}", cascade=cascade)
                assert cascade or not others, f"{others} went without being asked for"
                model.applied -= going

        @precondition(lambda self: any(key[0] != "core" for key in self.model.applied))
        @rule(data=st.data(), cascade=st.booleans(), downgrades=st.booleans())
        def purge(self, data: st.DataObject, cascade: bool, downgrades: bool) -> None:
            model = self.model
            owners = {key[0] for key in model.applied} - {"core"}
            owner = data.draw(st.sampled_from(sorted(owners)))
            going = {owner}
            for _ in PLUGINS:
                needing = model.needing(key for key in model.applied if key[0] in going)
                going |= {key[0] for key in needing}
            possible = model.is_sound and (cascade or going == {owner})
            with self._verb("purge", must=possible):
                with self.store.manager() as manager:
                    manager.purge(
                        self.store.deployment, owner, cascade=cascade, downgrades=downgrades
                    )
                assert cascade or going == {owner}, f"{going} went without being asked for"
                model.applied = {key for key in model.applied if key[0] not in going}

        @precondition(lambda self: self.model.is_sound and not self.model.disabled)
        @rule()
        def stock_upgrade(self) -> None:
            import alembic.command
            from alembic.config import Config
            from alembic.util import CommandError

            config = Config(stdout=io.StringIO())
            config.set_main_option("script_location", "anabranch_migrations:.")
            config.set_main_option("anabranch_app", f"{NAME}.cli:manager")
            config.set_main_option("anabranch_deployment", str(self.store.deployment))
            expected = self.model.upgraded()
            try:
                with self.store.site.on_path(), contextlib.redirect_stdout(io.StringIO()):
                    alembic.command.upgrade(config, "heads")
            except CommandError as error:
                raise AssertionError(f"stock Alembic failed: {error}") from error
            counts["stock upgrade done"] += 1
            self.model.applied = expected
            self._compare()

        # -- comparison

        def _install(self, owner: str, version: int) -> None:
            sources = [
                revision.source
                for revision in REVISIONS.values()
                if revision.owner == owner and revision.version <= version
            ]
            if owner == "core":
                self.store.core(*sources, version=f"{version}.0")
            else:
                self.store.plugin(owner, *sources, models=None, version=f"{version}.0")
            self.model.installed[owner] = version

        @contextlib.contextmanager
        def _verb(self, name: str, *, must: bool) -> Any:
            """Let the block do *name*; it *must* succeed, or may be refused with a way out."""
            try:
                yield
                counts[f"{name} done"] += 1
            except AnabranchError as error:
                counts[f"{name} refused {error.code}"] += 1
                assert not must, f"{name} was refused: {error.code} {error.what}"
                assert error.remedy, f"{error.code} names no way out: {error.what}"
                assert error.exit_code != 1
            self._compare()

        def _compare(self) -> None:
            counts["steps"] += 1
            tables = self.store.database.schema(ignore=[*BOOKKEEPING, "alembic_version"])
            applied = set()
            if "anabranch_revision" in self.store.database.schema():
                rows = self.store.database.rows("anabranch_revision")
                applied = {(row["owner"], row["revision"]) for row in rows}
            assert applied == self.model.applied
            assert _effects(tables) == self.model.effects
            with self.store.manager() as manager:
                status = manager.status(self.store.deployment)
            assert sum(owner.applied for owner in status.owners) == len(applied)

    return Lives


def _effects(tables: dict[str, dict[str, Any]]) -> set[str]:
    return {
        f"{kind} {name}"
        for table, parts in tables.items()
        for kind, name in (
            ("table", table),
            *(("column", f"{table}.{column['name']}") for column in parts["columns"]),
            *(("index", index["name"]) for index in parts["indexes"]),
        )
    }


def run(sequences: int, steps: int, seed: int) -> Counter[str]:
    """Run the campaign; return what was done and refused.

    :raises AssertionError: at the first life that differs from the model, made short.
    """
    counts: Counter[str] = Counter()
    machine = hypothesis.seed(seed)(lives(counts))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=sequences,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
    return counts


def main() -> None:
    """Read the options, run, print the figures; exit with 1 if a life went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"sqlite, seed {options.seed}, {versions()}")
    try:
        counts = run(options.sequences, options.steps, options.seed)
    except AssertionError:
        traceback.print_exc()
        sys.exit(1)
    print(f"{counts.pop('sequences')} sequences, {counts.pop('steps')} steps compared, 0 differ")
    for what, times in sorted(counts.items()):
        print(f"  {what}: {times}")


if __name__ == "__main__":
    main()
