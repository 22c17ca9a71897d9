"""Lint of any Kubernetes manifests: what the API server would refuse, and the traps of a migration.

Each finding has a rule, a file, a line and a path. `lint_rules` lists what is looked for; what the
API server would refuse is found by `validate`, and its rules begin with `invalid-`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.compose.lint_rules import RULES
from provisioners.compose.lint_view import (
    Finding,
    Manifest,
    View,
    as_kubernetes_reads,
    at_steps,
    read_manifests,
)
from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["RULES", "Finding", "Linted", "lint", "lint_folder", "lint_texts"]

_SUFFIXES = (".yaml", ".yml", ".json")
_OURS = frozenset(("losses.json",))
_MAX_FILES = 5000
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Linted:
    """What was looked at and what was found; `skipped` are files that hold no Kubernetes object."""

    findings: tuple[Finding, ...]
    files: int
    objects: int
    skipped: tuple[str, ...]


def lint(folder: Path) -> tuple[Finding, ...]:
    """Return everything wrong in the manifests below a folder, in file order; see `lint_folder`."""
    return lint_folder(folder).findings


def lint_folder(folder: Path) -> Linted:
    """Look at every .yaml, .yml and .json file below a folder, hidden ones apart.

    Raises:
        InputError: a file cannot be read as YAML (all of them are named), or nothing was linted.
    """
    if not folder.is_dir():
        raise InputError(
            "this is not a folder", where=str(folder), next_step="give the folder that holds the manifests"
        )
    paths = list(_files(folder))
    if len(paths) > _MAX_FILES:
        raise InputError(
            f"there are more than {_MAX_FILES} files",
            where=str(folder),
            next_step="give the folder that holds the manifests alone",
        )
    linted = _lint({str(path.relative_to(folder)): path for path in paths}, str(folder))
    if not linted.objects:
        raise InputError(
            "nothing was linted: there is no manifest",
            where=str(folder),
            why=f"{len(paths)} YAML or JSON file(s), none of which holds a Kubernetes object",
            next_step="give the folder that holds the manifests",
        )
    return linted


def lint_texts(texts: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return everything wrong in manifests given as text by file name."""
    return _lint(texts, "manifests").findings


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files to look at, in order; links to folders are followed, each folder once.

    Raises:
        InputError: a link leads to a folder that holds it.
    """
    seen: set[str] = set()
    count = 0
    for parent, folders, names in os.walk(folder, followlinks=True):
        own = os.path.realpath(parent)
        if own in seen:
            folders.clear()
            continue
        seen.add(own)
        for name in folders:
            path = Path(parent, name)
            if path.is_symlink() and f"{own}/".startswith(f"{os.path.realpath(path)}/"):
                raise InputError(
                    "a link leads back to a folder that holds it",
                    where=str(path),
                    next_step="remove the link",
                )
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.endswith(_SUFFIXES) and not name.startswith(".") and name not in _OURS:
                yield Path(parent, name)
                count += 1
                if count > _MAX_FILES:
                    return


def _lint(files: Mapping[str, Path] | Mapping[str, str], where: str) -> Linted:
    manifests, found, unreadable = read_manifests(dict(files))
    if unreadable:
        shown = unreadable[:_SHOWN]
        more = [f"and {len(unreadable) - _SHOWN} more"] if len(unreadable) > _SHOWN else []
        raise InputError(
            f"{len(unreadable)} of {len(files)} file(s) cannot be read as manifests",
            where=where,
            why="\n        ".join([*shown, *more]),
            next_step="correct them, or give a folder that holds manifests alone",
        )
    objects = [manifest for manifest in manifests if _is_looked_at(manifest)]
    view = View(tuple(objects))
    findings = {
        *found,
        *(one for manifest in objects for one in _invalid(manifest)),
        *(one for rule in RULES for one in rule.check(view)),
    }
    held = {manifest.root.file for manifest in objects}
    return Linted(
        findings=tuple(sorted(findings, key=lambda one: (one.file, one.line, one.rule, one.message))),
        files=len(files),
        objects=len(objects),
        skipped=tuple(name for name in files if name not in held),
    )


def _is_looked_at(manifest: Manifest) -> bool:
    return bool(manifest.kind) or manifest.is_k3s_server or "apiVersion" in manifest.root.entries


def _invalid(manifest: Manifest) -> Iterator[Finding]:
    """What the API server would refuse, at its line; one variable twice has a rule of its own."""
    from provisioners.compose.validate import object_problems

    if manifest.is_k3s_server:
        return
    title = f"{manifest.kind or 'object'} {manifest.name}".strip()
    for problem in object_problems(as_kubernetes_reads(manifest.root)):
        if problem.rule == "duplicate-env":
            continue
        node = at_steps(manifest.root, problem.steps)
        yield Finding(
            f"invalid-{problem.rule}",
            node.file,
            node.line,
            problem.path or node.path,
            f"{title}: {problem.message}",
        )
