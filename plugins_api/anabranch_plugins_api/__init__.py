"""What plugin authors import: the hook marker, the hooks, and the objects the hooks return."""

from anabranch_plugins_api.hookspecs import hookimpl as hookimpl
from anabranch_plugins_api.seed import Seed as Seed
from anabranch_plugins_api.source import MigrationSource as MigrationSource

__all__ = ["MigrationSource", "Seed", "hookimpl"]
