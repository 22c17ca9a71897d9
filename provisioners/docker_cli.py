"""The one door to a Swarm's Docker: the docker command on a node over SSH, or here by a context.

Answers are asked for as JSON and returned as such; typed results are in `swarm_objects`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioners.errors import ProvisionError
from provisioners.shell import run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from provisioners.shell import CommandResult, Ssh

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Docker:
    """One engine: reached over SSH, or by a docker context of this machine."""

    ssh: Ssh | None = None
    context: str = ""

    @property
    def where(self) -> str:
        """Return what messages call this engine."""
        return self.ssh.host if self.ssh else f"docker context {self.context}"

    def run(
        self,
        *argv: str,
        timeout_s: float = 30.0,
        stdin: str | bytes | Path | None = None,
        folder: str = "",
    ) -> CommandResult:
        """Run `docker argv...`, in `folder` of the node when one is given."""
        if self.ssh:
            before = ["env", "-C", folder] if folder else []
            return self.ssh.run([*before, "docker", *argv], timeout_s=timeout_s, stdin=stdin)
        return run(["docker", "--context", self.context, *argv], timeout_s=timeout_s, stdin=stdin)

    def rows(self, *argv: str, timeout_s: float = 30.0) -> list[Object]:
        """Run a listing command and return one object a line."""
        text = self.run(*argv, "--format", "{{json .}}", timeout_s=timeout_s).check().stdout
        return [json.loads(line) for line in text.splitlines() if line.strip()]

    def words(self, *argv: str, timeout_s: float = 30.0) -> list[str]:
        """Run a quiet listing command and return its ids or names."""
        return self.run(*argv, timeout_s=timeout_s).check().stdout.split()

    def inspect(self, kind: str, names: Sequence[str]) -> list[Object]:
        """Return the objects of one kind; those that vanished meanwhile are left out."""
        if not names:
            return []
        result = self.run("inspect", "--type", kind, *names)
        if not result.ok and "no such" not in result.stderr.lower():
            result.check()
        try:
            found = json.loads(result.stdout or "[]")
        except ValueError as error:
            raise ProvisionError(
                f"docker inspect of {kind}s gave no JSON", where=self.where, why=str(error)
            ) from error
        return [dict(row) for row in found]
