"""`gonogo selftest`: break every check on purpose, see it turn red, and see it come back.

The main job runs unbroken, then broken, one group of mutations at a time, then unbroken
again, with the same code as `gonogo run`. A check that stays green on a broken thing
shows nothing, and a criterion without a red proof is not counted in a GO: `--write-proofs` writes
the proofs that `reports.judge` asks for, with the code of the checks that gave them.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.errors import InputError, ProvisionError
from reports.catalogue import catalogue
from reports.judgement import judge_run
from reports.model import Level, Profile, Status
from reports.red_proof import RedProof, check_sources, read_proofs, write_proofs
from verbs.config import LoadConfig, load_config
from verbs.lease import lease
from verbs.mutations import MUTATIONS, NEEDS_HOSTS, NOISY, READING, TRAFFIC, Mutation, write_given
from verbs.run import Run
from verbs.samples import ROOT
from verbs.screen import Screen
from verbs.signals import Interrupted, interruptible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provisioners.compose import Project
    from provisioners.tiers import Tiers
    from reports.model import Finding, Verdict
    from verbs.config import Config
    from verbs.mutations import Given

_SUITES_S = 240.0
_RECOVERY_S = 3.5
_ROUND_TRIPS = 34
_LOAD = LoadConfig(rate_per_s=100, duration_s=12, warmup_s=1)
# A no-op replica is back within a second: what takes longer than 3 s has not come back. The
# load here is short, so that many requests are what a load test of this run needs.
_LIMITS = {"metric.recovery_time": "3 s", "phase2.load_test": "300 requests a side"}
_RED = {Status.FAIL}


@dataclass(frozen=True, slots=True)
class Proof:
    """One criterion: its status unbroken, broken and unbroken again, and what was broken."""

    criterion: str
    mutation: str
    before: str
    broken: str
    after: str
    red: bool
    back: bool
    why: str

    @property
    def shown(self) -> bool:
        """Whether the criterion turned red and came back."""
        return self.red and self.back


def selftest_command(
    target: str, expression: str, *, json_output: bool, proofs_file: Path | None = None
) -> int:
    """Run the selftest; returns 0 only if every covered criterion turned red and came back, else 1.

    What was shown is written to `proofs_file`, if one is given. After a whole selftest that
    file holds nothing else; with an expression it keeps the proofs of other criteria.
    """
    if target != "noop":
        raise InputError(
            f"no selftest on {target!r}",
            why="things are broken on purpose: the no-op target alone has mutations",
            next_step="gonogo selftest --target noop",
        )
    chosen = [one for one in MUTATIONS if expression in f"{one.word} {one.what}"]
    if not chosen:
        words = ", ".join(one.word for one in MUTATIONS)
        raise InputError(f"no mutation matches {expression!r}", next_step=f"choose from {words}")
    folder = Path(tempfile.mkdtemp(prefix="gonogo-selftest-"))
    screen = Screen()
    try:
        with interruptible(), lease("noop"):
            runs = _run_all(folder, chosen, screen)
    except Interrupted as stop:
        screen.say(f"{stop}: what was broken was the selftest's own, and is gone")
        return stop.exit_code
    finally:
        screen.close()
    proofs = prove(chosen, *runs, whole=not expression)
    missing = [one.criterion for one in proofs if not one.shown and one.criterion not in NEEDS_HOSTS]
    _print(proofs, json_output=json_output)
    if proofs_file:
        kept = read_proofs(proofs_file) if expression else {}
        write_proofs(proofs_file, red_proofs(proofs, kept, ROOT / "suites"))
    if missing:
        sys.stderr.write(f"not shown: {', '.join(missing)}\nevery run is kept: {folder}\n")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


def prove(
    mutations: Sequence[Mutation],
    before: Mapping[str, Finding],
    broken: Mapping[str, Mapping[str, Finding]],
    after: Mapping[str, Finding],
    *,
    whole: bool,
) -> tuple[Proof, ...]:
    """Return the proof of each criterion that a mutation is aimed at, and of each that none is.

    `broken` holds the findings of each group's run. With `whole`, a criterion that some check
    looked at unbroken, but that no mutation is aimed at, is listed as not shown.
    """
    aimed: dict[str, list[Mutation]] = {}
    for mutation in mutations:
        for criterion in mutation.reds:
            aimed.setdefault(criterion, []).append(mutation)
    proofs = []
    for criterion in (one.id for one in catalogue()):
        at = [one for one in (before, after) if criterion in one]
        if criterion in aimed and len(at) == 2:  # noqa: PLR2004  before and after
            groups = {mutation.group for mutation in aimed[criterion]}
            worst = [found[criterion] for group, found in broken.items() if group in groups]
            proofs.append(_proof(criterion, aimed[criterion], before[criterion], worst, after[criterion]))
        elif whole and criterion in before and before[criterion].evidence and not _idle(before[criterion]):
            status = str(before[criterion].status)
            why = NEEDS_HOSTS.get(criterion, "no mutation is aimed at it: add one to verbs/mutations.py")
            proofs.append(Proof(criterion, "-", status, "-", "-", red=False, back=False, why=why))
    return tuple(proofs)


def red_proofs(proofs: Sequence[Proof], kept: Mapping[str, RedProof], suites: Path) -> tuple[RedProof, ...]:
    """Return what the selftest's proofs are worth to the judge, beside those of `kept` not tried now."""
    tried = {proof.criterion for proof in proofs}
    sources = check_sources(suites)
    shown = [
        RedProof(proof.criterion, proof.mutation, Level.STUB, proof.broken, sources.get(proof.criterion, {}))
        for proof in proofs
        if proof.shown
    ]
    return (*(proof for name, proof in kept.items() if name not in tried), *shown)


def _idle(finding: Finding) -> bool:
    """Return whether its checks did not run here at all: then there is nothing to break."""
    return finding.status is Status.NOT_RUN


def _proof(
    criterion: str, aimed: Sequence[Mutation], before: Finding, broken: Sequence[Finding], after: Finding
) -> Proof:
    statuses = {finding.status for finding in broken}
    # A person's criterion has no red of its own: an answer that is over leaves it waiting.
    red = bool(statuses & _RED) or (before.status is Status.PASS and statuses == {Status.MANUAL})
    red = red and before.status not in _RED
    back = after.status is before.status or (criterion in NOISY and after.status not in _RED)
    why = broken[0].why if broken and not red else ("" if back else after.why)
    if before.status in _RED:
        why = f"red before anything was broken: {before.why}"
    return Proof(
        criterion,
        ", ".join(mutation.word for mutation in aimed),
        str(before.status),
        ", ".join(sorted(statuses)),
        str(after.status),
        red,
        back,
        why[:300],
    )


class Trial(Run):
    """One run of the main job with things broken, and what it found."""

    verdict: Verdict

    def __init__(self, config: Config, given: Given, screen: Screen, group: str) -> None:
        super().__init__(config, "selftest", Profile.CUTOVER, "", screen, keep=False, allow=())
        self._given = given
        self._group = group

    def findings(self) -> dict[str, Finding]:
        """Return the findings of the run that ended, by criterion."""
        return {finding.criterion: finding for finding in self.verdict.findings}

    def _convert(self, project: Project, tiers: Tiers) -> None:
        from provisioners.targets import save_cluster

        super()._convert(project, tiers)
        self.store.write_text("cluster.json", save_cluster(self._given.cluster(self.cluster)))

    def _check(self, name: str, marker: str, *, workers: int) -> None:
        from verbs.checks import run_suites

        wanted = "disruptive checks" if self._group == TRAFFIC else "read checks"
        if self._group and name != wanted:
            return
        extra = [
            *("--gonogo-recovery-timeout", str(_RECOVERY_S)),
            *("--gonogo-round-trips", str(_ROUND_TRIPS)),
        ]
        with self._screen.step(name) as say:
            run_suites(
                self.store.path,
                self._log(name.replace(" ", "-")),
                marker=marker,
                profile=self._profile.value,
                workers=workers,
                expression="not test_cutover",  # a rehearsal takes minutes, and breaks its own shift itself
                timeout_s=_SUITES_S,
                secrets=self._secrets,
                say=say,
                extra=extra,
            )

    def _compare(self) -> None:
        if self._group != READING:
            super()._compare()

    def _close(self, code: int | None) -> int:
        self._judge()
        self.verdict = judge_run(self.store, ask_red=False)
        return code or 0


def _run_all(
    folder: Path, chosen: Sequence[Mutation], screen: Screen
) -> tuple[dict[str, Finding], dict[str, dict[str, Finding]], dict[str, Finding]]:
    groups = [group for group in (READING, TRAFFIC) if any(one.group == group for one in chosen)]
    only = groups[0] if len(groups) == 1 else ""
    before = _trial(folder / "before", [], only, screen)
    broken = {
        group: _trial(folder / group, [one for one in chosen if one.group == group], group, screen)
        for group in groups
    }
    return before, broken, _trial(folder / "after", [], only, screen)


def _trial(folder: Path, broken: Sequence[Mutation], group: str, screen: Screen) -> dict[str, Finding]:
    """Run the main job with these mutations; the group says which part of it they need."""
    from verbs.workload import read_project

    given = write_given(folder / "given", frozenset(one.of_input for one in broken))
    config = _config(given, [one.word for one in broken if not one.of_input])
    screen.say(f"-- {folder.name}: {', '.join(one.word for one in broken) or 'nothing broken'}")
    trial = Trial(config, given, screen, group)
    code = trial.execute(*read_project(config), folder / "runs")
    if code:
        reason = trial.store.run().get("stopped") or trial.store.run().get("interrupted") or f"code {code}"
        if code > 128:  # noqa: PLR2004  a signal, already cleaned up after
            raise SystemExit(code)
        raise ProvisionError(
            f"the run of the selftest did not end: {reason}",
            where=str(trial.store.path),
            next_step="gonogo run --target noop shows whether the machine can run it",
        )
    return trial.findings()


def _config(given: Given, words: Sequence[str]) -> Config:
    config = load_config("noop")
    return config.model_copy(
        update={
            "target": config.target.model_copy(update={"break_": ",".join(words)}),
            "compose": [*config.compose, *([given.compose] if given.compose else [])],
            "load": _LOAD,
            "limits": _LIMITS,
            "signoffs": given.signoffs,
            "inputs": given.inputs,
            "runbooks": given.runbooks,
        }
    )


def _print(proofs: Sequence[Proof], *, json_output: bool) -> None:
    if json_output:
        json.dump([asdict(proof) for proof in proofs], sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    head = ("criterion", "mutation", "before", "broken", "after", "red", "back")
    rows = [head] + [
        (
            one.criterion,
            one.mutation,
            one.before,
            one.broken,
            one.after,
            _word(one, shown=one.red),
            _word(one, shown=one.back),
        )
        for one in proofs
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for number, row in enumerate(rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        why = proofs[number - 1].why if number and not proofs[number - 1].shown else ""
        sys.stdout.write(f"{line}{'  ' + why if why else ''}\n")
    hosts = [one.criterion for one in proofs if one.criterion in NEEDS_HOSTS]
    shown = sum(one.shown for one in proofs)
    sys.stdout.write(
        f"\n{shown} of {len(proofs) - len(hosts)} criteria turned red when broken, and came back\n"
    )
    if hosts:
        sys.stdout.write(f"not to be shown on the no-op target: {', '.join(hosts)}\n")


def _word(proof: Proof, *, shown: bool) -> str:
    if proof.criterion in NEEDS_HOSTS:
        return "-"
    return "yes" if shown else "NO"
