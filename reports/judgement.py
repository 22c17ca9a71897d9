"""The verdict of a run folder: its criteria, evidence and waivers, judged on the run's own date."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

from reports.judge import judge
from reports.model import Level, Profile, RunError, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reports.store import Store


def judge_run(store: Store, *, ask_red: bool = True) -> Verdict:
    """Judge a run folder again: a pure function of what it holds, whatever day it is now.

    Without `ask_red` no criterion has to have been seen red: the selftest is what shows it.
    """
    run = store.run()
    criteria = store.read_criteria()
    return judge(
        criteria if ask_red else [replace(one, red_proof=None) for one in criteria],
        store.read_evidence(),
        store.read_waivers(),
        profile_of(run),
        level_of(run),
        run_date(run),
        doubts=doubts_of(store),
    )


def doubts_of(store: Store) -> tuple[str, ...]:
    """Return what keeps this folder from being a GO, whatever its evidence says."""
    run = store.run()
    found = [f"this run was {what}: {run[key]}" for key, what in _ENDINGS.items() if run.get(key)]
    if run.get("expression"):
        found.append(f"only the checks that match -k {run['expression']!r} ran")
    return (*found, *store.problems())


_ENDINGS = {"interrupted": "interrupted", "stopped": "stopped early"}


def profile_of(run: Mapping[str, Any]) -> Profile:
    """Return the run's profile."""
    try:
        return Profile(run["profile"])
    except (KeyError, ValueError) as error:
        raise RunError(
            f"run.json names no profile that is known: {run.get('profile')!r}", exit_code=3
        ) from error


def level_of(run: Mapping[str, Any]) -> Level:
    """Return the run's level; a run that stopped before it had one proves nothing (stub)."""
    try:
        return Level(run.get("level", Level.STUB))
    except ValueError as error:
        raise RunError(f"run.json names a level that is not known: {run['level']!r}", exit_code=3) from error


def run_date(run: Mapping[str, Any]) -> date:
    """Return the day the run started (UTC), on which waivers and sign-offs must hold."""
    try:
        return date.fromisoformat(str(run["started_at"])[:10])
    except (KeyError, ValueError) as error:
        raise RunError(f"run.json has no start date: {run.get('started_at')!r}", exit_code=3) from error
