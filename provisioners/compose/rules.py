"""The routing rules of Traefik's labels, versions 2 and 3, as hosts and paths of an Ingress.

A rule is a boolean expression of matchers. An Ingress can say "this host and this path", so the
expression becomes a list of such pairs; what else it asks for cannot be said, and leaving it out
would open what the rule keeps shut, so that is an error with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product

_TOKEN = re.compile(
    r"\s*(?:(&&|\|\||[!(),])|`([^`]*)`|\"((?:[^\"\\]|\\.)*)\"|'([^']*)'|([A-Za-z][A-Za-z0-9]*))"
)
_HOST = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*\Z")
_V2_WILDCARD = re.compile(r"\{[^{}]*\}\.([a-z0-9.-]+)\Z")
_V3_WILDCARD = re.compile(
    r"\^?(?:\[\^\.\]|\[a-z0-9-\]|\[a-zA-Z0-9-\]|\[a-z\]|\\w|\.)[+*]\\\.((?:[a-z0-9-]|\\\.)+)\$?\Z"
)
_MOST_ROUTES = 64
_MOST_TOKENS, _DEEPEST = 2000, 20  # rules are written by hand


class RuleError(ValueError):
    """A rule that is broken, or that an Ingress cannot say; says why."""


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """One host (empty: any) and path of an Ingress; `exact` is for this path alone."""

    host: str = ""
    path: str = "/"
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Matcher:
    """One matcher of a rule, such as Host(`a`)."""

    name: str
    values: tuple[str, ...]


_Terms = list[tuple[Matcher, ...]]


def routes_of(rule: str) -> tuple[tuple[Route, ...], tuple[str, ...]]:
    """Return the routes of a rule, and in words what they only come near to.

    Raises:
        RuleError: the rule is broken, or an Ingress cannot say it.
    """
    parser = _Parser(_tokens(rule))
    terms = parser.any_of()
    parser.end()
    notes: list[str] = []
    found = [route for term in terms for route in _routes(term, notes)]
    return tuple(dict.fromkeys(found)), tuple(dict.fromkeys(notes))


def _tokens(rule: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    text = rule.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise RuleError(f"the rule cannot be read at {text[at : at + 12]!r}")
        mark, *quoted, word = match.groups()
        value = next((one for one in quoted if one is not None), "")
        found.append((mark, mark) if mark else ("word", word) if word else ("text", value))
        at = match.end()
        if len(found) > _MOST_TOKENS:
            raise RuleError(f"the rule has more than {_MOST_TOKENS} parts")
    return found


class _Parser:
    """Reads an expression by recursive descent; `||` binds weaker than `&&`."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def any_of(self) -> _Terms:
        terms = self._all_of()
        while self._take("||"):
            terms = terms + self._all_of()
            self._bound(terms)
        return terms

    def _all_of(self) -> _Terms:
        terms = self._one()
        while self._take("&&"):
            terms = [(*left, *right) for left, right in product(terms, self._one())]
            self._bound(terms)
        return terms

    def _bound(self, terms: _Terms) -> None:
        if len(terms) > _MOST_ROUTES:
            raise RuleError(f"it stands for more than {_MOST_ROUTES} routes")

    def _one(self) -> _Terms:
        if self._take("!"):
            raise RuleError("an Ingress cannot say what a request must not be")
        if self._take("("):
            self._depth += 1
            if self._depth > _DEEPEST:
                raise RuleError(f"its brackets are more than {_DEEPEST} deep")
            terms = self.any_of()
            self._need(")")
            self._depth -= 1
            return terms
        name = self._need("word")
        self._need("(")
        values = []
        while not self._take(")"):
            values.append(self._need("text"))
            self._take(",")
        if not values:
            raise RuleError(f"{name}() is empty")
        return [(Matcher(name.lower(), tuple(values)),)]

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise RuleError(f"the rule cannot be read at {self._tokens[self._at][1]!r}")

    def _take(self, kind: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at][0] == kind:
            self._at += 1
            return True
        return False

    def _need(self, kind: str) -> str:
        if self._at >= len(self._tokens) or self._tokens[self._at][0] != kind:
            raise RuleError(
                "the rule ends too soon" if self._at >= len(self._tokens) else "the rule is broken"
            )
        self._at += 1
        return self._tokens[self._at - 1][1]


def _routes(term: tuple[Matcher, ...], notes: list[str]) -> list[Route]:
    hosts: list[str] | None = None
    paths: list[tuple[str, bool]] | None = None
    for matcher in term:
        if matcher.name in {"host", "hostheader", "hostregexp"}:
            if hosts is not None:
                raise RuleError("it asks for two hosts at once")
            hosts = [_host(value, matcher.name, notes) for value in matcher.values]
        elif matcher.name in {"path", "pathprefix"}:
            if paths is not None:
                raise RuleError("it asks for two paths at once")
            paths = [_path(value, matcher.name, notes) for value in matcher.values]
        else:
            raise RuleError(
                f"an Ingress knows hosts and paths, not {matcher.name}; use Traefik's IngressRoute"
            )
    return [Route(host, path, exact) for host in hosts or [""] for path, exact in paths or [("/", False)]]


def _host(value: str, matcher: str, notes: list[str]) -> str:
    text = value.strip().lower()
    if matcher == "hostregexp" and not _HOST.match(text):
        match = _V2_WILDCARD.match(text) or _V3_WILDCARD.match(text)
        if not match:
            raise RuleError(f"the host {value!r} is a regular expression that no wildcard is like")
        text = "*." + match[1].replace("\\.", ".")
        notes.append(f"{value} became {text}: one label of any kind in front")
    if not _HOST.match(text):
        raise RuleError(f"{value!r} is no host name")
    return text


def _path(value: str, matcher: str, notes: list[str]) -> tuple[str, bool]:
    if "{" in value or not value.startswith("/"):
        raise RuleError(f"the path {value!r} is a regular expression, or does not begin with /")
    if matcher == "path":
        return value, True
    if value != "/":
        notes.append(f"{value} is matched by whole steps here: {value}x is no longer under it")
    return value, False
