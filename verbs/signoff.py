"""`gonogo signoff`: a person's answer to a criterion, with name and end date.

It is kept in `signoffs.yaml` beside the config, from where every later run takes it as
evidence, or written into one finished run (`--run`), which is judged and sealed again.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from provisioners.errors import InputError
from reports.catalogue import catalogue
from reports.model import Evidence, Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reports.store import Store

_KEYS = ("criterion", "by", "until", "signed", "note")
_HEAD = (
    "# Answers of people to criteria of gonogo. Written by `gonogo signoff`;"
    " the newest of a criterion counts.\nsignoffs:\n"
)


@dataclass(frozen=True, slots=True)
class SignOff:
    """One person's yes to one criterion; `until` and `signed` are ISO dates."""

    criterion: str
    by: str
    until: str
    signed: str
    note: str = ""

    def evidence(self) -> Evidence:
        """Return the answer as evidence; the judge holds it to its end date."""
        return Evidence(
            self.criterion,
            f"signoff::{self.criterion}",
            Status.PASS,
            samples=1,
            why=self.note,
            data={"by": self.by, "until": self.until, "signed": self.signed},
        )


def signoff_command(
    criterion: str, by: str, until: str, note: str, *, run: Path | None, file: Path | None
) -> int:
    """Write one sign-off to a file or into a finished run; returns 0."""
    today = datetime.now(UTC).date()
    answer = SignOff(
        _of_a_person(criterion), _named(by), _still_ahead(until, today), f"{today}", note.strip()
    )
    if run is not None:
        if file is not None:
            raise InputError("--run and --file name two places", next_step="give one of them")
        return _into_run(run, answer)
    path = file or _default_file()
    append(path, answer)
    sys.stderr.write(f"{answer.criterion}: signed off by {answer.by} until {answer.until}\n")
    sys.stdout.write(f"{path}\n")
    return 0


def read_signoffs(path: Path) -> tuple[SignOff, ...]:
    """Return the sign-offs of a file; none if it is not there.

    Raises:
        InputError: the file does not hold sign-offs; every problem at once.
    """
    if not path.exists():
        return ()
    from provisioners.compose import load_yaml

    raw = load_yaml(path)
    rows = raw.get("signoffs") if isinstance(raw, dict) and set(raw) == {"signoffs"} else None
    if not isinstance(rows, list):
        raise InputError(
            "no list of sign-offs",
            where=str(path),
            next_step="begin with `signoffs:`, or let `gonogo signoff` write it",
        )
    problems: list[str] = []
    found: list[SignOff] = []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(_read(row))
        except InputError as error:
            problems.append(f"{number}: {error.what}")
    if problems:
        raise InputError(
            f"{len(problems)} sign-off(s) cannot be used",
            where=str(path),
            why="; ".join(problems),
            next_step="correct them, or write them again with `gonogo signoff`",
        )
    return tuple(found)


def record_signoffs(store: Store, signoffs: Sequence[SignOff]) -> None:
    """Write every answer as evidence of a run, in the order given: the newest of a criterion counts."""
    for one in signoffs:
        store.evidence(one.evidence())


def append(path: Path, answer: SignOff) -> None:
    """Add an answer at the end of a file, which is replaced at once or not at all."""
    before = read_signoffs(path)
    text = path.read_text(encoding="utf-8-sig") if path.exists() else _HEAD
    if not before and path.exists():  # `signoffs: []`, as a template may hold
        text = _HEAD
    first, *rest = [(key, getattr(answer, key)) for key in _KEYS if getattr(answer, key)]
    lines = [f"  - {_pair(*first)}", *(f"    {_pair(*pair)}" for pair in rest)]
    temporary = path.with_name(f".{path.name}.{os.getpid()}.yaml")
    try:
        temporary.write_text(text.rstrip("\n") + "\n" + "\n".join(lines) + "\n", encoding="utf-8")
        if read_signoffs(temporary) != (*before, answer):
            raise InputError(
                "a sign-off cannot be added to this file as it is written",
                where=str(path),
                next_step="give --file with a new name, and name it as `signoffs:` in the config",
            )
        temporary.replace(path)
    except OSError as error:
        raise InputError("cannot be written", where=str(path), why=str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _into_run(path: Path, answer: SignOff) -> int:
    """Add the answer to a run that verifies, then judge, render and seal it again."""
    from reports.model import RunError
    from reports.render import render_all
    from reports.store import open_run
    from reports.verify import verify

    store = open_run(path)
    problems = verify(path)
    if problems:
        raise RunError(
            f"{path}: not signed, this run cannot be relied on: {'; '.join(map(str, problems[:3]))}",
            exit_code=3,
        )
    if answer.criterion not in {one.id for one in store.read_criteria()}:
        raise InputError(f"this run has no criterion {answer.criterion}", where=str(path))
    store.evidence(answer.evidence())
    verdict = render_all(store)
    store.seal()
    sys.stderr.write(f"{answer.criterion}: signed off by {answer.by} until {answer.until}\n")
    sys.stderr.write(f"{verdict.headline}\n")
    sys.stdout.write(f"{store.path / 'report.html'}\n")
    return 0


def _read(row: Any) -> SignOff:
    if not isinstance(row, dict):
        raise InputError("is not a mapping of criterion, by, until and signed")
    unknown = sorted(str(key) for key in row if key not in _KEYS)
    lacking = [key for key in _KEYS[:-1] if not str(row.get(key) or "").strip()]
    if unknown or lacking:
        said = [f"has unknown {', '.join(unknown)}"] if unknown else []
        said += [f"lacks {', '.join(lacking)}"] if lacking else []
        raise InputError(" and ".join(said))
    values = {key: str(row.get(key) or "").strip() for key in _KEYS}
    for key in ("until", "signed"):
        _date(values[key])
    return SignOff(**{**values, "criterion": _of_a_person(values["criterion"])})


def _of_a_person(criterion: str) -> str:
    known = {one.id: one for one in catalogue()}
    if criterion not in known:
        near = difflib.get_close_matches(criterion, known, 1)
        raise InputError(
            f"no criterion {criterion!r}",
            next_step=f"did you mean {near[0]!r}?" if near else "see `gonogo plan`",
        )
    if known[criterion].owner != "person":
        people = ", ".join(one.id for one in known.values() if one.owner == "person")
        raise InputError(
            f"{criterion} is not answered by a person but by evidence ({known[criterion].owner})",
            why=f"people answer {people}",
            next_step="a failure that you accept is waived by name in the config (`waivers:`)",
        )
    return criterion


def _named(by: str) -> str:
    if not by.strip():
        raise InputError("a sign-off needs a name", next_step="--by 'First Last'")
    return " ".join(by.split())


def _still_ahead(until: str, today: date) -> str:
    end = _date(until)
    if end < today:
        raise InputError(
            f"{until} is over (today is {today}, UTC)", next_step="give --until a day that is still to come"
        )
    return f"{end}"


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{text!r} is no date", next_step="write YYYY-MM-DD") from None


def _default_file() -> Path:
    from pathlib import Path

    return Path("signoffs.yaml")


def _pair(key: str, value: str) -> str:
    return f"{key}: {json.dumps(value, ensure_ascii=False)}"
