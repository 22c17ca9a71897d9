"""Commands and health checks of a container, in which nothing secret stands.

Kubernetes fills `$(NAME)` into commands from the container's variables, so a secret word becomes a
variable that comes from a Secret. In the commands of probes it does not do that for such
variables; there a shell does it.
"""

from __future__ import annotations

import re
from dataclasses import field, replace
from typing import TYPE_CHECKING

from provisioners.compose.environment import escaped, secret_entry, secret_key_of
from provisioners.compose.following import Followed, follow_words
from provisioners.compose.naming import secret_object
from provisioners.compose.records import dataclass
from provisioners.compose.secrecy import Hidden, quoted_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioners.compose.context import Context
    from provisioners.compose.environment import Environment
    from provisioners.compose.losses import Ledger
    from provisioners.compose.model import Given, HealthCheck
    from provisioners.compose.probes import Check

Object = dict[str, object]

_PREFIX = "SECRET_ARG"
_MARK = re.compile(r"\x00(\w+)\x00")


def _mark(name: str) -> str:
    return f"\x00{name}\x00"


@dataclass(frozen=True, slots=True)
class Commands:
    """The commands of one container; `_own` are its secret variables before any command is read."""

    name: str
    hidden: Hidden
    renamed: Mapping[str, str]
    _own: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, name: str, environment: Environment, context: Context) -> Commands:
        """Return an empty one for the container of the service whose objects are called `name`."""
        values = dict(environment.hidden)
        prefix = _PREFIX
        while any(str(entry["name"]).startswith(f"{prefix}_") for entry in environment.entries):
            prefix += "_X"  # the file has variables that are called so
        return cls(name, Hidden(prefix, _mark, context.secrets, values), context.renamed, frozenset(values))

    def words(self, words: Sequence[str]) -> list[str]:
        """Return argv as Kubernetes reads it: `$(` of the file's own escaped, secrets as `$(NAME)`."""
        hidden = self.hidden.narrowed(words)
        found, before = [], ""
        for word in follow_words(words, self.renamed)[0]:
            found.append(_MARK.sub(r"$(\1)", hidden.word(escaped(word), before)))
            before = word
        return found

    def note(self, given: Given[tuple[str, ...]], ledger: Ledger) -> None:
        """Say that a secret moved out of a command, where one did."""
        words, left = follow_words(given.value, self.renamed)
        if words != given.value:
            ledger.remark(given.at, "follows renamed services")
        if left:
            ledger.remark(given.at, Followed("", left).said)
        plain = [escaped(word) for word in words]
        if self.words(given.value) != plain:
            ledger.remark(given.at, "a secret in plain sight: moved to a Secret", self._target())

    def check(self, check: Check, health: HealthCheck, ledger: Ledger) -> Check:
        """Return a health check whose command shows no secret."""
        if check.is_http or not check.argv:
            return check
        words, left = follow_words(check.argv, self.renamed)
        at = health.test.at if health.test else health.at
        if words != check.argv:
            ledger.remark(at, "follows renamed services")
            check = replace(check, argv=words)
        if left:
            ledger.remark(at, Followed("", left).said)
        hidden = self.hidden.narrowed(check.argv)
        marked, before = [], ""
        for word in check.argv:
            marked.append(hidden.word(word, before))
            before = word
        if marked == list(check.argv):
            return check
        names = {_mark(name): name for name in self.hidden.values}
        if not health.shell:
            line = quoted_words(marked, names)
        elif any(marked[-1][: match.start()].count("'") % 2 for match in _MARK.finditer(marked[-1])):
            ledger.refused(
                at, "a secret in single quotes: take it from the environment, as $NAME in double quotes"
            )
            line = _MARK.sub("", marked[-1])
        else:
            line = _MARK.sub(r"${\1}", marked[-1])
        ledger.remark(at, "a secret in plain sight: moved to a Secret", self._target())
        return replace(check, argv=("/bin/sh", "-c", line))

    def entries(self) -> list[Object]:
        """Return the variables that the commands need and the environment does not have."""
        return [secret_entry(name, secret_key_of(self.name, name)) for name in self._new()]

    def secrets(self) -> dict[str, bytes]:
        """Return their values by the Secret's key."""
        return {secret_key_of(self.name, name): self.hidden.values[name].encode() for name in self._new()}

    def _new(self) -> list[str]:
        return [name for name in self.hidden.values if name not in self._own]

    def _target(self) -> str:
        return ", ".join(
            f"Secret/{secret_object(secret_key_of(self.name, name))}" for name in self.hidden.values
        )
