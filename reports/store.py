"""The run folder: the only reader and writer of what a run saw.

A run is one folder, 0700, named by its UTC start and its target; `latest` beside it links
to the newest. Rows are on disk when a call returns, so that a killed run leaves evidence
that can be judged. Everything goes through one redactor on its way to disk.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reports.chain import Chain
from reports.model import Criterion, Evidence, Limit, Profile, RunError, StepTime, Undo, Waiver, Window
from reports.redact import Redactor
from reports.rows import (
    criterion_row,
    plain,
    pretty,
    read_criterion,
    read_evidence_row,
    read_step,
    read_undo_row,
    read_waiver,
    read_window,
)

MANIFEST = "MANIFEST.sha256"
RENDERED = ("report.json", "report.md", "report.html", "junit.xml")
CHAINS = ("criteria.jsonl", "evidence.jsonl", "undo.jsonl")
BINARY = frozenset({".bin", ".npy", ".npz", ".gz", ".zst", ".tar", ".png"})


def create(root: Path, target: str, profile: Profile, *, now: datetime | None = None) -> Store:
    """Make `root/<UTC time>-<target>` (0700), write its first run.json, point `latest` at it."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    name = f"{moment:%Y%m%dT%H%M%SZ}-{_slug(target)}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        path = _fresh(root, name)
    except OSError as error:
        raise _unwritable(root, error) from error
    store = Store(path)
    store.write_json(
        "run.json",
        {"id": path.name, "target": target, "profile": profile, "started_at": _iso(moment), "format": 1},
    )
    _point_latest(root, path.name)
    return store


def open_run(path: Path) -> Store:
    """Open an existing run folder (`latest` is resolved); RunError 2 if it is not one."""
    real = path.resolve()
    if not real.is_dir():
        raise RunError(f"{path}: no such run folder; give the folder that `gonogo run` printed")
    if not (real / "run.json").is_file():
        raise RunError(f"{path}: not a run folder, it has no run.json")
    return Store(real)


class Store:
    """One run folder. Safe to use from several processes at once; it is the Recorder too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._redactor = Redactor()
        self._expected: dict[str, set[str]] = {}

    # -- secrets -------------------------------------------------------------------------

    def add_secret(self, value: str | bytes) -> None:
        """Never write this value, in any form, from now on; `seal` takes it out of older files."""
        self._redactor.add(value)

    def add_secrets_file(self, path: Path) -> None:
        """Learn every value of a JSON file of name to base64."""
        try:
            named = json.loads(path.read_text())
            values = [base64.b64decode(value, validate=True) for value in named.values()]
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise RunError(f"{path}: secrets file cannot be read: {type(error).__name__}") from error
        for value in values:
            self.add_secret(value)

    # -- writing -------------------------------------------------------------------------

    def write_text(self, rel: str, text: str) -> Path:
        """Write a text file atomically, redacted; characters that UTF-8 lacks are escaped."""
        return self._write(rel, self._redactor.text(text).encode(errors="backslashreplace"))

    def write_json(self, rel: str, value: object) -> Path:
        """Write a JSON file atomically, redacted; dataclasses and enums are understood."""
        return self._write(rel, pretty(self._redactor.json(value)).encode())

    def update_run(self, **fields: object) -> None:
        """Merge fields into run.json (level, versions, ended_at, identities, ...)."""
        self.write_json("run.json", {**self.run(), **fields})

    def criteria(self, criteria: Iterable[Criterion]) -> None:
        """Write what must be shown, before anything runs; two criteria of one id are refused."""
        listed = list(criteria)
        ids = [criterion.id for criterion in listed]
        twice = sorted({one for one in ids if ids.count(one) > 1})
        if twice:
            raise RunError(f"criteria listed twice: {', '.join(twice)}; each id needs exactly one")
        self._append("criteria.jsonl", *({"criterion": criterion_row(criterion)} for criterion in listed))

    def expect(self, criterion: str, check: str) -> None:
        """Say at collection that `check` will bear on `criterion`."""
        self.expect_all([(criterion, check)])

    def expect_all(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Say it of many (criterion, check) at once: one write brings all of them to disk."""
        fresh: dict[tuple[str, str], None] = {}
        for criterion, check in pairs:
            if criterion not in self._expected:  # read once: a collection expects hundreds of checks
                self._expected = {one.id: set(one.checks) for one in self.read_criteria()}
            if criterion not in self._expected:
                raise RunError(
                    f"{check}: criterion {criterion!r} is in no catalogue; `gonogo plan` lists them"
                )
            if check not in self._expected[criterion]:
                fresh[criterion, check] = None
        if fresh:
            rows = [{"expect": {"criterion": criterion, "check": check}} for criterion, check in fresh]
            self._append("criteria.jsonl", *rows)
        for criterion, check in fresh:
            self._expected[criterion].add(check)

    def evidence(self, evidence: Evidence) -> None:
        """Append one observation; it outlives this process when this returns, and is on disk once sealed.

        Waiting for the disk at each check would cost more than most checks do. Should the machine
        itself crash, the rows that are lost are gaps, and a gap never makes a GO.
        """
        at = evidence.at or _iso(datetime.now(UTC))
        self._append("evidence.jsonl", plain(replace(evidence, at=at)), sync=False)

    def undo(self, undo: Undo) -> None:
        """Append one undo record; it is on disk when this returns."""
        self._append("undo.jsonl", plain(undo))

    # -- reading -------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Return run.json."""
        found = self.read_json("run.json", {})
        if not isinstance(found, dict):
            raise RunError(f"{self.path / 'run.json'}: not a JSON object", exit_code=3)
        return found

    def read_json(self, rel: str, default: object = None) -> Any:
        """Return a JSON file's content, or `default` if the file is not there."""
        path = self._inside(rel)
        try:
            return json.loads(path.read_bytes())
        except FileNotFoundError:
            return default
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{path}: not readable JSON: {error}", exit_code=3) from error

    def read_criteria(self) -> tuple[Criterion, ...]:
        """Return the criteria with the checks that were expected at collection."""
        found: dict[str, Criterion] = {}
        for row in self._rows("criteria.jsonl"):
            if "criterion" in row:
                one = read_criterion(row["criterion"])
                found[one.id] = one
            elif (said := row["expect"])["check"] not in (one := found[said["criterion"]]).checks:
                found[one.id] = replace(one, checks=(*one.checks, said["check"]))
        return tuple(found.values())

    def limit(self, criterion: str) -> Limit | None:
        """Return the limit under which a criterion of this run is judged."""
        return next((one.limit for one in self.read_criteria() if one.id == criterion), None)

    def read_evidence(self) -> tuple[Evidence, ...]:
        """Return the evidence in the order it was written; item i is line i + 1 of the file."""
        return tuple(read_evidence_row(row) for row in self._rows("evidence.jsonl"))

    def read_undo(self) -> tuple[Undo, ...]:
        """Return every undo record that is not done, in the order they were written."""
        latest: dict[str, Undo] = {}
        for row in self._rows("undo.jsonl"):
            record = read_undo_row(row)
            latest[record.id] = replace(latest.get(record.id, record), done=record.done)
        return tuple(record for record in latest.values() if not record.done)

    def read_waivers(self) -> tuple[Waiver, ...]:
        """Return waivers.json (a list), written by the launcher from the config."""
        return tuple(read_waiver(row) for row in self._list("waivers.json"))

    def read_steps(self) -> tuple[StepTime, ...]:
        """Return steps.json (a list)."""
        return tuple(read_step(row) for row in self._list("steps.json"))

    def read_windows(self) -> tuple[Window, ...]:
        """Return load/windows.jsonl; a cut last row is left out."""
        path = self._inside("load/windows.jsonl")
        windows: list[Window] = []
        with contextlib.suppress(FileNotFoundError):
            for line in path.read_bytes().split(b"\n"):
                with contextlib.suppress(json.JSONDecodeError):
                    windows.append(read_window(json.loads(line)))
        return tuple(windows)

    def problems(self) -> tuple[str, ...]:
        """Return what keeps rows of the chains from being believed, or was cut by a kill."""
        found = [Chain(self.path / name).read().problem for name in CHAINS]
        torn = [
            f"{name}: a row was cut by a kill; its bytes are in {name}.torn"
            for name in CHAINS
            if Chain(self.path / name).torn.exists()
        ]
        return tuple(problem for problem in found if problem) + tuple(torn)

    @property
    def samples_dir(self) -> Path:
        """The folder for exact request logs; made on first use."""
        return self.folder("samples")

    def folder(self, rel: str) -> Path:
        """Return a folder of the run, made 0700 on first use."""
        path = self._inside(rel)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(path, error) from error
        return path

    # -- sealing -------------------------------------------------------------------------

    def seal(self) -> Path:
        """Take late secrets out of every text file, then write MANIFEST.sha256 over all files."""
        for path in self.files():
            self._cleanse(path)
        for name in CHAINS:
            Chain(self.path / name).sync()
        lines = [f"{sha256_of(path)}  {path.relative_to(self.path).as_posix()}\n" for path in self.files()]
        return self._write(MANIFEST, "".join(lines).encode())

    def reseal_rendered(self) -> None:
        """Renew the manifest lines of the rendered files only: an edit elsewhere stays visible."""
        sealed = self.read_manifest()
        if not sealed:
            return
        for name in RENDERED:
            if (self.path / name).is_file():
                sealed[name] = sha256_of(self.path / name)
        lines = [f"{digest}  {rel}\n" for rel, digest in sorted(sealed.items())]
        self._write(MANIFEST, "".join(lines).encode())

    def read_manifest(self) -> dict[str, str]:
        """Return sha256 by relative path; empty if the run was never sealed."""
        try:
            text = (self.path / MANIFEST).read_text(errors="replace")
        except FileNotFoundError:
            return {}
        return {rel: digest for digest, _, rel in (line.partition("  ") for line in text.splitlines())}

    def files(self) -> Sequence[Path]:
        """Return every regular file of the run but the manifest, sorted by relative path."""
        found = [p for p in self.path.rglob("*") if p.is_file() and not p.is_symlink() and p.name != MANIFEST]
        return sorted(found, key=lambda path: path.relative_to(self.path).as_posix())

    # -- private -------------------------------------------------------------------------

    def _append(self, name: str, *rows: object, sync: bool = True) -> None:
        redacted = [_mapping(self._redactor.json(row)) for row in rows]
        try:
            Chain(self.path / name).append(*redacted, sync=sync)
        except OSError as error:
            raise _unwritable(self.path / name, error) from error

    def _rows(self, name: str) -> tuple[Mapping[str, Any], ...]:
        return Chain(self.path / name).read().rows

    def _list(self, rel: str) -> Sequence[Any]:
        found = self.read_json(rel, [])
        if not isinstance(found, list):
            raise RunError(f"{self.path / rel}: expected a list, found {type(found).__name__}", exit_code=3)
        return found

    def _write(self, rel: str, data: bytes) -> Path:
        path = self._inside(rel)
        self.folder(str(Path(rel).parent))
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise _unwritable(path, error) from error
        return path

    def _inside(self, rel: str) -> Path:
        pure = Path(rel)
        if pure.is_absolute() or ".." in pure.parts:
            raise RunError(f"{rel}: a file of a run lies inside its folder")
        return self.path / pure

    def _cleanse(self, path: Path) -> None:
        """Rewrite one text file without late secrets; a chain is rebuilt so that it still holds."""
        if path.suffix in BINARY or path.is_relative_to(self.path / "samples"):
            return
        data = path.read_bytes()
        if not self._redactor.found(data):
            return
        rel = path.relative_to(self.path).as_posix()
        if rel not in CHAINS:
            self._write(rel, self._redactor.data(data))
            return
        chain = Chain(path)
        chain.rewrite([_mapping(self._redactor.json(row)) for row in chain.read().rows])


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"a row is an object, not {type(value).__name__}")
    return value


def _slug(target: str) -> str:
    stem = Path(target).stem if "/" in target or "." in target else target
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:40] or "target"


def _fresh(root: Path, name: str) -> Path:
    """Make a folder that did not exist; two runs in one second get different names."""
    for number in range(1, 1000):
        path = root / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            return path
    raise RunError(f"{root / name}: 999 runs of this name exist", exit_code=3)


def _point_latest(root: Path, name: str) -> None:
    link = root / "latest"
    if link.exists() and not link.is_symlink():
        raise RunError(f"{link}: is not a link; move it away, `latest` links to the newest run")
    temporary = root / f".latest.{os.getpid()}"
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(name, target_is_directory=True)
        temporary.replace(link)
    except OSError as error:
        raise _unwritable(link, error) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _unwritable(path: Path, error: OSError) -> RunError:
    why = error.strerror or type(error).__name__
    return RunError(f"{path}: cannot be written: {why}; free space or give another folder", exit_code=3)
