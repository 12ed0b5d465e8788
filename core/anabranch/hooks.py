"""Plugins' hooks: load them when there is something to run, call them, name whose failed."""

from __future__ import annotations

import importlib
import operator
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import pluggy

from anabranch.connections import kept_usable
from anabranch.discovery import Owner
from anabranch.errors import AnabranchError, HookError, PluginError
from anabranch.problems import Problem
from anabranch.revision import CORE
from anabranch.wording import text_of
from anabranch_plugins_api import MigrationSource, Seed, hookspecs

Judge = Callable[[], AbstractContextManager[object]]
"""Surrounds code of a plugin, and raises if that did what it must not do."""

_Item = TypeVar("_Item")


class Hooks:
    """The hook implementations of some plugins.

    :param objects: plugin objects given in code, asked before those of entry points.
    """

    def __init__(self, objects: Iterable[object] = ()) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        named: Counter[str] = Counter()
        for plugin in objects:
            kind: Any = type(plugin)
            name = getattr(plugin, "__name__", f"{kind.__module__}.{kind.__qualname__}")
            # Not pluggy's own name, an address in memory: seeds are recorded by it.
            named[name] += 1
            self._register(plugin, name if named[name] == 1 else f"{name} {named[name]}")

    def load(
        self, owners: Iterable[Owner], *, disabled: Collection[str] = ()
    ) -> tuple[Problem, ...]:
        """Import the hook modules of *owners* that have one and are not *disabled*.

        Returns what is wrong with those that cannot be used; the others can.
        """
        problems: list[Problem] = []
        for owner in owners:
            if owner.hooks and owner.name not in disabled:
                try:
                    self._register(import_for(owner, owner.hooks), owner.name)
                except PluginError as error:
                    problems.append(
                        Problem(error.code, owner.name, error.what, remedy=error.remedy)
                    )
        return tuple(problems)

    def _register(self, plugin: object, name: str) -> None:
        try:
            self._manager.register(plugin, name=name)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(
                f"The hooks of {name} cannot be used: {error}",
                owner=name,
                remedy="Hooks are called by name, with the arguments that the documentation lists.",
            ) from error

    def sources(self) -> tuple[MigrationSource, ...]:
        """Return the migration sources declared in code."""
        found = self._collect("anabranch_migration_sources", MigrationSource)
        return tuple(source for _, source in found)

    def requirements(self, connection: Any) -> tuple[str, ...]:
        """Return every unmet requirement, with the plugin it is of."""
        found = self._collect(
            "anabranch_requirements", str, lambda: kept_usable(connection), connection=connection
        )
        return tuple(f"{owner}: {text}" for owner, text in found)

    def seeds(self) -> tuple[tuple[str, Seed], ...]:
        """Return the seeds with the plugins they are of, in the plugins' order."""
        return tuple(self._collect("anabranch_seeds", Seed))

    def _collect(
        self, name: str, kind: type[_Item], judge: Judge = nullcontext, **arguments: Any
    ) -> Iterator[tuple[str, _Item]]:
        """Yield the items of the lists that a hook returns, with their owners.

        :raises HookError: for a list of something else, or no list.
        """
        for owner, found in self.call(name, judge, **arguments):
            items = None
            if isinstance(found, Iterable) and not isinstance(found, (str, bytes)):
                items = list(found)
            if items is None or not all(isinstance(item, kind) for item in items):
                wrong = next((item for item in items or () if not isinstance(item, kind)), found)
                raise HookError(
                    f"The hook {name} of {owner} must return a list of {kind.__name__}, "
                    f"not {'one with ' if items else ''}{type(wrong).__name__}.",
                    owner=owner,
                    remedy=f"Mend or disable the plugin {owner}.",
                )
            yield from ((owner, item) for item in items)

    @property
    def watch_revisions(self) -> bool:
        """Whether some plugin's hook is called before or after each revision."""
        return self.implements("anabranch_before_revision", "anabranch_after_revision")

    def implements(self, *names: str) -> bool:
        """Tell whether some plugin implements one of the hooks *names*."""
        return any(getattr(self._manager.hook, name).get_hookimpls() for name in names)

    def notify(self, name: str, judge: Judge = nullcontext, **arguments: Any) -> None:
        """Call a hook that returns nothing."""
        for _ in self.call(name, judge, **arguments):
            pass

    def call(
        self, name: str, judge: Judge = nullcontext, **arguments: Any
    ) -> Iterator[tuple[str, Any]]:
        """Call every plugin's implementation of *name* and yield owner and result.

        One at a time and not through pluggy's caller, to know whose failed.

        :param judge: surrounds each, and raises if that did what it must not do.
        :raises HookError: if one raises something that is not an error of ours.
        """
        order = [registered for registered, _ in self._manager.list_name_plugin()]
        implementations = getattr(self._manager.hook, name).get_hookimpls()
        for implementation in sorted(implementations, key=lambda i: order.index(i.plugin_name)):
            chosen = {argument: arguments[argument] for argument in implementation.argnames}
            try:
                with judge():
                    result = implementation.function(**chosen)
            except (AnabranchError, KeyboardInterrupt):
                raise
            except BaseException as error:
                raise HookError(
                    f"The hook {name} of {implementation.plugin_name} failed: "
                    f"{type(error).__name__}: {text_of(error)}",
                    owner=implementation.plugin_name,
                    remedy=f"Mend or disable the plugin {implementation.plugin_name}.",
                ) from error
            yield implementation.plugin_name, result if result is not None else ()


def import_for(owner: Owner, value: str) -> Any:
    """Import ``module`` or ``module:attribute`` on behalf of *owner*.

    :raises PluginError: if that fails in any way; the message names distribution and cause.
    """
    name, _, attribute = value.partition(":")
    try:
        module = importlib.import_module(name)
        return operator.attrgetter(attribute)(module) if attribute else module
    except (Exception, SystemExit) as error:
        remedy = f"Mend or reinstall it, or disable it: [plugins] disabled = [{owner.name!r}]."
        if owner.name == CORE:
            remedy = "Correct what MigrationManager was given as metadata= and models=."
        raise PluginError(
            f"{value!r} of {owner.title} cannot be imported: "
            f"{type(error).__name__}: {text_of(error)}",
            owner=owner.name,
            remedy=remedy,
        ) from error
