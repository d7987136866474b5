"""What each decision of an incident was made from.

MariaDB commits every schema change at once, so each one here can be done again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

WORD = sa.String(32)
NAME = sa.String(255)
COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
BODY = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
MARIADB = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def upgrade() -> None:
    op.create_table(
        "snapshot",
        sa.Column("id", COUNTER, autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("body", BODY, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_snapshot"),
        if_not_exists=True,
        **MARIADB,
    )
    op.create_table(
        "decided",
        sa.Column("id", COUNTER, autoincrement=True, nullable=False),
        sa.Column("incident", COUNTER, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("what", NAME, nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("launched", sa.Text(), nullable=False),
        sa.Column("snapshot", COUNTER, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_decided"),
        sa.ForeignKeyConstraint(
            ["incident"], ["incident.id"], name="fk_decided_incident_incident", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["snapshot"], ["snapshot.id"], name="fk_decided_snapshot_snapshot"),
        if_not_exists=True,
        **MARIADB,
    )
    op.create_index("ix_decided_incident", "decided", ["incident"], if_not_exists=True)
    op.create_index("ix_decided_snapshot", "decided", ["snapshot"], if_not_exists=True)
