"""Name every customer

Revision ID: b05808c0689a
Revises: 920fa25eefff
Create Date: 2025-07-21 09:30:58.127663

"""

import sqlalchemy as sa
from alembic import op

revision = "b05808c0689a"
down_revision = "920fa25eefff"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("UPDATE customer SET name = SUBSTR(email, 1, 200) WHERE name IS NULL")
    with op.batch_alter_table("customer") as batch:
        batch.alter_column("name", existing_type=sa.String(200), nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("customer") as batch:
        batch.alter_column("name", existing_type=sa.String(200), nullable=True)
