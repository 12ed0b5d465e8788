"""The Alembic environment anabranch ships: the template of revision files, and an ``env.py``."""
