"""${message}

Revision ID: ${revision}
Revises: ${revises}
Create Date: ${create_date}
"""

import sqlalchemy as sa
from alembic import op
% for line in imports:
${line}
% endfor

revision = ${repr(revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades}


def downgrade() -> None:
    ${downgrades}
