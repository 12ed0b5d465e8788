"""The tables of this plugin."""

import sqlalchemy as sa
from {{ cookiecutter.__base_module }} import {{ cookiecutter.__base.partition('.')[0] }}


class {{ cookiecutter.__model }}({{ cookiecutter.__base }}):
    """An example: rename it, or write your own in its place."""

    __tablename__ = "{{ cookiecutter.__table }}"
    __table_args__ = (
        sa.PrimaryKeyConstraint("id", name="pk_{{ cookiecutter.__table }}"),
        sa.UniqueConstraint("name", name="uq_{{ cookiecutter.__table }}_name"),
    )

    id = sa.Column(sa.Integer)
    name = sa.Column(sa.String(255), nullable=False)
    created = sa.Column(sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
