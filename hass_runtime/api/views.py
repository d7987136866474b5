"""The routes. Each reads from the store and renders; none of them changes anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

import yaml
from flask import Blueprint, abort, current_app, jsonify, request
from flask.typing import ResponseReturnValue

from hass_runtime.api import render
from hass_runtime.explain import story
from hass_runtime.explain.recorded import recorded
from hass_runtime.store import Store

Health = Callable[[], Mapping[str, Any]]
LIMIT_DEFAULT = 100
LIMIT_MOST = 1000
# What `health` may say; anything else counts as not well.
WELL = ("ok", "standby")
# A database counts an incident in 63 bits.
ID_MOST = 2**63 - 1

views = Blueprint("v1", __name__)


def load_openapi() -> dict[str, Any]:
    """The OpenAPI document as data."""
    text = resources.files("hass_runtime.api").joinpath("openapi.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return document


@views.get("/healthz")
def healthz() -> ResponseReturnValue:
    health: Health = current_app.extensions["hass_health"]
    try:
        report = dict(health())
    except Exception:
        current_app.logger.exception("the health check itself failed")
        report = {"status": "stale", "reason": "the health check itself failed"}
    return jsonify(report), 200 if report.get("status") in WELL else 503


@views.get("/v1/hosts")
def hosts() -> ResponseReturnValue:
    known_arguments()
    return jsonify({"hosts": [render.host(row) for row in _store().hosts()]})


@views.get("/v1/incidents")
def incidents() -> ResponseReturnValue:
    known_arguments("limit", "host", "open")
    found = _store().incidents(limit=_limit(), host=request.args.get("host"), open_only=_flag("open"))
    return jsonify({"incidents": [render.incident(item) for item in found]})


@views.get("/v1/incidents/<int:id>")
def incident(id: int) -> ResponseReturnValue:
    known_arguments()
    store = _store()
    found = store.incident(id) if id <= ID_MOST else None
    if found is None:
        abort(404, f"there is no incident {id}")
    return jsonify(render.history(found, store.steps(id), store.moves(id), store.runs(id)))


@views.get("/v1/incidents/<int:id>/explanation")
def explanation(id: int) -> ResponseReturnValue:
    known_arguments()
    store = _store()
    found = store.incident(id) if id <= ID_MOST else None
    if found is None:
        abort(404, f"there is no incident {id}")
    made, views = recorded(store, id)
    return jsonify(story.data(found, made, views, render.moment))


@views.get("/v1/switch")
def switch() -> ResponseReturnValue:
    known_arguments()
    return jsonify(render.switch(_store().pauses(time.time())))


@views.get("/v1/orders")
def orders() -> ResponseReturnValue:
    known_arguments()
    return jsonify({"orders": [render.order(item) for item in _store().orders(time.time())]})


@views.get("/v1/choices")
def choices() -> ResponseReturnValue:
    known_arguments()
    return jsonify({"choices": [render.choice(item) for item in _store().choices()]})


@views.get("/v1/openapi.json")
def openapi() -> ResponseReturnValue:
    return jsonify(current_app.extensions["hass_openapi"])


def _store() -> Store:
    store: Store = current_app.extensions["hass_store"]
    return store


def known_arguments(*names: str) -> None:
    """Refuse a misspelt filter: to ignore it would answer another question than the one that was asked."""
    for name in request.args:
        if name not in names:
            known = f"known here: {', '.join(names)}" if names else "this address takes none"
            abort(400, f"query argument {name!r} is not known; {known}")
        if len(request.args.getlist(name)) > 1:
            abort(400, f"query argument {name!r} is given more than once")


def _limit() -> int:
    text = request.args.get("limit", str(LIMIT_DEFAULT))
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= LIMIT_MOST):
        abort(400, f"limit: {text[:40]!r} is not a whole number from 1 to {LIMIT_MOST}")
    return int(text)


def _flag(name: str) -> bool:
    text = request.args.get(name, "false").lower()
    if text not in ("true", "false", "1", "0"):
        abort(400, f"{name}: {text[:40]!r} is not true or false")
    return text in ("true", "1")
