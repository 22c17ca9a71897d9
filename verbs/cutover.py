"""`gonogo cutover rehearse`: a weighted shift with gates and a way back, on deployed sides.

    plan  preflight  up  convert  deploy (what is not there)  rehearse  save  judge  down

It writes a run folder as `gonogo run` does, judged over the criteria of a rehearsal only. Clients of ours
alone enter by an address of ours: no name, no load balancer and no user's traffic is touched.
"""

from __future__ import annotations

import getpass
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fixtures.cutover import doors_of, kept_findings, parse_steps
from fixtures.cutover_findings import CRITERIA
from fixtures.cutover_gate import WORKLOAD
from fixtures.cutover_rehearsal import Rehearsal
from fixtures.cutover_seen import Course, GateValue
from fixtures.faults.journal import Journal
from provisioners.base import Side
from provisioners.errors import CleanupIncomplete, InputError, TargetRefused
from reports.catalogue import catalogue
from reports.comparison import Rules
from reports.endpoint import judged, look_at_all
from reports.error_count import count_errors
from reports.model import Evidence, Profile, Status
from reports.store import Store, create
from verbs.config import load_config, margin_of
from verbs.facts import machine_facts
from verbs.lease import lease
from verbs.limits import with_limits
from verbs.run import Run
from verbs.screen import Screen
from verbs.signals import interruptible
from verbs.workload import read_project

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fixtures.cutover_gate import Rule
    from fixtures.cutover_seen import Rehearsed
    from reports.model import Window
    from verbs.config import Config

CHECK = "cutover::rehearse"
_LONGEST_S = 3_600.0
_MOST_RATE = 5_000.0


def rehearse_command(
    target: str,
    *,
    steps: str,
    rate: float,
    bound: float,
    by: str,
    keep: bool,
    runs: Path,
    allow: Sequence[str] = (),
) -> int:
    """Rehearse a cutover; returns the verdict's exit code, or the documented code of what stopped it."""
    course = _course(steps, rate, bound, by)
    config = load_config(target)
    if config.target.kind == "existing" and "disruptive" not in allow:
        raise TargetRefused(
            "a rehearsal on an existing target was not allowed",
            why="it writes a few items by the servers' own tools, and sends load to both sides",
            next_step="add --allow disruptive",
        )
    project, tiers = read_project(config)
    screen = Screen()
    try:
        with interruptible(), lease(config.target.kind):
            return RehearsalRun(config, target, course, screen, keep=keep, allow=allow).execute(
                project, tiers, runs
            )
    finally:
        screen.close()


def _course(steps: str, rate: float, bound: float, by: str) -> Course:
    for name, value, most in (("--rate", rate, _MOST_RATE), ("--bound", bound, _LONGEST_S)):
        if not (math.isfinite(value) and 0 < value <= most):
            raise InputError(f"{name} {value:g} cannot be used", next_step=f"give a number up to {most:g}")
    usual = Course()
    return replace(
        usual,
        steps=parse_steps(steps),
        rate_per_s=rate,
        bound_s=bound,
        hold_s=min(usual.hold_s, bound),
        by=by.strip() or getpass.getuser(),
    )


def gate_rule(margin_ratio: float = 0.10, margin_floor_ms: float = 1.0, error_margin: float = 0.001) -> Rule:
    """Return the comparison's rule for gates: each look takes its part of the chance to be wrong."""

    def rule(
        windows: Sequence[Window],
        counts: Mapping[str, Mapping[str, int]],
        quantiles: Sequence[float],
        looks: int,
    ) -> tuple[GateValue, ...]:
        usual = Rules()
        rules = replace(
            usual,
            margin_ratio=margin_ratio,
            margin_floor_ms=margin_floor_ms,
            error_margin=error_margin,
            alpha=usual.alpha / looks,
            workloads=(WORKLOAD,),
            blocking_quantiles=tuple(quantiles),
        )
        found = [_errors(counts, rules)]
        if quantiles:
            found += [
                GateValue(
                    gate=f"p{100 * one.quantile:g}",
                    outcome=one.outcome,
                    observed=None if one.ratio is None else round(one.ratio, 4),
                    unit="x Swarm",
                    samples=one.n_a + one.n_b,
                    why=one.why,
                )
                for one in judged(look_at_all(windows, rules), rules)
            ]
        return tuple(found)

    return rule


def pytest_gonogo_gate_rule(config: Any) -> Rule | None:
    """Answer the suites' hook: the rule with the margin of their run; None where there is no run."""
    folder = config.getoption("--gonogo-run", default=None)
    if not folder:
        return None
    from verbs.config import LoadConfig

    file = Path(folder) / "config.json"
    raw = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    margin = margin_of(LoadConfig.model_validate(raw.get("load", {})))
    return gate_rule(margin.share, margin.floor_ms)


def _errors(counts: Mapping[str, Mapping[str, int]], rules: Rules) -> GateValue:
    """Return the gate of errors; without a single one it may stay open until all steps are counted."""
    seen = count_errors(counts, rules)
    if seen is None:
        sent = ", ".join(f"{side} {one['sent']}" for side, one in counts.items())
        return GateValue("errors", Status.INCONCLUSIVE, None, "points", 0, f"a side served nothing: {sent}")
    return GateValue(
        gate="errors",
        outcome=seen.outcome,
        observed=round(100 * seen.difference, 4),
        unit="points",
        samples=seen.n_a + seen.n_b,
        why=seen.why,
        open=not seen.failed_b,
    )


class RehearsalRun(Run):
    """The main job with a rehearsal in place of its checks, judged over the rehearsal's criteria."""

    def __init__(
        self, config: Config, name: str, course: Course, screen: Screen, *, keep: bool, allow: Sequence[str]
    ) -> None:
        # An expression that is not empty leaves out load and numbers: they are the main job's.
        super().__init__(config, name, Profile.CUTOVER, "cutover", screen, keep=keep, allow=allow)
        self._course = course

    def _plan(self, runs: Path) -> None:
        with self._screen.step("plan"):
            self.store = NarrowStore(create(runs, f"{_slug(self._name)}-cutover", self._profile).path)
            self.store.update_run(
                level=_level(self._config),
                target_kind=self._config.target.kind,
                argv=sys.argv[1:],
                expression="",
                **machine_facts(),
            )
            self.store.write_json("config.json", self._config.model_dump(mode="json", by_alias=True))
            self.store.write_json(
                "waivers.json", [waiver.model_dump(mode="json") for waiver in self._config.waivers]
            )
            mine = tuple(one for one in catalogue() if one.id in CRITERIA)
            limits = {name: text for name, text in self._config.limits.items() if name in CRITERIA}
            self.store.criteria(with_limits(mine, limits))
            for criterion in CRITERIA:
                self.store.expect(criterion, CHECK)

    def _deploy(self) -> None:
        from verbs.workload import deploy_side

        for side in Side:
            bundle = self.workload.bundles[side]
            wanted = {service.name for service in bundle.services}
            ready = {
                one.name for one in self.targets[side].services() if one.desired and one.ready >= one.desired
            }
            if wanted <= ready:
                self._screen.say(f"  {side}: {len(wanted)} services are there and ready; they stay")
                continue
            if self._config.target.kind == "existing":
                raise TargetRefused(
                    f"{side} is not deployed, or not ready",
                    why=f"not ready: {', '.join(sorted(wanted - ready)[:10])}",
                    next_step="gonogo deploy; a rehearsal changes nothing that is deployed",
                )
            self._undo(f"workload-{side}", f"workloads on {side}", ("remove", str(side)))
            self._deployed.append(side)
            with self._screen.step(f"deploy {side}") as say:
                deploy_side(self.targets[side], bundle, self.store, self._config.ready_timeout_s, say)

    def _check(self, name: str, marker: str, *, workers: int) -> None:
        del name, workers
        if marker != "disruptive":
            return
        journal = Journal(self.store)
        margin = margin_of(self._config.load)
        with self._screen.step("rehearse") as say:
            try:
                doors = doors_of(self.targets, self.workload.bundles[Side.KUBERNETES].services)
                rule = gate_rule(margin.share, margin.floor_ms)
                seen = Rehearsal(doors, self._course, rule, journal, _said(self._screen, say)).run()
            finally:
                left = journal.close()
        self._record(seen)
        if left:
            raise CleanupIncomplete(
                "the rehearsal could not be taken back", why="; ".join(left), next_step="gonogo sweep"
            )

    def _record(self, seen: Rehearsed) -> None:
        for found in kept_findings(seen, self.store.write_text):
            self.store.evidence(
                Evidence(
                    criterion=found.criterion,
                    check=CHECK,
                    status=found.status,
                    observed=found.observed,
                    unit=found.unit,
                    samples=found.samples,
                    why=found.why,
                )
            )
        if seen.stopped_by:
            self._screen.say(f"  the shift was stopped by: {seen.stopped_by}")


class NarrowStore(Store):
    """A run that keeps evidence of a rehearsal's criteria alone: what else is seen is not asked here."""

    def evidence(self, evidence: Evidence) -> None:
        """Append it if it is of a rehearsal."""
        if evidence.criterion in CRITERIA:
            super().evidence(evidence)


def _slug(name: str) -> str:
    """Return what a target is called in the folder's name: a config by its stem."""
    return Path(name).stem


def _level(config: Config) -> str:
    from verbs.run import _LEVELS

    return _LEVELS[config.target.kind]


def _said(screen: Screen, say: Callable[[str], None]) -> Callable[[str], None]:
    def both(text: str) -> None:
        say(text)
        screen.say(f"  {text}")

    return both
