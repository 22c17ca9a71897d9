"""`gonogo run`, the main job: the order of its steps is the table of contents of a run.

    plan  preflight  up  convert  deploy  read checks  load  disruptive checks  save  judge  down

Evidence is written as it happens and judged at the end, so whatever stops a run early
leaves a partial report; whatever was made is taken down again, or left for `gonogo sweep`.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from provisioners.base import Side
from provisioners.errors import CleanupIncomplete, ProvisionError, TargetRefused
from reports.catalogue import catalogue
from reports.model import Evidence, Level, Profile, RunError, Status, Undo
from verbs.config import load_config
from verbs.facts import machine_facts
from verbs.inputs import read_inputs
from verbs.lease import lease
from verbs.limits import with_limits
from verbs.metrics import metric_checks, record_metrics
from verbs.plan import parse_profile
from verbs.screen import Screen
from verbs.signals import Interrupted, interruptible
from verbs.signoff import read_signoffs, record_signoffs
from verbs.targets import provisioner_of
from verbs.workload import CONVERT_CHECK, deploy_check, read_project

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from provisioners.base import Cluster, Target
    from provisioners.compose import Project
    from provisioners.tiers import Tiers
    from reports.model import Verdict
    from reports.store import Store
    from verbs.config import Config
    from verbs.workload import Workload

UP_CHECK = "up::target"
_LEVELS = {"lab": Level.LAB_UPSTREAM, "noop": Level.STUB, "existing": Level.EXISTING}
_SUITE_LIMIT_S = 1800.0


def run_command(
    target: str, profile: str, expression: str, *, keep: bool, runs: Path, allow: Sequence[str] = ()
) -> int:
    """Run the main job; returns the verdict's exit code, or the documented code of what stopped it."""
    chosen = parse_profile(profile)
    config = load_config(target)
    project, tiers = read_project(config)
    screen = Screen()
    try:
        with interruptible(), lease(config.target.kind):
            return Run(config, target, chosen, expression, screen, keep=keep, allow=allow).execute(
                project, tiers, runs
            )
    finally:
        screen.close()


class Run:
    """One run of the main job, from an unopened target to a sealed run folder."""

    store: Store
    cluster: Cluster
    workload: Workload
    targets: Mapping[Side, Target]

    def __init__(
        self,
        config: Config,
        name: str,
        profile: Profile,
        expression: str,
        screen: Screen,
        *,
        keep: bool,
        allow: Sequence[str],
    ) -> None:
        self._config = config
        self._name = name
        self._profile = profile
        self._expression = expression
        self._screen = screen
        self._keep = keep
        self._allow_disruptive = "disruptive" in allow
        self._provisioner = provisioner_of(config, profile.value)
        self._signoffs = read_signoffs(config.signoffs)
        self._inputs = read_inputs(config.inputs)
        self._was_up = False
        self._secrets: Path | None = None
        self._deployed: list[Side] = []

    def execute(self, project: Project, tiers: Tiers, runs: Path) -> int:
        """Run every step, clean up, report; returns the exit code."""
        self._preflight()
        self._plan(runs)
        code: int | None = None
        try:
            self._up()
            self._convert(project, tiers)
            self._deploy()
            self._check("read checks", "not disruptive", workers=2)
            self._compare()
            if self._may_disrupt():
                self._check("disruptive checks", "disruptive", workers=1)
            if not self._expression:
                record_metrics(self.store, self._inputs)
        except Interrupted as stop:
            self._screen.say(f"{stop}: cleaning up (a second signal leaves at once)")
            self.store.update_run(interrupted=str(stop))
            code = stop.exit_code
        except Exception as error:  # noqa: BLE001  what was measured so far is reported all the same
            code = self._broke(error)
        return self._finish(code)

    # -- the steps, in their order -----------------------------------------------------

    def _preflight(self) -> None:
        from verbs.lab import refuse_unless

        with self._screen.step("preflight"):
            self._was_up = self._provisioner.is_up()
            if not self._was_up:
                refuse_unless(self._provisioner.preflight())

    def _plan(self, runs: Path) -> None:
        from reports.store import create

        with self._screen.step("plan"):
            self.store = create(runs, self._name, self._profile)
            self.store.update_run(
                level=_LEVELS[self._config.target.kind],
                target_kind=self._config.target.kind,
                argv=sys.argv[1:],
                expression=self._expression,
                **machine_facts(),
            )
            self.store.write_json("config.json", self._config.model_dump(mode="json", by_alias=True))
            self.store.write_json(
                "waivers.json", [waiver.model_dump(mode="json") for waiver in self._config.waivers]
            )
            self.store.criteria(with_limits(catalogue(), self._config.limits))
            record_signoffs(self.store, self._signoffs)
            for criterion, check in self._own_checks():
                self.store.expect(criterion, check)

    def _own_checks(self) -> list[tuple[str, str]]:
        from reports.efficiency import CHECK as RESOURCES_CHECK
        from verbs.traffic import CHECK

        if self._expression:  # only the checks that match were asked for
            return []
        return [
            ("phase1.install", UP_CHECK),
            ("phase1.convert", CONVERT_CHECK),
            *(("metric.deploy_time", deploy_check(side)) for side in Side),
            ("performance.response", CHECK),
            ("performance.resources", RESOURCES_CHECK),
            *metric_checks(),
        ]

    def _up(self) -> None:
        from provisioners.targets import open_targets

        if not self._was_up and not self._keep:
            self._undo("target", "the target that this run brought up", ("down",))
        with self._screen.group("up"):
            self._provisioner.up(self._screen)
        if self._was_up and hasattr(self._provisioner, "pin"):
            self._provisioner.pin(None)  # a run that was killed may have left its hosts on one core
        self.cluster = replace(self._provisioner.cluster(), run_id=self.store.path.name)
        self.targets = open_targets(self.cluster, ())
        self._record_identity()

    def _record_identity(self) -> None:
        versions = {side: dict(target.version()) for side, target in self.targets.items()}
        identities = {side: target.identity() for side, target in self.targets.items()}
        self.store.update_run(
            level=self.cluster.level, versions=versions, identities=identities, extra=dict(self.cluster.extra)
        )
        self.store.evidence(
            Evidence(
                "phase1.install",
                UP_CHECK,
                Status.PASS if all(identities.values()) else Status.FAIL,
                samples=len(identities),
                why="; ".join(f"{side} {identity}" for side, identity in identities.items()),
            )
        )

    def _convert(self, project: Project, tiers: Tiers) -> None:
        from provisioners.targets import open_targets
        from verbs.workload import convert, placed, record_workload, with_parts

        with self._screen.step("convert") as say:
            self._config = with_parts(self._config, self.cluster, self._profile.value)
            self.workload = convert(self._config, project, tiers, self.cluster)
            self.cluster = placed(self.cluster, self.workload)
            self._secrets = record_workload(self.store, self._config, self.cluster, self.workload)
            services = self.workload.bundles[Side.KUBERNETES].services
            self.targets = open_targets(self.cluster, services)
            say(f"{len(services)} services, {len(self.workload.losses)} notes on keys")

    def _deploy(self) -> None:
        from verbs.checks import collect
        from verbs.workload import deploy_side

        with ThreadPoolExecutor(1) as pool:
            collecting = pool.submit(
                collect, self.store.path, self._log("collect"), self._expression, self._profile.value
            )
            for side in Side:
                self._clear(side)
                self._undo(f"workload-{side}", f"workloads on {side}", ("remove", str(side)))
                self._deployed.append(side)
                with self._screen.step(f"deploy {side}") as say:
                    readiness = deploy_side(
                        self.targets[side],
                        self.workload.bundles[side],
                        self.store,
                        self._config.ready_timeout_s,
                        say,
                    )
                for failure in readiness.failed:
                    self._screen.say(f"  {side}: {failure.service} is not ready: {failure.reason}")
        collected = collecting.result()
        if collected.broke:
            raise RuntimeError(f"the suites could not be collected:\n{collected.tail}")

    def _clear(self, side: Side) -> None:
        """Take an earlier deployment off the lab, and refuse to touch one that is somebody's."""
        if not self.targets[side].services():
            return
        bundle = self.workload.bundles[side]
        if self._config.target.kind == "existing":
            raise TargetRefused(
                f"{bundle.namespace} is there already on {side}",
                why="this run did not make it, and would change it and take it down",
                next_step="remove it, or name another stack and namespace",
            )
        if self._config.target.kind == "lab":  # what is there already cannot be timed
            with self._screen.step(f"remove earlier workloads of {side}"):
                self.targets[side].remove(bundle)

    def _check(self, name: str, marker: str, *, workers: int) -> None:
        from verbs.checks import run_suites

        with self._screen.step(name) as say:
            result = run_suites(
                self.store.path,
                self._log(name.replace(" ", "-")),
                marker=marker,
                profile=self._profile.value,
                workers=workers,
                expression=self._expression,
                timeout_s=_SUITE_LIMIT_S,
                secrets=self._secrets,
                say=say,
            )
        if result.broke:
            # Checks that left no evidence are gaps, and a gap never makes a GO.
            self._screen.say(f"  pytest ended with {result.returncode}; last lines:\n{result.tail[-1500:]}")

    def _may_disrupt(self) -> bool:
        if self._config.target.kind != "existing" or self._allow_disruptive:
            return True
        self._screen.say(
            "  disruptive checks were not allowed (--allow disruptive): their criteria stay open"
        )
        return False

    def _compare(self) -> None:
        from verbs.traffic import compare_sides

        if self._expression:
            return
        with self._screen.step("load") as say:
            compare_sides(
                self._config,
                self.cluster,
                self.targets,
                self.workload.bundles[Side.KUBERNETES].services,
                self.store,
                self._provisioner,
                say,
            )

    # -- the end -----------------------------------------------------------------------

    def _finish(self, code: int | None) -> int:
        try:
            self._save_and_judge()
        except Interrupted as stop:
            code = stop.exit_code
        except Exception as error:  # noqa: BLE001  what was made is taken down all the same
            code = self._broke(error)
        try:
            try:
                self._clean()
            except Interrupted as stop:
                code = stop.exit_code
                self._clean()
        except ProvisionError as error:
            self._screen.say(f"clean-up incomplete: {error}\n  next: gonogo sweep")
            with contextlib.suppress(RunError):
                self.store.update_run(cleanup=str(error))
            code = CleanupIncomplete.exit_code
        return self._close(code)

    def _save_and_judge(self) -> None:
        for side in self._deployed:
            try:
                with self._screen.step(f"save {side}"):
                    self.targets[side].snapshot(self.store.folder(f"objects/{side}"))
            except Exception as error:  # noqa: BLE001  a target that is gone must not hide the verdict
                self._screen.say(f"  objects of {side} could not be saved: {error}")
        self._judge()

    def _judge(self) -> Verdict:
        from reports.render import render_all

        self.store.write_json("steps.json", [asdict(step) for step in self._screen.steps])
        return render_all(self.store)

    def _clean(self) -> None:
        if self._keep:
            return
        if not self._was_up:
            with self._screen.step("down") as say:
                self._provisioner.down(say)
            self._undone("target")
        else:
            for side in tuple(self._deployed):
                with self._screen.step(f"remove {side}"):
                    self.targets[side].remove(self.workload.bundles[side])
        for side in tuple(self._deployed):
            self._undone(f"workload-{side}")
            self._deployed.remove(side)
        if self._secrets:
            self._secrets.unlink(missing_ok=True)

    def _close(self, code: int | None) -> int:
        from reports.render import render

        say = self._screen.say
        written = True
        try:
            verdict = self._judge()
            self.store.seal()
        except RunError as error:  # a full disk, say: the verdict is not lost with the report
            say(f"the report could not be written: {error}")
            say(f"  next: make room, then gonogo report {self.store.path}")
            verdict, written = render(self.store)[0], False
        say()
        for step in self._screen.steps:
            say(f"  {step.duration_s:7.1f} s  {step.name}{'  (cached)' if step.status == 'cached' else ''}")
        say(f"  {self._screen.elapsed_s():7.1f} s  in all")
        say()
        say(verdict.headline)
        for reason in verdict.reasons[:10]:
            say("  " + " ".join(reason.split()))
        say(f"report: {self.store.path / 'report.html'}")
        sys.stdout.write(f"{self.store.path}\n")
        if not written:
            sys.stdout.write(f"{verdict.headline}\n")
        if code is not None:
            return code
        return verdict.exit_code if written else max(3, verdict.exit_code)

    # -- small things ------------------------------------------------------------------

    def _broke(self, error: Exception) -> int:
        self._screen.say(f"stopped: {error}")
        with contextlib.suppress(RunError):  # a full disk has stopped the run, and takes no more
            self.store.write_text("logs/stopped.txt", "".join(traceback.format_exception(error)))
            self.store.update_run(stopped=str(error).split("\n", 1)[0])
        code = getattr(error, "exit_code", 6)
        return code if isinstance(code, int) else 6

    def _log(self, name: str) -> Path:
        return self.store.folder("logs") / f"{name}.log"

    def _undo(self, name: str, what: str, argv: tuple[str, ...]) -> None:
        self.store.undo(Undo(name, what, "gonogo", argv))

    def _undone(self, name: str) -> None:
        for undo in self.store.read_undo():
            if undo.id == name:
                self.store.undo(replace(undo, done=True))
