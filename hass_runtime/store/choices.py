"""People's word on single instances: protected, or left alone, whatever the rules say.

A person needs no lease for that. Each function works in the caller's transaction; nothing is ever deleted: a
word that was taken back, or replaced, has ended.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, insert, select, update

from hass_runtime.domain import Choice
from hass_runtime.store import rows, words
from hass_runtime.store.models import ChoiceTable


def choose(connection: Connection, wanted: Choice) -> Choice:
    """As it is kept. An earlier word on the same instance ends."""
    made = replace(
        wanted,
        instance=words.name(wanted.instance, "instance"),
        name=words.short(wanted.name),
        reason=words.long(wanted.reason.strip()),
        by=words.short(wanted.by),
    )
    forget(connection, made.instance, made.at)
    connection.execute(
        insert(ChoiceTable).values(
            instance=made.instance,
            name=made.name,
            protected=made.protected,
            reason=made.reason,
            operator=made.by,
            at=made.at,
        )
    )
    return made


def forget(connection: Connection, instance: str, at: float) -> bool:
    """Let the rules decide again; True when somebody had chosen otherwise."""
    mine = (ChoiceTable.instance == words.clean(instance), ChoiceTable.ended_at.is_(None))
    return bool(connection.execute(update(ChoiceTable).where(*mine).values(ended_at=at)).rowcount)


def in_force(connection: Connection) -> tuple[Choice, ...]:
    """One for each instance on which somebody has given his word, in the order in which they were given."""
    newest = {
        row.instance: rows.choice(row)
        for row in connection.execute(
            select(ChoiceTable).where(ChoiceTable.ended_at.is_(None)).order_by(ChoiceTable.id)
        )
    }
    return tuple(newest.values())
