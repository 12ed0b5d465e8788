"""What this plugin tells the shop before its database is upgraded."""

from anabranch_plugins_api import hookimpl
from sqlalchemy import Connection

# This plugin's downgrades drop columns in place, which SQLite learned in 3.35.
MINIMUM_VERSIONS = {"sqlite": (3, 35), "postgresql": (13,)}


@hookimpl
def anabranch_requirements(connection: Connection) -> list[str]:
    """Ask for a database server that is recent enough."""
    dialect = connection.dialect
    minimum = MINIMUM_VERSIONS.get(dialect.name, ())
    found = dialect.server_version_info
    if found is None or found >= minimum:
        return []
    return [f"Reviews need {dialect.name} {dotted(minimum)} or newer; this is {dotted(found)}."]


def dotted(version: tuple[int | str, ...]) -> str:
    return ".".join(map(str, version))
