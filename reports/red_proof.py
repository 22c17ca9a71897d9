"""Which criteria were seen red: what broke each, at which level, and the code of the checks that saw it.

`red_proofs.json` beside this file is written by `gonogo selftest --write-proofs` and ships. A
criterion that blocks and has no proof in it is not counted in a GO (`reports.judge`). Each proof
carries a hash of every check that bore on the criterion, so that a test can say which
proofs are older than the code; docs/decisions/0004-red-proof.md has the reasons.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.model import Level, RunError, Status
from reports.rows import pretty

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SHIPPED = Path(__file__).with_name("red_proofs.json")
_VERSION = 1
_SHORT = 16  # hex digits: against accidents, not against an attacker
_MARK = "criterion"


@dataclass(frozen=True, slots=True)
class RedProof:
    """One criterion that turned red when something was broken, and came back.

    `mutation` names what was broken, `level` where, `broken` the status that was seen, and
    `checks` the hash of each check by its test id without parameters; empty for a
    criterion that no check of the suites bears on (load, measurements, people).
    """

    criterion: str
    mutation: str
    level: Level
    broken: str
    checks: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.mutation} at level {self.level}"

    def stale(self, sources: Mapping[str, str]) -> tuple[str, ...]:
        """Return the checks that are new, gone or changed since it was made."""
        return tuple(
            check
            for check in sorted({*self.checks, *sources})
            if self.checks.get(check) != sources.get(check)
        )


@functools.cache
def shipped_proofs() -> Mapping[str, RedProof]:
    """Return the proofs that ship with this gonogo, by criterion."""
    return read_proofs(SHIPPED)


def read_proofs(path: Path) -> dict[str, RedProof]:
    """Return the proofs that a file holds, by criterion; none where there is no file.

    Raises:
        RunError: it cannot be read, or is no such file.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        if rows["version"] != _VERSION:
            raise ValueError(f"version {rows['version']!r}, not {_VERSION}")  # noqa: TRY301  one way out
        found = [_read_proof(row) for row in rows["proofs"]]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path}: no file of red proofs: {error!r}; write it anew: gonogo selftest --write-proofs"
        ) from error
    return {proof.criterion: proof for proof in found}


def write_proofs(path: Path, proofs: Iterable[RedProof]) -> None:
    """Write proofs in the order of their criteria, the same bytes for the same proofs.

    Raises:
        RunError: the file cannot be written.
    """
    rows = [asdict(proof) for proof in sorted(proofs, key=lambda proof: proof.criterion)]
    try:
        path.write_text(pretty({"version": _VERSION, "proofs": rows}), encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}; give another file") from error


def check_sources(suites: Path) -> dict[str, dict[str, str]]:
    """Return the hash of each check by its test id, by the criterion that its marker names.

    Read from the text alone: no check is imported. Ids begin with the name of the folder.
    """
    found: dict[str, dict[str, str]] = {}
    for path in sorted(suites.rglob("test_*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"), str(path))
        for name, node in _functions(module):
            check = f"{path.relative_to(suites.parent).as_posix()}::{name}"
            for criterion in _criteria(node):
                found.setdefault(criterion, {})[check] = code_hash(node)
    return found


def code_hash(node: ast.AST) -> str:
    """Return a short hash of what code does: comments, docstrings and layout do not count."""
    clean = ast.parse(ast.unparse(node))
    for part in ast.walk(clean):
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(
            part
        ):
            part.body = part.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(clean).encode()).hexdigest()[:_SHORT]


def _functions(module: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.FunctionDef):
                    yield f"{node.name}::{part.name}", part


def _criteria(node: ast.FunctionDef) -> Iterator[str]:
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute) and mark.func.attr == _MARK:
            for argument in mark.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value


def _read_proof(row: Mapping[str, Any]) -> RedProof:
    return RedProof(
        criterion=str(row["criterion"]),
        mutation=str(row["mutation"]),
        level=Level(row["level"]),
        broken=", ".join(Status(one) for one in str(row["broken"]).split(", ")),
        checks={str(check): str(digest) for check, digest in row["checks"].items()},
    )
