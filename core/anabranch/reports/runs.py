"""What a run did, for tools; people read it while it goes on."""

from __future__ import annotations

from typing import Any

from anabranch.console import error_json, problem_json
from anabranch.outcomes import Upgrade


def upgrade_json(upgrade: Upgrade, title: str, exit_code: int) -> dict[str, Any]:
    return {
        "database": title,
        "digest": upgrade.digest,
        "duration": upgrade.duration,
        "applied": [{"owner": key.owner, "revision": key.id} for key in upgrade.applied],
        "failed": [
            {"owner": item.owner, "revision": item.revision, "error": error_json(item.error)}
            for item in upgrade.failed
        ],
        "skipped": [
            {"owner": item.key.owner, "revision": item.key.id, "reason": item.reason}
            for item in upgrade.skipped
        ],
        "seeded": list(upgrade.sown),
        "problems": [problem_json(problem) for problem in upgrade.problems],
        "exit_code": exit_code,
    }
