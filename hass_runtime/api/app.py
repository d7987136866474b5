"""The Flask application: routes, and errors as JSON without anything of our insides."""

from __future__ import annotations

import logging

from flask import Flask, Response, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from hass_runtime.api.outlook import Outlook, outlook
from hass_runtime.api.views import Health, load_openapi, views
from hass_runtime.store import Store, StoreError

logger = logging.getLogger(__name__)


def create_app(store: Store, health: Health, surveyor: Outlook | None = None) -> Flask:
    """The application over a store.

    ``surveyor`` knows readiness and plans; without one nothing of them is told. ``health`` gives what
    /healthz answers: a mapping with at least ``status``: ok, standby or stale. Errors are ``{"error":
    {"code": int, "title": str, "message": str}}``; a database that is down is a 503.
    """
    app = Flask("hass_runtime.api", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.strict_slashes = False
    app.extensions["hass_store"] = store
    app.extensions["hass_health"] = health
    app.extensions["hass_openapi"] = load_openapi()
    app.extensions["hass_surveyor"] = surveyor
    app.register_blueprint(views)
    app.register_blueprint(outlook)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(StoreError, _store_error)
    app.register_error_handler(Exception, _crash)
    return app


def _http_error(exc: HTTPException) -> ResponseReturnValue:
    code = exc.code or 500
    if code == 404 and exc.description == type(exc).description:
        message = f"there is nothing at {request.path[:200]}"
    elif code == 405:
        message = f"{request.method} is not possible at {request.path[:200]}; this interface is read-only"
    else:
        message = exc.description or exc.name
    answer, status = _error(code, exc.name, message)
    for name, value in exc.get_headers():
        if name.lower() == "allow":
            answer.headers[name] = value
    return answer, status


def _store_error(exc: Exception) -> ResponseReturnValue:
    # Its one line names where the database is: for the log, not for whoever asks.
    logger.warning("a request cannot be answered: %s", exc)
    answer, status = _error(503, "Service Unavailable", "the database does not answer; try again soon")
    answer.headers["Retry-After"] = "5"
    return answer, status


def _crash(exc: Exception) -> ResponseReturnValue:
    logger.error("%s %s failed", request.method, request.path, exc_info=exc)
    return _error(500, "Internal Server Error", "something went wrong here; the controller's log says what")


def _error(code: int, title: str, message: str) -> tuple[Response, int]:
    return jsonify({"error": {"code": code, "title": title, "message": message}}), code
