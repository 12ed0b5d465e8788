"""``db restore``: put a backup back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anabranch import console
from anabranch.cli.consent import require_consent, yes_option
from anabranch.cli.shared import Manager, directory, lock_timeout_option, told
from anabranch.cli.telling import LISTENER
from anabranch.restoring import find_backup

if TYPE_CHECKING:
    from anabranch.backup import Backup


def restore_command(manager: Manager) -> click.Command:
    @click.command("restore")
    @directory
    @click.argument("backup", required=False)
    @lock_timeout_option
    @yes_option
    def restore(
        deployment_dir: Path, backup: str | None, lock_timeout: float | None, yes: bool
    ) -> None:
        """Put a BACKUP of DEPLOYMENT_DIR's SQLite database back, or list its backups.

        Stop the application first: what it wrote since the backup goes. The database as it is now
        is kept as a backup too.
        """
        with told():
            app = manager()
            if backup is None:
                _say_backups(app.backups(deployment_dir))
                return
            access = app.open(deployment_dir)
            find_backup(access, backup)  # before anybody is asked to agree
            title = access.database.title
            require_consent(f"The content of {title} would be replaced.", "restore", yes=yes)
            restored = app.restore(
                deployment_dir, backup, lock_timeout=lock_timeout, listener=LISTENER
            )
            if restored.kept:
                console.say(f"Kept      {restored.kept} (the database as it was)")
            console.say(f"Restored  {restored.backup}")

    return restore


def _say_backups(backups: Sequence[Backup]) -> None:
    if not backups:
        console.say("There are no backups.")
        return
    rows = [
        (backup.path.name, f"{backup.at:%Y-%m-%d %H:%M:%S} UTC", f"{backup.size / 1e6:.1f} MB")
        for backup in backups
    ]
    console.say_table(("backup", "made at", "size"), rows)
