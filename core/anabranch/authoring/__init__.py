"""From models and a database to the next revision file of one owner."""

from anabranch.authoring.command import NewRevision as NewRevision
from anabranch.authoring.command import write_revision as write_revision

__all__ = ["NewRevision", "write_revision"]
