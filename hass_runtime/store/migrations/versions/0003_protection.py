"""People's word on single instances, which hosts are kept free, and which incident a failback is about.

MariaDB commits every schema change at once, so each one here can be done again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NAME = sa.String(255)
WORD = sa.String(32)
COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MARIADB = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def upgrade() -> None:
    _column("host", sa.Column("reserve", WORD, nullable=False, server_default=""))
    _column("host_order", sa.Column("incident", COUNTER, nullable=False, server_default="0"))
    op.create_table(
        "choice",
        sa.Column("id", COUNTER, autoincrement=True, nullable=False),
        sa.Column("instance", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("protected", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("operator", NAME, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_choice"),
        if_not_exists=True,
        **MARIADB,
    )
    op.create_index("ix_choice_instance", "choice", ["instance"], if_not_exists=True)


def _column(table: str, column: sa.Column[object]) -> None:
    # SQLite has no IF NOT EXISTS for columns.
    if column.name not in {known["name"] for known in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)
