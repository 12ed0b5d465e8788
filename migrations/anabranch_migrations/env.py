"""The doorway for stock Alembic: its commands work on a deployment and keep our records right.

Alembic runs this file. Its configuration names the application's manager and the deployment::

    script_location = anabranch_migrations:.
    anabranch_app = shop.cli:manager
    anabranch_deployment = ./deployment
"""

from alembic import context

from anabranch.stock import serve

serve(context.config, context.script, context)
