"""A file of JSON rows, each carrying the hash of the one before it.

Rows are appended under a file lock and are the file's when `append` returns, so several
processes can write one file and a killed one loses at most the row it was writing. Unless
told otherwise they are on disk too, so that they outlive the machine's own crash.
A reader uses the valid prefix: nothing after a cut or edited row is believed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.rows import compact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class ChainRead:
    """What a chain file holds: rows that can be believed, and why reading ended early."""

    rows: tuple[Mapping[str, Any], ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """One append-only file; `torn` beside it keeps the bytes of rows cut by a kill."""

    path: Path

    @property
    def torn(self) -> Path:
        """Where bytes of half-written rows go before the next row is appended."""
        return self.path.with_name(self.path.name + ".torn")

    def append(self, *rows: Mapping[str, object], sync: bool = True) -> None:
        """Append rows with `prev` and `hash`; with `sync` they are on disk when this returns."""
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            size = self._set_torn_aside(handle)
            _write_all(handle, b"".join(_lines(rows, _last_hash(handle, size))))
            if sync:
                os.fsync(handle)
        finally:
            os.close(handle)

    def sync(self) -> None:
        """Bring every row to disk; a missing file has none."""
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rewrite(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Replace the file by a chain of these rows (used when a late secret must go)."""
        temporary = self.path.with_name(self.path.name + ".new")
        temporary.write_bytes(b"".join(_lines(rows, GENESIS)))
        temporary.chmod(0o600)
        temporary.replace(self.path)

    def read(self) -> ChainRead:
        """Return the rows of the valid prefix; a missing file has no rows and no problem."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return ChainRead(())
        lines = data.split(b"\n")
        tail = lines.pop()
        rows: list[Mapping[str, Any]] = []
        prev = GENESIS
        for number, line in enumerate(lines, start=1):
            row, wrong = _check(line, prev)
            if row is None:
                return ChainRead(tuple(rows), self._problem(number, wrong))
            prev = row["hash"]
            rows.append({key: value for key, value in row.items() if key not in {"prev", "hash"}})
        return ChainRead(tuple(rows), self._problem(len(lines) + 1, "cut mid-line") if tail else "")

    def _problem(self, number: int, wrong: str) -> str:
        return f"{self.path.name} line {number}: {wrong}; the rows before it are used"

    def _set_torn_aside(self, handle: int) -> int:
        """Cut a half-written last row, keep its bytes in `torn`; return the file's size."""
        size = os.fstat(handle).st_size
        start = _line_start(handle, size)
        if start == size:
            return size
        tail = os.pread(handle, size - start, start)
        with self.torn.open("ab") as torn:
            torn.write(tail + b"\n")
        os.ftruncate(handle, start)
        return start


def _lines(rows: Iterable[Mapping[str, object]], prev: str) -> Iterator[bytes]:
    """Return each row's line, chained to the one before it and the first to `prev`."""
    for row in rows:
        body = compact({**row, "prev": prev})
        prev = hashlib.sha256(body.encode()).hexdigest()
        yield f'{body[:-1]},"hash":"{prev}"}}\n'.encode()


def _check(line: bytes, prev: str) -> tuple[Mapping[str, Any] | None, str]:
    """Return the row, or None and what is wrong; the bytes themselves must be canonical."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None, "not JSON"
    if not isinstance(row, dict) or "hash" not in row or "prev" not in row:
        return None, "no hash"
    if row["prev"] != prev:
        return None, "hash chain broken: a row before it was edited, removed or added"
    body = {key: value for key, value in row.items() if key != "hash"}
    try:
        same = next(_lines([body], prev)) == line + b"\n"
    except ValueError:
        return None, "holds a number that JSON has no word for"
    return (row, "") if same else (None, "hash chain broken: this row was edited")


def _line_start(handle: int, size: int, block: int = 65_536) -> int:
    """Return the offset just after the last newline before `size`."""
    end = size
    while end > 0:
        start = max(0, end - block)
        found = os.pread(handle, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _last_hash(handle: int, size: int) -> str:
    if size == 0:
        return GENESIS
    start = _line_start(handle, size - 1)
    line = os.pread(handle, size - start, start)
    try:
        found = json.loads(line)["hash"]
    except (ValueError, KeyError, TypeError):
        return "broken"  # the break stays visible: no reader believes what follows
    return str(found)


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]
