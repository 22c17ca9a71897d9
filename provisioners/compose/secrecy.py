"""What must not be read by whoever reads manifests: values of variables, words of commands, files.

Told by the name (`DB_PASSWORD`), by the form of the value (tokens of well-known services, URLs and
connection texts with a password) and, in commands and files, by the flag or key before it. One that
is moved without need does no harm; one that stays is in every backup of the cluster's objects.
"""

from __future__ import annotations

import functools
import re
import shlex
from dataclasses import field, replace
from typing import TYPE_CHECKING

from provisioners.compose.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

_WORDS = (
    r"PASSWORDS?|PASSWD|PASSPHRASE|PASS|SECRETS?|TOKEN|API_?KEY|API_?TOKEN|PRIVATE_?KEY|ACCESS_?KEY|SECRET_?KEY|"
    r"ENCRYPTION_?KEY|SIGNING_?KEY|MASTER_?KEY|LICEN[CS]E_?KEY|CREDENTIALS?|PWD|AUTH_?KEY|BEARER|PAT|"
    r"CONNECTION_?STRING|(?:REDISCLI|BASIC)_AUTH"
)
_SECRET_NAME = re.compile(rf"(?:^|_)(?:{_WORDS})(?:_|$)|(?:PASSWORD|PASSWD|APIKEY)(?:_|$)", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_VALUE = re.compile(
    r"(?:_FILE|_PATH|_DIR|_URL|_NAME|_ID|_TTL|_ENABLED|_TYPE|_LENGTH|_MAX|_MIN|_EXPIRY|_REQUIRED|_LIMIT|_HEADER|"
    r"_EXPIRES(?:_IN)?|_ALGORITHM|_POLICY)\Z",
    re.IGNORECASE,
)
_PLAIN_VALUE = re.compile(r"(?:true|false|yes|no|on|off|none|null|0|1)\Z", re.IGNORECASE)
_PATH = re.compile(
    r"/(?:run|etc|var|opt|usr|home|app|data|mnt|srv|tmp|secrets?|certs?|vault|config|root)(?:/|\Z)|/.*\.\w{2,5}\Z"
)
_URL_PASSWORD = re.compile(r"://[^/\s:@]{0,200}:[^\s@]{1,200}@")
_IN_TEXT = re.compile(
    r"(?:^|[?&;\s,])(?:password|passwd|pwd|token|secret|client_?secret|api_?key|access_?key|account_?key|"
    r"shared_?access_?key|sig)=(?P<value>[^&;\s,]+)|"
    r'"(?:password|private_key|client_secret|token|api_?key)"\s{0,9}:\s{0,9}"(?P<json>[^"]+)"',
    re.IGNORECASE,
)
# How tokens of well-known services begin, so that one under a harmless name is found too.
_TOKEN = re.compile(
    r"\b(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}|"
    r"sk-(?:ant-|proj-|or-)?[\w-]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{30,}|hf_[A-Za-z0-9]{16,}|"
    r"lin_api_\w{16,}|ntn_\w{16,}|npm_[A-Za-z0-9]{16,}|pat-(?:na|eu)\d-[\w-]{16,}|dop_v1_\w{16,}|"
    r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+)|-----BEGIN [A-Z ]*PRIVATE KEY-----|hooks\.slack\.com/services/\w+"
)
_FLAG = re.compile(
    r"(?:^|(?<=[\s'\"]))(?:--?(?:[\w.-]*[-_.])?(?:password|passwd|pass|requirepass|masterauth|secret|token|api-?key|"
    r"secret-key|access-key|auth-token|credentials?)[= ]|(?:requirepass|masterauth)\s)"
    r"(?P<quote>['\"]?)(?P<value>[^\s'\"]+)(?P=quote)",
    re.IGNORECASE,
)
_FILE_VALUE = re.compile(
    r"(?:^|[\s\"'_.-])(?:password|passwd|requirepass|masterauth|secret|token|api_?key|private_?key|secret_?key|"
    r"access_?key|client_?secret)[\"']?[ \t]{0,9}(?:[:=]\s{0,9}|[ \t]{1,9})[\"']?"
    r"(?!\$|\{\{|%|null\b|true\b|false\b|/)[^\s\"'#;]{4,}",
    re.IGNORECASE | re.MULTILINE,
)
_HASH = re.compile(r"\$(?:apr1|2[aby]|5|6)\$[\w./$]{8,}")
_WORD_ENDS = re.compile(r"[\s:/@=,;'\"&?]+")
_SHORTEST = 8
_REMEMBERED = 4096


@functools.lru_cache(maxsize=_REMEMBERED)
def is_secret(name: str, value: str) -> bool:
    """Return whether a variable holds something that must not be read by whoever reads manifests."""
    if not value or value.startswith("{{") or _PLAIN_VALUE.match(value):
        return False
    if shows_secret(value) or any(_is_value(match["value"]) for match in _FLAG.finditer(value)):
        return True
    spelt = _CAMEL.sub("_", name).replace("-", "_").replace(".", "_")
    return bool(_SECRET_NAME.search(spelt)) and not _NO_VALUE.search(spelt) and not _PATH.match(value)


def shows_secret(text: str) -> bool:
    """Return whether a text shows a secret by its form alone, whatever its name is."""
    return bool(
        _URL_PASSWORD.search(text) or _IN_TEXT.search(text) or _TOKEN.search(text) or _HASH.search(text)
    )


def file_shows_secret(content: bytes) -> bool:
    """Return whether a file that goes along has a password or a token in it."""
    text = content.decode("utf-8", "replace")
    return shows_secret(text) or bool(_FILE_VALUE.search(text))


def mentions(text: str, known: Collection[str]) -> bool:
    """Return whether one of the words of a text is a known secret value."""
    return text in known or any(word in known for word in _WORD_ENDS.split(text))


def telling(values: Iterable[str]) -> frozenset[str]:
    """Return the secret values, and passwords of URLs, that are unlike words: those are known anywhere."""
    found = {part for value in values for part in (value, *_passwords(value))}
    return frozenset(part for part in found if len(part) >= _SHORTEST and not part.isalpha())


def _passwords(value: str) -> list[str]:
    return [match[0][3:-1].partition(":")[2] for match in _URL_PASSWORD.finditer(value)]


@dataclass(frozen=True, slots=True)
class Hidden:
    """Words of a command in which secrets are written as references, and what they refer to.

    A reference is made by a function of the variable's name: `$(NAME)` where Kubernetes fills it in.
    """

    prefix: str
    reference: Callable[[str], str]
    known: frozenset[str] = frozenset()
    values: dict[str, str] = field(default_factory=dict)

    def narrowed(self, words: Sequence[str]) -> Hidden:
        """Return the same, with only those known values that stand in a command at all."""
        text = "\n".join(words)
        return replace(self, known=frozenset(value for value in self.known if value in text))

    def word(self, text: str, before: str = "") -> str:
        """Return one word; `before` is the word in front, whose flag may say that this is a secret."""
        if before and not text.startswith(("-", "$")) and _takes_secret(before) and not _PATH.match(text):
            return self._name(text)
        return self._inner(text)

    def _inner(self, text: str) -> str:
        found = {match["value"] for match in _FLAG.finditer(text) if _is_value(match["value"])}
        found |= set(_passwords(text))
        found |= {match["value"] or match["json"] for match in _IN_TEXT.finditer(text)}
        found |= {match[0] for match in _TOKEN.finditer(text)} | {match[0] for match in _HASH.finditer(text)}
        found |= {value for value in self.known if value in text}
        found = {value for value in found if value and not value.startswith(("$", "{{"))}
        if not found:
            return text
        # longest first: one may be a part of another
        split = re.compile(
            "|".join(re.escape(value) for value in sorted(found, key=lambda one: (-len(one), one)))
        )
        return split.sub(lambda match: self._name(match[0]), text)

    def _name(self, value: str) -> str:
        value = value.replace("$$(", "$(")  # the word was escaped already
        for name, held in self.values.items():
            if held == value:
                return self.reference(name)
        name = f"{self.prefix}_{len(self.values)}"
        self.values[name] = value
        return self.reference(name)


def _takes_secret(flag: str) -> bool:
    return flag.startswith("-") and "=" not in flag and bool(_FLAG.match(f"{flag} x"))


def _is_value(text: str) -> bool:
    return not text.startswith(("$", "-", "{{")) and not _PATH.match(text) and not _PLAIN_VALUE.match(text)


def quoted_words(words: list[str], name_of: dict[str, str]) -> str:
    """Return argv as a line for /bin/sh in which marks (keys of `name_of`) are variables of the shell."""
    line = []
    for word in words:
        parts = (
            re.split("(" + "|".join(re.escape(mark) for mark in name_of) + ")", word) if name_of else [word]
        )
        line.append(
            "".join(
                f'"${{{name_of[part]}}}"' if part in name_of else shlex.quote(part) for part in parts if part
            )
        )
    return "exec " + " ".join(line)
