"""A client of the controller's REST interface: JSON, or one clear line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import click

DEFAULT = "http://127.0.0.1:9999"
# Seconds to connect and to wait for an answer: the controller itself gives its database up to 20.
TIMEOUTS = (5.0, 30.0)


class Client:
    """Asks one controller. Every failure is a ClickException of one line, exit status 1."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise click.UsageError(f"--api: {url!r} is not an address such as {DEFAULT}")
        self.url = url.rstrip("/")

    def get(self, path: str, params: Mapping[str, Any] | None = None, accept: tuple[int, ...] = ()) -> Any:
        """The JSON at a path. Statuses in ``accept`` are answers, too, not errors."""
        import requests

        session = requests.Session()
        session.trust_env = (
            False  # a proxy of the shell's environment does not lead to this machine's loopback
        )
        try:
            reply = session.get(self.url + path, params=params, timeout=TIMEOUTS, allow_redirects=False)
            data = reply.json()
        except requests.JSONDecodeError:
            raise click.ClickException(f"{self.url} answers, but not as a HASS controller does") from None
        except requests.ConnectionError as exc:
            raise click.ClickException(f"no HASS controller answers at {self.url}: {_why(exc)}") from None
        except requests.Timeout:
            raise click.ClickException(f"the HASS controller at {self.url} does not answer in time") from None
        except requests.RequestException as exc:
            raise click.ClickException(f"{self.url}: {type(exc).__name__}") from None
        finally:
            session.close()
        if reply.status_code == 200 or reply.status_code in accept:
            return data
        error = data.get("error") if isinstance(data, dict) else None
        words = error.get("message") if isinstance(error, dict) else None
        raise click.ClickException(
            f"{words or 'it answers with an error'} ({reply.status_code} from {self.url})"
        )


def _why(exc: BaseException) -> str:
    """The operating system's own words, which lie some exceptions deep."""
    found: BaseException | None = exc
    for _ in range(8):
        if found is None:
            break
        if isinstance(found, OSError) and found.strerror:
            return found.strerror.lower()
        inner = getattr(found, "reason", None) or found.__cause__ or found.__context__
        found = inner if isinstance(inner, BaseException) else (found.args[0] if found.args else None)
        found = found if isinstance(found, BaseException) else None
    return "connection failed"
