"""What plugin authors import: the hook marker, the hooks, and the objects the hooks return."""

from typing import TYPE_CHECKING, Any

from anabranch_plugins_api.source import MigrationSource as MigrationSource

if TYPE_CHECKING:
    from anabranch_plugins_api.hookspecs import hookimpl as hookimpl
    from anabranch_plugins_api.seed import Seed as Seed

__all__ = ["MigrationSource", "Seed", "hookimpl"]


def __getattr__(name: str) -> Any:
    # Every start of an application comes by here, and only what has hooks needs pluggy.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from anabranch_plugins_api import hookspecs

    return getattr(hookspecs, name)
