"""How the nouns of reports.model become JSON rows, and how rows become nouns again.

The only place that knows field names on disk. What cannot be read raises RunError with
the file's own word for what is wrong; numbers that JSON cannot hold become their name.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, TypeGuard

from reports.model import (
    Criterion,
    Evidence,
    Json,
    Level,
    Limit,
    Profile,
    RunError,
    Status,
    StepTime,
    Undo,
    Waiver,
    Window,
)

LONGEST_TEXT = 65_536
_CUT = re.compile(r"… \[(\d+) characters\]$")


def plain(value: object) -> Json:
    """Return any value of the model as JSON: dataclasses by field, sets sorted, NaN by name."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, AbstractSet):
        return sorted((plain(item) for item in value), key=str)
    return [plain(item) for item in value] if _is_list(value) else str(value)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, bytes | bytearray)


def clip(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return the text, or its beginning and its length if it is longer than `longest`.

    A text that was cut before keeps the length that it was cut from.
    """
    if len(text) <= longest:
        return text
    return f"{text[:longest]}… [{whole_length(text)} characters]"


def whole_length(text: str) -> int:
    """Return how long a text was before anyone cut it."""
    cut = _CUT.search(text[-40:])
    return int(cut[1]) if cut else len(text)


def compact(value: object) -> str:
    """Return canonical one-line JSON: the same value always gives the same bytes."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def pretty(value: object) -> str:
    """Return JSON for people, in the order given, ending in a newline."""
    return json.dumps(plain(value), indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def criterion_row(criterion: Criterion) -> dict[str, Json]:
    """Return a criterion as a row; `blocking` as sorted [profile, level] pairs."""
    row = plain(criterion)
    assert isinstance(row, dict)  # noqa: S101 - a dataclass is always a mapping here
    row["blocking"] = sorted([str(profile), str(level)] for profile, level in criterion.blocking)
    return row


def read_criterion(row: Mapping[str, Any]) -> Criterion:
    """Return the criterion that a row holds."""
    try:
        limit = row.get("limit")
        return Criterion(
            id=row["id"],
            title=row["title"],
            owner=row["owner"],
            limit=None if limit is None else Limit(limit["op"], _number(limit["value"]), limit["unit"]),
            blocking=frozenset((Profile(p), Level(at)) for p, at in row["blocking"]),
            profiles=frozenset(Profile(p) for p in row["profiles"]),
            shown_at=frozenset(Level(at) for at in row["shown_at"]),
            checks=tuple(row["checks"]),
            red_proof=row.get("red_proof"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"criteria row cannot be read: {error!r}", exit_code=3) from error


def read_evidence_row(row: Mapping[str, Any]) -> Evidence:
    """Return the evidence that a row holds."""
    try:
        return Evidence(
            criterion=row["criterion"],
            check=row["check"],
            status=Status(row["status"]),
            side=row["side"],
            observed=row["observed"],
            unit=row["unit"],
            samples=int(row["samples"]),
            why=row["why"],
            at=row["at"],
            attempt=int(row["attempt"]),
            data=row["data"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"evidence row cannot be read: {error!r}", exit_code=3) from error


def read_undo_row(row: Mapping[str, Any]) -> Undo:
    """Return the undo record that a row holds."""
    try:
        return Undo(row["id"], row["what"], row["host"], tuple(row["argv"]), bool(row["done"]))
    except (KeyError, TypeError) as error:
        raise RunError(f"undo row cannot be read: {error!r}", exit_code=3) from error


def read_waiver(row: Mapping[str, Any]) -> Waiver:
    """Return the waiver that a row holds; every field is required, `until` is an ISO date."""
    try:
        return Waiver(str(row["criterion"]), str(row["name"]), str(row["reason"]), str(row["until"]))
    except (KeyError, TypeError) as error:
        raise RunError(f"a waiver needs criterion, name, reason and until: {error!r}") from error


def read_window(row: Mapping[str, Any]) -> Window:
    """Return the window that a row of load/windows.jsonl holds; other keys are left alone."""
    try:
        return Window(
            name=str(row["name"]),
            quantile=float(row["quantile"]),
            start_s=float(row["start_s"]),
            duration_s=float(row["duration_s"]),
            swarm_ms=_number(row["swarm_ms"]),
            kubernetes_ms=_number(row["kubernetes_ms"]),
            n_swarm=int(row["n_swarm"]),
            n_kubernetes=int(row["n_kubernetes"]),
            steal=_number(row.get("steal", 0.0)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"window row cannot be read: {error!r}", exit_code=3) from error


def read_step(row: Mapping[str, Any]) -> StepTime:
    """Return the step time that a row of steps.json holds."""
    try:
        return StepTime(
            str(row["name"]),
            float(row["started_s"]),
            float(row["duration_s"]),
            str(row.get("status", "done")),
            str(row.get("note", "")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"step row cannot be read: {error!r}", exit_code=3) from error


def _number(value: object) -> float:
    """Return a float; None and the names of NaN and infinity are read as such."""
    return math.nan if value is None else float(value)  # type: ignore[arg-type]
