"""Can this run folder be believed? Hashes, chains, and everything that can be computed again.

Three nets: the manifest finds any edited, missing or added file; the hash chains find any
edited row, even under a new manifest; and the comparison, the verdict and the report are
computed again from evidence and windows, so that a forged result does not survive either.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.compare import CHECK, compare, comparison_evidence, read_inputs
from reports.model import RunError
from reports.render import render
from reports.rows import plain, pretty
from reports.store import MANIFEST, Store, open_run, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason not to believe a run: the file, and what is wrong with it."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def verify(path: Path) -> tuple[Problem, ...]:
    """Return every problem of a run folder; none means that all of it agrees with itself."""
    store = open_run(path)
    nets: tuple[Callable[[Store], Iterator[Problem]], ...] = (_manifest, _chains, _comparison, _report)
    return tuple(problem for net in nets for problem in net(store))


def _manifest(store: Store) -> Iterator[Problem]:
    sealed = store.read_manifest()
    if not sealed:
        yield Problem(MANIFEST, "is missing or empty: the run was never sealed, or its seal was removed")
        return
    found = {path.relative_to(store.path).as_posix(): path for path in store.files()}
    for name, digest in sorted(sealed.items()):
        if not _DIGEST.fullmatch(digest) or not name:
            yield Problem(MANIFEST, f"line is no hash and file name: {digest[:20]!r} {name[:80]!r}")
        elif name not in found:
            yield Problem(name, "is missing; it was there when the run was sealed")
        elif sha256_of(found[name]) != digest:
            yield Problem(name, "was edited after the run was sealed")
    for name in sorted(found.keys() - sealed.keys()):
        yield Problem(name, "was added after the run was sealed")
    for folder, folders, files in os.walk(store.path):
        for name in sorted([*folders, *files]):
            if (store.path / folder / name).is_symlink():
                yield Problem(name, "is a link; a run holds only files of its own")


def _chains(store: Store) -> Iterator[Problem]:
    for text in store.problems():
        name, _, what = text.partition(" ")
        yield Problem(name.rstrip(":"), what)


def _comparison(store: Store) -> Iterator[Problem]:
    """Compute the comparison again from its windows, and hold its evidence against it."""
    name = "load/comparison.json"
    try:
        said = store.read_json(name)
        rows = [row for row in store.read_evidence() if row.check == CHECK]
        if said is None:
            return
        rules, conditions, counts = read_inputs(said)
        again = compare(store.read_windows(), counts, rules, conditions)
    except RunError as error:
        yield Problem(name, str(error))
        return
    if pretty(again.to_json()) != pretty(said):
        yield Problem(
            name,
            f"is not what load/windows.jsonl gives ({again.outcome} when computed again):"
            " edited, or judged by another version of gonogo",
        )
    expected = comparison_evidence(again)
    fields = ("criterion", "status", "observed", "unit", "samples", "why")
    if not any(all(plain(getattr(row, f)) == plain(getattr(expected, f)) for f in fields) for row in rows):
        yield Problem("evidence.jsonl", f"has no row of {CHECK} that says what {name} gives")


def _report(store: Store) -> Iterator[Problem]:
    """Judge and render again; every form of the report must be what this gives."""
    try:
        verdict, texts = render(store)
    except RunError as error:
        yield Problem("report.json", f"cannot be computed again: {error}")
        return
    for name, text in texts.items():
        try:
            written = (store.path / name).read_bytes()
        except OSError:
            yield Problem(name, "is missing; `gonogo report` renders it again")
            continue
        if written != text.encode(errors="backslashreplace"):
            yield Problem(
                name,
                f"is not what the evidence gives ({verdict.headline.partition(':')[0]} when computed again):"
                " edited, or rendered by another version of gonogo",
            )
