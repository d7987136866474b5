"""Pauses of a cluster or a host, orders for a host, how far an incident went up its ladder, its fence, and
BMCs that were caught lying.

MariaDB commits every schema change at once, so each one here can be done again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NAME = sa.String(255)
WORD = sa.String(32)
COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MARIADB = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def upgrade() -> None:
    # What was switched off before was so everywhere.
    _column("disarm", sa.Column("scope", WORD, nullable=False, server_default="all"))
    _column("disarm", sa.Column("name", NAME, nullable=False, server_default=""))
    _column("host", sa.Column("doubt", sa.Text(), nullable=False, server_default=""))
    _column("host", sa.Column("boot", NAME, nullable=False, server_default=""))
    _column("incident", sa.Column("fenced_at", sa.Double()))
    _column("incident", sa.Column("rung", sa.Integer(), nullable=False, server_default="0"))
    _column("incident", sa.Column("tries", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("ix_incident_fenced_at", "incident", ["fenced_at"], if_not_exists=True)
    _fences_so_far()
    op.create_table(
        "host_order",
        sa.Column("id", COUNTER, autoincrement=True, nullable=False),
        sa.Column("host", NAME, nullable=False),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("operator", NAME, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("until", sa.Double()),
        sa.Column("drain", sa.Boolean(), nullable=False),
        sa.Column("ended_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_host_order"),
        sa.ForeignKeyConstraint(["host"], ["host.name"], name="fk_host_order_host_host"),
        if_not_exists=True,
        **MARIADB,
    )
    op.create_index("ix_host_order_host", "host_order", ["host"], if_not_exists=True)


def _column(table: str, column: sa.Column[object]) -> None:
    # SQLite has no IF NOT EXISTS for columns.
    if column.name not in {known["name"] for known in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)


def _fences_so_far() -> None:
    """An upgrade must not forget how many hosts were fenced within the last hours: the steps tell."""
    incident = sa.table("incident", sa.column("id"), sa.column("fenced_at"))
    step = sa.table(
        "step",
        *(sa.column(name) for name in ("incident", "action", "status", "started_at", "finished_at")),
    )
    first = (
        sa.select(sa.func.min(sa.func.coalesce(step.c.finished_at, step.c.started_at)))
        .where(
            step.c.incident == incident.c.id,
            step.c.action == "hass_fence",
            step.c.status.in_(("ok", "changed")),
        )
        .scalar_subquery()
    )
    op.execute(incident.update().where(incident.c.fenced_at.is_(None)).values(fenced_at=first))
