"""The routes that look ahead: readiness, plans, and the same as numbers for a monitoring system."""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

from flask import Blueprint, Response, abort, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from hass_runtime.api.render import moment
from hass_runtime.api.views import known_arguments
from hass_runtime.decide.foresight import Plan
from hass_runtime.decide.readiness import Back, HostReady, InstanceReady, Problem, Readiness
from hass_runtime.remedy.playbooks import Shelf
from hass_runtime.remedy.steps import steps_of
from hass_runtime.settings.model import PathSettings
from hass_runtime.survey.keeper import NotKnown

Json = dict[str, Any]
outlook = Blueprint("outlook", __name__)


class Outlook(Protocol):
    """Who knows what would happen: `survey.keeper.Surveyor`."""

    @property
    def paths(self) -> PathSettings: ...
    def readiness(self) -> Readiness: ...
    def plan(self, host: str, fault: str) -> Plan: ...


@outlook.get("/v1/readiness")
def readiness() -> ResponseReturnValue:
    known_arguments("host")
    found = _readiness()
    name = request.args.get("host")
    if name is not None and name not in {host.host for host in found.hosts}:
        abort(404, f"host {name[:80]!r} is not watched")
    return jsonify(render(found, name))


@outlook.get("/v1/plan/<host>")
def plan(host: str) -> ResponseReturnValue:
    known_arguments("fault")
    try:
        found = _surveyor().plan(host, request.args.get("fault", "power"))
    except NotKnown as error:
        abort(503, str(error))
    except LookupError as error:
        abort(404, str(error.args[0]))
    return jsonify(render_plan(found, _surveyor().paths))


@outlook.get("/metrics")
def metrics() -> ResponseReturnValue:
    """In Prometheus' text format; without a fresh survey only that there is none."""
    registry = CollectorRegistry()
    known = Gauge("hass_readiness_known", "Whether there is a fresh survey of the cloud", registry=registry)
    surveyor = current_app.extensions["hass_surveyor"]
    try:
        found = surveyor.readiness() if surveyor is not None else None
    except NotKnown:
        found = None
    known.set(found is not None)
    if found is not None:
        _measure(found, registry)
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _measure(found: Readiness, registry: CollectorRegistry) -> None:
    ready = Gauge(
        "hass_host_ready",
        "Whether all instances of the host would come back if it died now",
        ["host"],
        registry=registry,
    )
    backs = Gauge(
        "hass_readiness_instances",
        "Instances by whether they would come back (yes, blank, unsure, no, left) if their host died now",
        ["host", "back"],
        registry=registry,
    )
    lose = Gauge("hass_hosts_can_lose", "So many of the fullest hosts may die at once", registry=registry)
    surveyed = Gauge("hass_survey_timestamp_seconds", "When the cloud was surveyed", registry=registry)
    calls = Gauge("hass_survey_calls", "Requests that the survey took", ["service"], registry=registry)
    for host in found.hosts:
        ready.labels(host.host).set(host.ready)
        counted = Counter(each.back for each in host.instances)
        for back in Back:
            backs.labels(host.host, back.value).set(counted[back])
    lose.set(found.can_lose)
    surveyed.set(found.at)
    for service, number in found.calls.items():
        calls.labels(service).set(number)


def render(found: Readiness, only: str | None = None) -> Json:
    """Readiness as plain data."""
    return {
        "at": moment(found.at),
        "ready": found.ready,
        "can_lose": found.can_lose,
        "calls": dict(found.calls),
        "hosts": [_host(host) for host in found.hosts if only in (None, host.host)],
    }


def _host(host: HostReady) -> Json:
    counted = Counter(each.back.value for each in host.instances)
    return {
        "host": host.host,
        "ready": host.ready,
        "held": host.held,
        "problems": [_problem(each) for each in host.problems],
        "counts": {back.value: counted[back.value] for back in Back},
        "instances": [_instance(each) for each in host.instances],
    }


def _problem(problem: Problem) -> Json:
    return {"kind": problem.kind, "words": problem.words, "advice": problem.advice}


def _instance(each: InstanceReady) -> Json:
    return {
        "instance": each.instance.id,
        "name": each.instance.name,
        "back": each.back.value,
        "target": each.target,
        "was": each.instance.vm_state,
        "priority": each.instance.priority,
        "problem": None if each.problem is None else _problem(each.problem),
    }


def render_plan(found: Plan, paths: PathSettings) -> Json:
    """A plan as plain data, each rung with the tasks of its playbook."""
    held, shelf = found.held, Shelf(paths.playbooks, paths.own_playbooks)
    return {
        "host": found.host.name,
        "fault": found.fault,
        "why": found.why,
        "becomes": found.becomes,
        "waits": found.waits,
        "held": None if held is None else {"gate": held[0], "said": held[1]},
        "gates": [{"gate": gate, "open": not said, "said": said} for gate, said in found.gates],
        "ladder": [
            {
                "playbook": rung.playbook,
                "tries": rung.tries,
                "steps": steps_of(shelf.find(rung.playbook), found.host.name),
            }
            for rung in found.ladder
        ],
        "instances": [] if found.ready is None else [_instance(each) for each in found.ready.instances],
    }


def _readiness() -> Readiness:
    try:
        return _surveyor().readiness()
    except NotKnown as error:
        abort(503, str(error))


def _surveyor() -> Outlook:
    surveyor: Outlook | None = current_app.extensions["hass_surveyor"]
    if surveyor is None:
        abort(503, "this controller does not survey the cloud")
    return surveyor
