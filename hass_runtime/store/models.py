"""The tables, for SQLite and MariaDB alike. `migrations/` creates them; a test keeps the two equal.

Times are seconds since the epoch, UTC, as double. Names have 255 characters and are compared byte by byte
(MariaDB's usual collation would take ``Compute1`` for ``compute1``).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAME = String(255)
WORD = String(32)
# SQLite numbers the rows by itself only for a column of exactly this type.
COUNTER = BigInteger().with_variant(Integer(), "sqlite")
# MariaDB's BLOB holds 64 KiB.
BODY = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
MARIADB = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
CONTROLLER = "controller"


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)


class LeaseTable(Base):
    """One row, made by the first migration: to take the lease is always an UPDATE of a row that is there."""

    __tablename__ = "lease"
    __table_args__ = MARIADB
    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    holder: Mapped[str] = mapped_column(NAME)
    epoch: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[float] = mapped_column(Double)
    ttl: Mapped[float] = mapped_column(Double)


class HostTable(Base):
    __tablename__ = "host"
    __table_args__ = MARIADB
    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    cluster: Mapped[str] = mapped_column(NAME)
    address: Mapped[str] = mapped_column(NAME)
    bmc: Mapped[bool] = mapped_column(Boolean)
    watched: Mapped[bool] = mapped_column(Boolean)
    state: Mapped[str] = mapped_column(WORD)
    since: Mapped[float | None] = mapped_column(Double)
    reason: Mapped[str] = mapped_column(Text)
    doubt: Mapped[str] = mapped_column(Text, server_default="")
    boot: Mapped[str] = mapped_column(NAME, server_default="")
    reserve: Mapped[str] = mapped_column(WORD, server_default="")


class ReadingTable(Base):
    """The latest reading of each layer of each host, not a history of them."""

    __tablename__ = "reading"
    __table_args__ = MARIADB
    host: Mapped[str] = mapped_column(NAME, ForeignKey("host.name"), primary_key=True)
    layer: Mapped[str] = mapped_column(WORD, primary_key=True)
    verdict: Mapped[str] = mapped_column(WORD)
    evidence: Mapped[str] = mapped_column(Text)
    at: Mapped[float] = mapped_column(Double)
    since: Mapped[float] = mapped_column(Double)
    answered: Mapped[bool] = mapped_column(Boolean)


class IncidentTable(Base):
    """``open_key`` is the host's name while the incident has no end and NULL afterwards.

    Unique columns may hold any number of NULLs on both databases, so this lets the database itself refuse
    a second open incident of the same host.
    """

    __tablename__ = "incident"
    __table_args__ = (UniqueConstraint("open_key"), MARIADB)
    id: Mapped[int] = mapped_column(COUNTER, primary_key=True, autoincrement=True)
    host: Mapped[str] = mapped_column(NAME, ForeignKey("host.name"), index=True)
    open_key: Mapped[str | None] = mapped_column(NAME)
    fault: Mapped[str] = mapped_column(NAME)
    layer: Mapped[str] = mapped_column(WORD)
    why: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(WORD)
    opened_at: Mapped[float] = mapped_column(Double)
    closed_at: Mapped[float | None] = mapped_column(Double)
    decision: Mapped[str] = mapped_column(Text)
    gate: Mapped[str] = mapped_column(WORD)
    reason: Mapped[str] = mapped_column(Text)
    phase: Mapped[str] = mapped_column(NAME)
    attempts: Mapped[int] = mapped_column(Integer)
    seen: Mapped[str] = mapped_column(Text)
    fenced_at: Mapped[float | None] = mapped_column(Double, index=True)
    rung: Mapped[int] = mapped_column(Integer, server_default="0")
    tries: Mapped[int] = mapped_column(Integer, server_default="0")


class RunTable(Base):
    __tablename__ = "run"
    __table_args__ = MARIADB
    id: Mapped[str] = mapped_column(NAME, primary_key=True)
    incident: Mapped[int] = mapped_column(COUNTER, ForeignKey("incident.id"), index=True)
    playbook: Mapped[str] = mapped_column(NAME)
    attempt: Mapped[int] = mapped_column(Integer)
    pid: Mapped[int | None] = mapped_column(Integer)
    run_dir: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(WORD)
    rc: Mapped[int | None] = mapped_column(Integer)
    reason: Mapped[str] = mapped_column(Text)
    started_at: Mapped[float] = mapped_column(Double)
    finished_at: Mapped[float | None] = mapped_column(Double)


class StepTable(Base):
    """``run`` is "" for the controller's own steps; ``task`` is NULL for its notes, which never change."""

    __tablename__ = "step"
    __table_args__ = (UniqueConstraint("incident", "run", "task"), MARIADB)
    id: Mapped[int] = mapped_column(COUNTER, primary_key=True, autoincrement=True)
    incident: Mapped[int] = mapped_column(COUNTER, ForeignKey("incident.id"))
    run: Mapped[str] = mapped_column(NAME)
    task: Mapped[str | None] = mapped_column(NAME)
    action: Mapped[str] = mapped_column(NAME)
    name: Mapped[str] = mapped_column(NAME)
    status: Mapped[str] = mapped_column(WORD)
    started_at: Mapped[float] = mapped_column(Double)
    finished_at: Mapped[float | None] = mapped_column(Double)
    detail: Mapped[str] = mapped_column(Text)


class MoveTable(Base):
    __tablename__ = "move"
    __table_args__ = (UniqueConstraint("incident", "instance"), MARIADB)
    id: Mapped[int] = mapped_column(COUNTER, primary_key=True, autoincrement=True)
    incident: Mapped[int] = mapped_column(COUNTER, ForeignKey("incident.id"))
    instance: Mapped[str] = mapped_column(NAME)
    name: Mapped[str] = mapped_column(NAME)
    source: Mapped[str] = mapped_column(NAME)
    target: Mapped[str] = mapped_column(NAME)
    state: Mapped[str] = mapped_column(WORD)
    was: Mapped[str] = mapped_column(WORD)
    attempts: Mapped[int] = mapped_column(Integer)
    priority: Mapped[int] = mapped_column(Integer)
    started_at: Mapped[float | None] = mapped_column(Double)
    finished_at: Mapped[float | None] = mapped_column(Double)
    reason: Mapped[str] = mapped_column(Text)


class DisarmTable(Base):
    """The operator's switch, every throw kept. In force: those with neither an end nor a past ``until``."""

    __tablename__ = "disarm"
    __table_args__ = MARIADB
    id: Mapped[int] = mapped_column(COUNTER, primary_key=True, autoincrement=True)
    reason: Mapped[str] = mapped_column(Text)
    operator: Mapped[str] = mapped_column(NAME)
    since: Mapped[float] = mapped_column(Double)
    until: Mapped[float | None] = mapped_column(Double)
    ended_at: Mapped[float | None] = mapped_column(Double)
    scope: Mapped[str] = mapped_column(WORD, server_default="all")
    name: Mapped[str] = mapped_column(NAME, server_default="")


class OrderTable(Base):
    """What people ordered for a host, every order kept; in force like a row of `DisarmTable`."""

    __tablename__ = "host_order"
    __table_args__ = MARIADB
    id: Mapped[int] = mapped_column(COUNTER, primary_key=True, autoincrement=True)
    host: Mapped[str] = mapped_column(NAME, ForeignKey("host.name"), index=True)
    kind: Mapped[str] = mapped_column(WORD)
    reason: Mapped[str] = mapped_column(Text)
    operator: Mapped[str] = mapped_column(NAME)
    at: Mapped[float] = mapped_column(Double)
    until: Mapped[float | None] = mapped_column(Double)
    drain: Mapped[bool] = mapped_column(Boolean)
    ended_at: Mapped[float | None] = mapped_column(Double)
    incident: Mapped[int] = mapped_column(COUNTER, server_default="0")


class ChoiceTable(Base):
    """People's word on single instances, every word kept; in force: those without an end."""

    __tablename__ = "choice"
    __table_args__ = MARIADB
    id: Mapped[int] = mapped_column(COUNTER, primary_key=True, autoincrement=True)
    instance: Mapped[str] = mapped_column(NAME, index=True)
    name: Mapped[str] = mapped_column(NAME)
    protected: Mapped[bool] = mapped_column(Boolean)
    reason: Mapped[str] = mapped_column(Text)
    operator: Mapped[str] = mapped_column(NAME)
    at: Mapped[float] = mapped_column(Double)
    ended_at: Mapped[float | None] = mapped_column(Double)


class SnapshotTable(Base):
    """A view from which decisions were made, see `explain.snapshot`: shared by all incidents of that
    moment.
    """

    __tablename__ = "snapshot"
    __table_args__ = MARIADB
    id: Mapped[int] = mapped_column(COUNTER, primary_key=True, autoincrement=True)
    at: Mapped[float] = mapped_column(Double)
    body: Mapped[bytes] = mapped_column(BODY)


class DecidedTable(Base):
    """One decision of an incident. ``launched`` is JSON: see `records.Decided`."""

    __tablename__ = "decided"
    __table_args__ = MARIADB
    id: Mapped[int] = mapped_column(COUNTER, primary_key=True, autoincrement=True)
    incident: Mapped[int] = mapped_column(COUNTER, ForeignKey("incident.id", ondelete="CASCADE"), index=True)
    at: Mapped[float] = mapped_column(Double)
    kind: Mapped[str] = mapped_column(WORD)
    what: Mapped[str] = mapped_column(NAME)
    words: Mapped[str] = mapped_column(Text)
    launched: Mapped[str] = mapped_column(Text)
    snapshot: Mapped[int] = mapped_column(COUNTER, ForeignKey("snapshot.id"), index=True)
