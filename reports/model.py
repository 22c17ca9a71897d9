"""The data a run consists of: Criterion, Evidence, Finding, Verdict, Waiver. Stdlib only.

Evidence is written as it happens; findings are computed from criteria and evidence by
`reports.judge`, which is pure, so an old run can be judged again with no cluster.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]


class RunError(Exception):
    """A run folder cannot be made, read or believed.

    `exit_code` is 2 for a folder that is not a run, 3 for evidence that does not verify.
    """

    def __init__(self, message: str, *, exit_code: int = 2) -> None:
        self.exit_code = exit_code
        super().__init__(message)


class Status(enum.StrEnum):
    """What is known about one criterion."""

    PASS = "PASS"  # noqa: S105  a status, not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"
    NOT_RUN = "NOT_RUN"
    MANUAL = "MANUAL"


class Decision(enum.StrEnum):
    """The answer of a whole run."""

    GO = "GO"
    NO_GO = "NO-GO"
    INCONCLUSIVE = "INCONCLUSIVE"


class Level(enum.StrEnum):
    """Where a result comes from, from worthless to real."""

    STUB = "stub"
    LAB_UPSTREAM = "lab-upstream"
    LAB_K3S = "lab-k3s"
    EXISTING = "existing"
    HOSTS = "hosts"


class Profile(enum.StrEnum):
    """How much is measured."""

    SMOKE = "smoke"
    NIGHTLY = "nightly"
    CUTOVER = "cutover"


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound with its unit: `op` is one of `<`, `<=`, `==`, `>=`, `>`."""

    op: str
    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.op} {self.value:g} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of the migration guide, as something that can be shown.

    `owner` says who answers: `suite`, `load`, `measurement`, `person`, or `uncovered`
    (no check exists yet; shown by `plan`, never counted as passed).
    `blocking` holds the (profile, level) pairs in which a not-PASS stops a GO.
    `checks` are the test ids that serve it, known at collection, before anything runs.
    `red_proof` says what broke it when it was seen red, and is empty where it never was:
    then a PASS of it is not counted in a GO. None is a run from before that was asked.
    """

    id: str
    title: str
    owner: str
    limit: Limit | None = None
    blocking: frozenset[tuple[Profile, Level]] = frozenset()
    profiles: frozenset[Profile] = frozenset(Profile)
    shown_at: frozenset[Level] = frozenset(Level)
    checks: tuple[str, ...] = ()
    red_proof: str | None = None

    def blocks(self, profile: Profile, level: Level) -> bool:
        """Return whether a result that is not PASS stops a GO here."""
        return (profile, level) in self.blocking


@dataclass(frozen=True, slots=True)
class Evidence:
    """One observation of one check, as it happened.

    `check` is the test's id, so that a check with no evidence is a visible gap.
    `side` is `swarm`, `kubernetes` or `both`. `observed` is in `unit`. `samples` counts
    what was looked at; 0 never makes a PASS. `attempt` counts from 1: the first decides.
    """

    criterion: str
    check: str
    status: Status
    side: str = "both"
    observed: float | str | None = None
    unit: str = ""
    samples: int = 0
    why: str = ""
    at: str = ""
    attempt: int = 1
    data: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Waiver:
    """A person's decision that a named FAIL does not block until `until` (ISO date)."""

    criterion: str
    name: str
    reason: str
    until: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What the evidence says of one criterion; `evidence` are line numbers of evidence.jsonl."""

    criterion: str
    status: Status
    blocking: bool
    observed: float | str | None
    limit: str
    unit: str
    samples: int
    why: str
    evidence: tuple[int, ...] = ()
    waived: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, the one line that says it, and every finding behind it."""

    decision: Decision
    profile: Profile
    level: Level
    headline: str
    findings: tuple[Finding, ...]
    reasons: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 GO, 1 NO-GO, 3 INCONCLUSIVE."""
        return {Decision.GO: 0, Decision.NO_GO: 1, Decision.INCONCLUSIVE: 3}[self.decision]


@dataclass(frozen=True, slots=True)
class StepTime:
    """One line of the table of steps; times in seconds from the start of the run."""

    name: str
    started_s: float
    duration_s: float
    status: str = "done"  # done | cached | failed
    note: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """One paired time window of load: a quantile of each side, and how many samples.

    `value_ms` by side; computed by loadtests/summarize.py, consumed by reports/compare.py.
    `steal` is the share (0..1) of CPU time that the hypervisor took while it lasted.
    """

    name: str  # workload, such as "tools/call"
    quantile: float
    start_s: float
    duration_s: float
    swarm_ms: float
    kubernetes_ms: float
    n_swarm: int
    n_kubernetes: int
    steal: float = 0.0


@dataclass(frozen=True, slots=True)
class Undo:
    """How to take one disturbing step back: argv on a host, recorded before the step.

    `host` is a node's name or `localhost`; `done` is set by a second row with the same id.
    """

    id: str
    what: str
    host: str
    argv: tuple[str, ...]
    done: bool = False


class Recorder(Protocol):
    """What fixtures are handed to write a run: the store's door, typed here."""

    def expect(self, criterion: str, check: str) -> None:
        """Say at collection that `check` will bear on `criterion`."""

    def evidence(self, evidence: Evidence) -> None:
        """Append one observation; it outlives this process when this returns."""

    def undo(self, undo: Undo) -> None:
        """Append one undo record; it is on disk when this returns."""


@runtime_checkable
class LimitReader(Protocol):
    """What a recorder may offer besides: the limit under which a criterion is judged."""

    def limit(self, criterion: str) -> Limit | None:
        """Return the limit of a criterion of this run, or None if it has none."""


@runtime_checkable
class ExpectsMany(Protocol):
    """What a recorder may offer besides: a whole collection expected in one write."""

    def expect_all(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Say of each (criterion, check) that the check will bear on the criterion."""
