"""The first schema: lease, hosts and their readings, incidents with runs, steps and moves, the switch.

MariaDB commits every schema change at once, so each one here can be done again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NAME = sa.String(255)
WORD = sa.String(32)
COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MARIADB = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def upgrade() -> None:
    _lease()
    _hosts()
    _incidents()
    _details()
    _table(
        "disarm",
        sa.Column("id", COUNTER, autoincrement=True, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("operator", NAME, nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("until", sa.Double()),
        sa.Column("ended_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_disarm"),
    )


def _lease() -> None:
    _table(
        "lease",
        sa.Column("name", NAME, nullable=False),
        sa.Column("holder", NAME, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("ttl", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_lease"),
    )
    lease = sa.table("lease", *(sa.column(name) for name in ("name", "holder", "epoch", "expires_at", "ttl")))
    if op.get_bind().execute(sa.select(lease.c.name)).first() is None:
        op.execute(lease.insert().values(name="controller", holder="", epoch=0, expires_at=0, ttl=0))


def _hosts() -> None:
    _table(
        "host",
        sa.Column("name", NAME, nullable=False),
        sa.Column("cluster", NAME, nullable=False),
        sa.Column("address", NAME, nullable=False),
        sa.Column("bmc", sa.Boolean(), nullable=False),
        sa.Column("watched", sa.Boolean(), nullable=False),
        sa.Column("state", WORD, nullable=False),
        sa.Column("since", sa.Double()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_host"),
    )
    _table(
        "reading",
        sa.Column("host", NAME, nullable=False),
        sa.Column("layer", WORD, nullable=False),
        sa.Column("verdict", WORD, nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("answered", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("host", "layer", name="pk_reading"),
        sa.ForeignKeyConstraint(["host"], ["host.name"], name="fk_reading_host_host"),
    )


def _incidents() -> None:
    _table(
        "incident",
        sa.Column("id", COUNTER, autoincrement=True, nullable=False),
        sa.Column("host", NAME, nullable=False),
        sa.Column("open_key", NAME),
        sa.Column("fault", NAME, nullable=False),
        sa.Column("layer", WORD, nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("outcome", WORD, nullable=False),
        sa.Column("opened_at", sa.Double(), nullable=False),
        sa.Column("closed_at", sa.Double()),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("gate", WORD, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("phase", NAME, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("seen", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_incident"),
        sa.UniqueConstraint("open_key", name="uq_incident_open_key"),
        sa.ForeignKeyConstraint(["host"], ["host.name"], name="fk_incident_host_host"),
    )
    op.create_index("ix_incident_host", "incident", ["host"], if_not_exists=True)


def _details() -> None:
    _table(
        "run",
        sa.Column("id", NAME, nullable=False),
        sa.Column("incident", COUNTER, nullable=False),
        sa.Column("playbook", NAME, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("pid", sa.Integer()),
        sa.Column("run_dir", sa.Text(), nullable=False),
        sa.Column("status", WORD, nullable=False),
        sa.Column("rc", sa.Integer()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
        sa.ForeignKeyConstraint(["incident"], ["incident.id"], name="fk_run_incident_incident"),
    )
    op.create_index("ix_run_incident", "run", ["incident"], if_not_exists=True)
    _table(
        "step",
        sa.Column("id", COUNTER, autoincrement=True, nullable=False),
        sa.Column("incident", COUNTER, nullable=False),
        sa.Column("run", NAME, nullable=False),
        sa.Column("task", NAME),
        sa.Column("action", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("status", WORD, nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double()),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_step"),
        sa.UniqueConstraint("incident", "run", "task", name="uq_step_incident_run_task"),
        sa.ForeignKeyConstraint(["incident"], ["incident.id"], name="fk_step_incident_incident"),
    )
    _table(
        "move",
        sa.Column("id", COUNTER, autoincrement=True, nullable=False),
        sa.Column("incident", COUNTER, nullable=False),
        sa.Column("instance", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("source", NAME, nullable=False),
        sa.Column("target", NAME, nullable=False),
        sa.Column("state", WORD, nullable=False),
        sa.Column("was", WORD, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Double()),
        sa.Column("finished_at", sa.Double()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_move"),
        sa.UniqueConstraint("incident", "instance", name="uq_move_incident_instance"),
        sa.ForeignKeyConstraint(["incident"], ["incident.id"], name="fk_move_incident_incident"),
    )


def _table(name: str, *items: sa.schema.SchemaItem, **options: object) -> None:
    op.create_table(name, *items, if_not_exists=True, **MARIADB, **options)
