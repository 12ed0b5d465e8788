"""A deployment: a directory with ``config.toml`` and, by default, the SQLite file."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anabranch.errors import ConfigurationError
from anabranch.names import normalise
from anabranch.wording import did_you_mean

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIG_FILE = "config.toml"

DEFAULT_LOCK_TIMEOUT = 300.0  # seconds
DEFAULT_BACKUPS_KEPT = 3

_TEMPLATE = """\
# The configuration of this {application} deployment.

[sqlalchemy]
# Where the data is. A relative SQLite path is relative to this directory.
# The environment variable {prefix}_SQLALCHEMY_DATABASE_URL wins over this line.
database_url = "{url}"

# [plugins]
# Installed plugins take part unless they are listed here. A disabled plugin keeps its tables.
# disabled = ["name"]
# Or take only these:
# enabled = ["name"]

# [migrations]
# How long to wait for another process that is migrating the same database, in seconds.
# lock_timeout = 300
# How long a statement waits for another session's lock on a server, in seconds; then the revision
# is rolled back and tried again, a few times. By default 2 on PostgreSQL and 5 on MariaDB.
# statement_lock_timeout = 2
# Whether the database is backed up before revisions run in it, and how many backups are kept.
# backup = true
# backups_kept = 3
"""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a deployment's configuration says of its database and plugins.

    ``enabled`` is None where every installed plugin takes part. ``backup_command`` is what makes a
    backup of a database other than SQLite, in words; it may be empty.
    """

    directory: Path
    database_url: str
    enabled: frozenset[str] | None = None
    disabled: frozenset[str] = frozenset()
    lock_timeout: float = DEFAULT_LOCK_TIMEOUT
    url_origin: str = field(default="", compare=False)
    statement_lock_timeout: float | None = None
    backup: bool = True
    backups_kept: int = DEFAULT_BACKUPS_KEPT
    backup_command: tuple[str, ...] = ()

    @property
    def named(self) -> frozenset[str]:
        """The plugins that the configuration speaks of."""
        return self.disabled | (self.enabled or frozenset())

    def leaves_out(self, owner: str) -> bool:
        """Tell whether the configuration keeps the plugin *owner* from being applied."""
        return owner in self.disabled or (self.enabled is not None and owner not in self.enabled)


def environment_prefix(application: str) -> str:
    """Return what the application's environment variables begin with."""
    return re.sub(r"[^A-Z0-9]", "_", application.upper())


def create_deployment(
    application: str,
    directory: Path,
    allow: Callable[[Deployment], None] = lambda deployment: None,  # noqa: ARG005
) -> tuple[Path, ...]:
    """Make *directory* a deployment with a commented ``config.toml``; return what was created.

    An existing configuration is left alone, and a directory that holds other things but no
    configuration is refused: it is more likely a slip than a deployment.

    :param allow: told what would be created, before anything is; an error it raises stops it.
    :raises ConfigurationError: if the directory cannot be made one.
    """
    default = _default_url(application)
    config = directory / CONFIG_FILE
    elsewhere = _config_file(application, directory) != config
    text = _TEMPLATE.format(
        application=application, prefix=environment_prefix(application), url=default
    )
    try:
        new = Deployment(directory.resolve(), _database_url(application) or default)
        if directory.is_dir():
            if elsewhere or _database_url(application):
                return ()
            # One look, since another process may be creating this deployment.
            names = [entry.name for entry in directory.iterdir()]
            if CONFIG_FILE in names:
                return ()
            if names:
                raise ConfigurationError(
                    f"{directory} has no {CONFIG_FILE}, and it is not empty.",
                    remedy=f"Name the deployment's directory, or create an empty {config} first.",
                )
            allow(new)
        else:
            allow(new)
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if elsewhere:
                return ()
        descriptor = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        if directory.is_dir():
            return ()  # another process was faster
        raise ConfigurationError(
            f"{directory} is not a directory.", remedy="Name the deployment's directory."
        ) from None
    except (OSError, RuntimeError) as error:  # Python 3.12 and older: links in a circle
        reason = error.strerror if isinstance(error, OSError) else "its links form a circle"
        raise ConfigurationError(
            f"{directory} cannot be made a deployment: {reason}.",
            remedy="Choose a directory that can be written, or create it beforehand.",
        ) from error
    return (config,)


def read_deployment(application: str, directory: Path) -> Deployment:
    """Read the configuration of *directory*, the environment winning over the file.

    Sections and keys that belong to the application are passed over.

    :raises ConfigurationError: if it is missing, unreadable or says something impossible.
    """
    config = _config_file(application, directory)
    url = _database_url(application)
    try:
        text = config.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        if config != directory / CONFIG_FILE:
            raise ConfigurationError(
                f"There is no {config}.",
                remedy=f"Correct {environment_prefix(application)}_CONFIG_FILE, or unset it.",
            ) from None
        if url is None or not directory.is_dir():
            raise ConfigurationError(
                f"{directory} is not a deployment: there is no {config}.",
                remedy=f"Create one with '{application} init-db {directory}'.",
            ) from None
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{config} cannot be read: {_reason(error)}.",
            remedy="Let the user who runs this read it, or run this as its owner."
            if isinstance(error, PermissionError)
            else "Mend the file.",
        ) from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"{config} is not valid TOML: {error}.", remedy="Mend the file at that place."
        ) from error
    reader = _Reader(config, content)
    reader.check_sections("sqlalchemy", "plugins", "migrations")
    sqlalchemy = reader.section("sqlalchemy", "database_url")
    plugins = reader.section("plugins", "enabled", "disabled")
    migrations = reader.section(
        "migrations",
        "lock_timeout",
        "statement_lock_timeout",
        "backup",
        "backups_kept",
        "backup_command",
        shared=False,
    )
    origin = f"{environment_prefix(application)}_SQLALCHEMY_DATABASE_URL"
    if url is None:
        origin = f"in {config}"
        url = reader.value(sqlalchemy, "sqlalchemy.database_url", str)
        if url is not None and not url.strip():
            raise ConfigurationError(
                f"{config}: 'sqlalchemy.database_url' is empty.",
                remedy="Write the database's URL there, or take the line out for the default, "
                f"{_default_url(application)}.",
            )
    enabled = reader.names(plugins, "plugins.enabled")
    lock_timeout = reader.seconds(migrations, "migrations.lock_timeout")
    return Deployment(
        directory=directory.resolve(),
        database_url=url or _default_url(application),
        enabled=enabled,
        disabled=reader.names(plugins, "plugins.disabled") or frozenset(),
        statement_lock_timeout=reader.seconds(migrations, "migrations.statement_lock_timeout"),
        lock_timeout=DEFAULT_LOCK_TIMEOUT if lock_timeout is None else lock_timeout,
        backup=reader.switch(migrations, "migrations.backup", default=True),
        backups_kept=reader.count(migrations, "migrations.backups_kept", DEFAULT_BACKUPS_KEPT),
        backup_command=reader.words(migrations, "migrations.backup_command"),
        url_origin=origin,
    )


def _config_file(application: str, directory: Path) -> Path:
    other = os.environ.get(f"{environment_prefix(application)}_CONFIG_FILE")
    return Path(other) if other else directory / CONFIG_FILE


def _default_url(application: str) -> str:
    return f"sqlite:///./{application}.sqlite"


def _database_url(application: str) -> str | None:
    return os.environ.get(f"{environment_prefix(application)}_SQLALCHEMY_DATABASE_URL") or None


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8"


@dataclass(frozen=True, slots=True)
class _Reader:
    """Take typed values out of parsed TOML, or say which key is wrong."""

    config: Path
    content: Mapping[str, Any]

    def check_sections(self, *known: str) -> None:
        """Refuse a section that looks like a slip for one of *known* that is not there.

        Sections of the application's own pass.
        """
        for name in self.content.keys() - known:
            import difflib

            close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            if close and close[0] not in self.content:
                raise ConfigurationError(
                    f"{self.config} has a section [{name}]. Did you mean [{close[0]}]?",
                    remedy="Correct that line.",
                )

    def section(self, name: str, *known: str, shared: bool = True) -> Mapping[str, Any]:
        """Return a section; one that is *shared* may hold keys of the application's own."""
        section = self.content.get(name, {})
        if not isinstance(section, dict):
            raise self._wrong(name, "a table", section)
        for key in section:
            if key not in known and (did_you_mean(key, known) or not shared):
                raise ConfigurationError(
                    f"{self.config} has an unknown key '{name}.{key}'.{did_you_mean(key, known)}",
                    remedy=f"Known keys of [{name}]: {', '.join(known)}.",
                )
        return section

    def value(self, section: Mapping[str, Any], name: str, kind: Any) -> Any:
        value = section.get(name.rpartition(".")[2])
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
            raise self._wrong(name, "a string" if kind is str else "a number", value)
        return value

    def seconds(self, section: Mapping[str, Any], name: str) -> float | None:
        value = self.value(section, name, (int, float))
        if value is not None and not 0 <= value < math.inf:
            raise ConfigurationError(
                f"{self.config}: '{name}' must be 0 or more, not {value}.",
                remedy="Correct that line.",
            )
        return None if value is None else float(value)

    def switch(self, section: Mapping[str, Any], name: str, *, default: bool) -> bool:
        value = section.get(name.rpartition(".")[2], default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def count(self, section: Mapping[str, Any], name: str, default: int) -> int:
        value = self.value(section, name, int)
        if value is not None and value < 1:
            raise ConfigurationError(
                f"{self.config}: '{name}' must be 1 or more, not {value}.",
                remedy="Correct that line.",
            )
        return default if value is None else int(value)

    def words(self, section: Mapping[str, Any], name: str) -> tuple[str, ...]:
        """Return a command, given as a list of its words or as one string without a shell."""
        value = section.get(name.rpartition(".")[2], [])
        if isinstance(value, str):
            import shlex

            with suppress(ValueError):  # an open quotation mark
                value = shlex.split(value)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(name, "a command: a string or a list of strings", value)
        return tuple(value)

    def names(self, section: Mapping[str, Any], name: str) -> frozenset[str] | None:
        value = section.get(name.rpartition(".")[2])
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(name, "a list of plugin names", value)
        return frozenset(normalise(item) for item in value)

    def _wrong(self, name: str, wanted: str, value: object) -> ConfigurationError:
        return ConfigurationError(
            f"{self.config}: '{name}' must be {wanted}, not {type(value).__name__}.",
            remedy="Correct that line.",
        )
