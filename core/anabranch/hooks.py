"""Plugins' hooks: load them when there is something to run, call them, name whose failed."""

from __future__ import annotations

import importlib
import operator
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import pluggy

from anabranch.discovery import Owner
from anabranch.errors import AnabranchError, HookError, PluginError
from anabranch.revision import CORE
from anabranch_plugins_api import MigrationSource, Seed, hookspecs


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

    def load(self, owners: Iterable[Owner], *, disabled: Collection[str] = ()) -> None:
        """Import the hook modules of *owners* that have one and are not *disabled*.

        :raises PluginError: if one cannot be imported.
        """
        for owner in owners:
            if owner.hooks and owner.name not in disabled:
                plugin = import_for(owner, owner.hooks)
                self._register(plugin, owner.name)

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
        return tuple(
            source for _, found in self.call("anabranch_migration_sources") for source in found
        )

    def requirements(self, connection: Any) -> tuple[str, ...]:
        """Return every unmet requirement, with the plugin it is of."""
        return tuple(
            f"{owner}: {text}"
            for owner, found in self.call("anabranch_requirements", connection=connection)
            for text in found
        )

    def seeds(self) -> tuple[tuple[str, Seed], ...]:
        """Return the seeds with the plugins they are of, in the plugins' order."""
        return tuple(
            (owner, seed) for owner, found in self.call("anabranch_seeds") for seed in found
        )

    def notify(self, name: str, **arguments: Any) -> None:
        """Call a hook that returns nothing."""
        for _ in self.call(name, **arguments):
            pass

    def call(self, name: str, **arguments: Any) -> Iterator[tuple[str, Any]]:
        """Call every plugin's implementation of *name* and yield owner and result.

        One at a time and not through pluggy's caller, to know whose failed.

        :raises HookError: if one raises something that is not an error of ours.
        """
        order = [registered for registered, _ in self._manager.list_name_plugin()]
        implementations = getattr(self._manager.hook, name).get_hookimpls()
        for implementation in sorted(implementations, key=lambda i: order.index(i.plugin_name)):
            chosen = {argument: arguments[argument] for argument in implementation.argnames}
            try:
                result = implementation.function(**chosen)
            except AnabranchError:
                raise
            except (Exception, SystemExit) as error:
                raise HookError(
                    f"The hook {name} of {implementation.plugin_name} failed: "
                    f"{type(error).__name__}: {error}",
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
            f"{value!r} of {owner.title} cannot be imported: {type(error).__name__}: {error}",
            owner=owner.name,
            remedy=remedy,
        ) from error
