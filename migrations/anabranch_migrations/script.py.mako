## What Alembic looks for where it would write a revision. It swallows what a template raises while it
## is rendered, but not while it is read.
<%!
    from contextlib import suppress
    from pathlib import Path

    from alembic.util import CommandError

    with suppress(OSError):  # it is there already, and not empty
        Path(_template_filename).with_name("versions").rmdir()  # Alembic has just made it
    raise CommandError(
        "Alembic knows no owner to write a revision for. "
        "Use the application's own command: make-migrations, with --plugin NAME for a plugin."
    )
%>
