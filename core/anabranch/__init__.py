"""One ordered database upgrade for an application and its plugins."""

from anabranch.errors import AnabranchError as AnabranchError
from anabranch.errors import BackupError as BackupError
from anabranch.errors import ConfigurationError as ConfigurationError
from anabranch.errors import DestructiveError as DestructiveError
from anabranch.errors import IncompleteError as IncompleteError
from anabranch.errors import IntegrityError as IntegrityError
from anabranch.errors import LockError as LockError
from anabranch.errors import PendingError as PendingError
from anabranch.errors import PluginError as PluginError
from anabranch.errors import RevisionError as RevisionError
from anabranch.errors import UnreachableError as UnreachableError
from anabranch.errors import UsageError as UsageError
from anabranch.listening import Listener as Listener
from anabranch.listening import Progress as Progress
from anabranch.manager import MigrationManager as MigrationManager

__all__ = [
    "AnabranchError",
    "BackupError",
    "ConfigurationError",
    "DestructiveError",
    "IncompleteError",
    "IntegrityError",
    "Listener",
    "LockError",
    "MigrationManager",
    "PendingError",
    "PluginError",
    "Progress",
    "RevisionError",
    "UnreachableError",
    "UsageError",
]
