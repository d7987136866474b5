"""Turns the text of a value into what it means. Each function raises ValueError with a reason.

A reason never quotes the value: the caller decides whether it may be shown.
"""

from __future__ import annotations

import ast
import ipaddress
import re
import shlex
from urllib.parse import urlsplit

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?\Z")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9])?\Z")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}\Z")
_MICROVERSION = re.compile(r"2\.([1-9][0-9]{0,3})\Z")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})\Z")
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
# The options of subprocess.check_output() that the guide's ping_command carries: about its output only.
_HARMLESS = frozenset({"stderr", "stdout", "universal_newlines", "text", "timeout"})
_FIELD = re.compile(r"\{([^{}]*)\}")
# literal_eval() and parse() fail in all these ways on text that is not what it should be.
_PARSE_ERRORS = (SyntaxError, ValueError, TypeError, RecursionError, MemoryError)
_LONGEST_EXPRESSION = 4096


def integer(text: str) -> int:
    """A whole number in decimal digits."""
    if not _INTEGER.match(text):
        raise ValueError("not a whole number")
    return int(text)


def number(text: str) -> float:
    """A decimal number, without exponent."""
    if not _NUMBER.match(text):
        raise ValueError("not a number")
    return float(text)


def flag(text: str) -> bool:
    """true, yes, on, 1 or false, no, off, 0, in any case."""
    word = text.lower()
    if word not in _TRUE + _FALSE:
        raise ValueError("neither true nor false")
    return word in _TRUE


def host_name(text: str) -> str:
    """A compute host's name as Nova shows it."""
    if not _NAME.match(text):
        raise ValueError("not a host name")
    return text


def address(text: str) -> str:
    """A host name or an IP address."""
    if ":" in text or not text.strip("0123456789."):
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            raise ValueError("not an IP address") from None
    if not _HOST.match(text):
        raise ValueError("neither a host name nor an IP address")
    return text


def address_and_port(text: str, default: int) -> tuple[str, int]:
    """ADDRESS, ADDRESS:PORT, IPv6 or [IPv6]:PORT."""
    if text.startswith("["):
        inside, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError("not of the form [ADDRESS]:PORT")
        return address(inside), port(rest[1:]) if rest else default
    if text.count(":") == 1:
        before, _, after = text.partition(":")
        return address(before), port(after)
    return address(text), default


def port(text: str) -> int:
    """A port from 1 to 65535."""
    value = integer(text)
    if not 1 <= value <= 65535:
        raise ValueError("not a port from 1 to 65535")
    return value


def url(text: str) -> str:
    """An http or https URL with a host and without user, query and fragment; no slash at its end."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("not a URL") from None
    if parts.scheme not in ("http", "https") or not host or re.search(r"\s", text):
        raise ValueError("not a URL that starts with http:// or https://")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("a URL with more in it than host, port and path")
    return text.rstrip("/")


def absolute_path(text: str) -> str:
    """A path from the root."""
    if not text.startswith("/") or "\n" in text:
        raise ValueError("not an absolute path")
    return text


def names(text: str) -> tuple[str, ...]:
    """The guide's Python-style list of strings, or words separated by commas or, without any, white space."""
    if text.startswith(("[", "(")):
        try:
            value = ast.literal_eval(text) if len(text) <= 64 * 1024 else None
        except _PARSE_ERRORS:
            raise ValueError('not a list like ["a", "b"]') from None
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise ValueError('not a list of strings like ["a", "b"]')
        return tuple(item.strip() for item in value if item.strip())
    parts = re.split(r"[,\n]", text) if "," in text else text.split()
    return tuple(part.strip() for part in parts if part.strip())


def microversion(text: str) -> str:
    """A Nova API microversion, 2.53 or later: the first that forces a service down by its id."""
    found = _MICROVERSION.match(text)
    if not found or int(found.group(1)) < 53:
        raise ValueError("not a Nova API version of 2.53 or later")
    return text


def ping_command(text: str) -> tuple[str, ...]:
    """The argv of a ping, from the guide's Python expression or a plain command line.

    ``{address}`` and ``{host}`` stay in it for the host. Nothing is evaluated: the expression is only parsed.
    """
    argv = _argv_of_expression(text) if text.startswith("[") else _argv_of_line(text)
    if not argv or not argv[0]:
        raise ValueError("names no command")
    fields = [name for word in argv for name in _FIELD.findall(word)]
    unknown = sorted(set(fields) - {"address", "host"})
    if unknown:
        raise ValueError("only {address} and {host} can stand for the host")
    if not fields:
        raise ValueError("does not say which host to ping: {address} is missing")
    if _FIELD.search(argv[0]):
        raise ValueError("starts with the host instead of a command")
    return argv


def _argv_of_line(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"not a command line ({str(error).lower()})") from None


def _argv_of_expression(text: str) -> tuple[str, ...]:
    try:
        if len(text) > _LONGEST_EXPRESSION:
            raise ValueError("too long")
        call = ast.parse(f"run({text})", mode="eval").body
    except _PARSE_ERRORS:
        raise ValueError("not a Python list of strings") from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or len(call.args) != 1:
        raise ValueError("not a Python list of strings")
    if any(keyword.arg not in _HARMLESS for keyword in call.keywords):
        raise ValueError("carries an option other than " + ", ".join(sorted(_HARMLESS)))
    listed = call.args[0]
    if not isinstance(listed, ast.List):
        raise ValueError("not a Python list of strings")
    return tuple(_word(node) for node in listed.elts)


def _word(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) == ("self", "node")
    ):
        return "{address}"
    raise ValueError("holds something other than strings and self.node")
