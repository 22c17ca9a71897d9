"""Texts that name a service which Kubernetes calls otherwise: followed where they mean the host.

`github_v2` is no name of a Service, so it becomes `github-v2`, and whoever calls it has to be told. A
host is known by what stands around it: `//`, `@`, a port, a key such as `host=`. The same word in a
path, a sentence or the name of an image or a database is left, and said to be left.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from provisioners.compose.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_ENDS = r"(?=[:/?#\s'\"`,;)\]}>|&]|\Z)"
_KEYED = r"(?:host(?:name|s)?|servers?|addr(?:ess(?:es)?)?|endpoints?|brokers?|upstreams?|nodes?)"
_KEY = rf"(?<![a-zA-Z0-9])(?:[\w.-]*[_.-])?{_KEYED}[\"']?[ \t]{{0,9}}[:=][ \t]{{0,9}}[\"']?"
_FLAG = rf"(?<!\S)(?:--?(?:[\w.-]*[_.-])?{_KEYED}|-h)[ \t]{{1,9}}[\"']?"
_FLAG_WORD = re.compile(rf"(?:--?(?:[\w.-]*[_.-])?{_KEYED}|-h)\Z", re.IGNORECASE)
_UPSTREAM = re.compile(r"^\s*upstream\s+(\S+)\s*\{", re.MULTILINE)
# What a variable is called that holds a host, and one whose value is a name of something else.
_TELLS_HOST = re.compile(
    r"(?:^|_)(?:HOSTS?|HOSTNAMES?|SERVERS?|ADDR|ADDRESS(?:ES)?|ENDPOINTS?|BROKERS?|NODES?|PEERS?|UPSTREAMS?|"
    r"URLS?|URI|BOOTSTRAP|SEEDS?|MASTERS?|PRIMARY|REPLICAS?|BACKENDS?|TARGETS?|GATEWAY|PROXY|REMOTE)(?:_|$)",
    re.IGNORECASE,
)
_TELLS_ANOTHER = re.compile(
    r"(?:^|_)(?:DB|DATABASES?|SCHEMAS?|TABLES?|NAMES?|USER|USERNAME|OWNER|ROLE|TOPICS?|QUEUES?|BUCKETS?|INDEX|INDICES|"
    r"PREFIX|SUFFIX|IMAGES?|TAGS?|PROFILES?|PROJECT|APP|TITLE|FEATURES?|LABELS?|MODULES?|PATH|DIR|FILE|KEY|"
    r"GROUP(?:_ID)?|ID|TYPE|MODE|PASSWORD|SECRET|TOKEN|COLLECTION|CATALOG|VHOST)\Z",
    re.IGNORECASE,
)
_IMAGE = re.compile(r"(?:^|_)(?:IMAGES?|TAGS?)(?:_|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Followed:
    """A text after renaming; `left` are old names that still stand in it as words of their own."""

    text: str
    left: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """Return in words what was left, or nothing."""
        names = " and ".join(self.left)
        return f"{names} in it stays: nothing shows that it is meant as the renamed service" if names else ""


def follow_value(name: str, value: str, renamed: Mapping[str, str]) -> Followed:
    """Return the value of a variable in which hosts that were renamed have their new names.

    The name of the variable tells whether a bare word is a host (`DB_HOST`) or another thing
    (`POSTGRES_DB`); with a name that tells nothing a value counts that is the service's name as a whole.
    """
    if not _stands(value, renamed):
        return Followed(value)
    if _IMAGE.search(name):
        return _rest(value, renamed)
    text = _hosts(value, renamed, shortest=1)
    if _TELLS_HOST.search(name):
        for old, new in renamed.items():
            if old in text:
                text = re.sub(rf"(?:^|(?<=[\s,;])){re.escape(old)}(?=[\s,;]|\Z)", new, text)
    elif text in renamed and not _TELLS_ANOTHER.search(name):
        text = renamed[text]
    return _rest(text, renamed)


def follow_text(text: str, renamed: Mapping[str, str]) -> Followed:
    """Return a whole file's text, or a line for a shell, in which renamed hosts have their new names.

    An `upstream` block of nginx is a name of the file's own: only its servers are hosts.
    """
    if not _stands(text, renamed):
        return Followed(text)
    own = set(_UPSTREAM.findall(text))
    known = {old: new for old, new in renamed.items() if old not in own}
    text = _hosts(text, known)
    for old in own & renamed.keys():
        text = _with_port(old).sub(renamed[old], text)
    return _rest(text, known)


def follow_words(words: Sequence[str], renamed: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return argv in which renamed hosts have their new names, and the old names that are left in it."""
    if not any(_stands(word, renamed) for word in words):
        return tuple(words), ()
    found: list[str] = []
    left: list[str] = []
    before = ""
    for word in words:
        if word in renamed and _FLAG_WORD.match(before):
            done = Followed(renamed[word])
        else:
            done = follow_text(word, renamed)
        found.append(done.text)
        left += done.left
        before = word
    return tuple(found), tuple(dict.fromkeys(left))


def named_in(text: str, renamed: Iterable[str]) -> tuple[str, ...]:
    """Return which of the old names stand in a text as words of their own."""
    return tuple(old for old in renamed if old in text and _word(old).search(text))


def _stands(text: str, renamed: Mapping[str, str]) -> bool:
    return any(old in text for old in renamed)


def _rest(text: str, renamed: Mapping[str, str]) -> Followed:
    return Followed(text, named_in(text, renamed))


def _hosts(text: str, renamed: Mapping[str, str], shortest: int = 2) -> str:
    """Follow what surely means a host; a port has `shortest` digits at least, as `image:1` has fewer."""
    for old, new in renamed.items():
        if old in text:
            text = _sure(old).sub(lambda match, new=new: f"{match['key'] or ''}{new}", text)  # type: ignore[misc]
            text = _with_port(old, shortest).sub(new, text)
    return text


@functools.lru_cache(maxsize=1024)
def _sure(name: str) -> re.Pattern[str]:
    """What surely means a host: behind `//` or `@`, or behind a key or flag that asks for one."""
    host = re.escape(name)
    return re.compile(rf"(?:(?<=//)|(?<=@)|(?P<key>(?i:{_KEY}|{_FLAG}))){host}{_ENDS}")


@functools.lru_cache(maxsize=1024)
def _with_port(name: str, shortest: int = 2) -> re.Pattern[str]:
    """A name with a port; one in a path, or with a version behind it as images have, is none."""
    return re.compile(rf"(?<![\w./@-]){re.escape(name)}(?=:\d{{{shortest},5}}(?![\w.-]))")


@functools.lru_cache(maxsize=1024)
def _word(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w./-]){re.escape(name)}(?![\w/-])")
