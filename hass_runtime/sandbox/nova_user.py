"""A user of the sandbox's Nova: asks and orders over its API, as anybody's script would."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

MICROVERSION = "2.90"
REQUEST_SECONDS = 10.0


class NovaRefused(Exception):
    """Nova did not do it; one clear line."""


class NovaUser:
    """Logged in at the first call, and again when the token is not taken any more.

    Each call raises NovaRefused when Nova answers with an error, OSError or ValueError when it does not.
    """

    def __init__(self, endpoints: Any) -> None:
        self._ends = endpoints
        self._token = ""
        self.requests: set[str] = set()
        """Ids of the requests that ordered something: Nova keeps them with what was done to an instance."""

    def get(self, path: str) -> Any:
        """The JSON of a GET below the Nova endpoint."""
        return self._call("GET", path, None)[0]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Order something; the JSON of the answer, None for an empty one."""
        return self._order("POST", path, body)

    def delete(self, path: str) -> None:
        self._order("DELETE", path, None)

    def act(self, instance: str, action: dict[str, Any]) -> None:
        """An action on the instance of that uuid, such as ``{"os-stop": None}``."""
        self.post(f"/servers/{instance}/action", action)

    def _order(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        answer, request = self._call(method, path, body)
        self.requests.add(request)
        return answer

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[Any, str]:
        for fresh in (False, True):
            if fresh or not self._token:
                self._log_in()
            try:
                return self._request(method, path, body)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code == 401 and not fresh:
                        continue
                    told = " ".join(error.read().decode("utf-8", "replace").split())
                raise NovaRefused(f"{method} {path}: {error.code} {told[:200]}") from error
        raise AssertionError("unreachable")

    def _request(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[Any, str]:
        headers = {
            "X-Auth-Token": self._token,
            "OpenStack-API-Version": f"compute {MICROVERSION}",
            "Content-Type": "application/json",
        }
        data = None if body is None else json.dumps(body).encode()
        url = self._ends.nova_url.rstrip("/") + path
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as reply:
            content = reply.read()
            return json.loads(content) if content else None, reply.headers.get("x-openstack-request-id", "")

    def _log_in(self) -> None:
        ends = self._ends
        user = {"name": ends.username, "domain": {"name": ends.user_domain}, "password": ends.password}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": ends.project_name, "domain": {"name": ends.project_domain}}},
            }
        }
        request = urllib.request.Request(
            f"{ends.auth_url.rstrip('/')}/auth/tokens",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as reply:
            self._token = reply.headers["X-Subject-Token"]
