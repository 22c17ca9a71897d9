"""Lint of any Kubernetes manifests: the traps of a migration, each found by name, file and line.

One rule is one function that yields findings; `RULES` is the list of what is looked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose.lint_rules import RULES
from provisioners.compose.lint_view import Finding, Manifest, View, read_manifests

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RULES", "Finding", "lint", "lint_texts"]


def lint(folder: Path) -> tuple[Finding, ...]:
    """Return everything wrong in the manifests below a folder, in file order."""
    files = sorted(path for suffix in ("*.yaml", "*.yml") for path in folder.rglob(suffix))
    texts = {str(path.relative_to(folder)): path for path in files}
    return _lint(read_manifests(texts))


def lint_texts(texts: dict[str, str]) -> tuple[Finding, ...]:
    """Return everything wrong in manifests given as text by file name."""
    return _lint(read_manifests(texts))


def _lint(read: tuple[tuple[Manifest, ...], tuple[Finding, ...]]) -> tuple[Finding, ...]:
    manifests, unreadable = read
    view = View(manifests)
    found = [*unreadable, *(finding for rule in RULES for finding in rule(view))]
    return tuple(sorted(set(found), key=lambda item: (item.file, item.line, item.rule, item.message)))
