"""The suites on the no-op twin: a run folder as the launcher makes it, and the evidence that came of it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fixtures.mcp_server.table import ALL, BACKEND_PORTS, SERVERS
from provisioners.base import Bundle, ServiceSpec, Side
from provisioners.noop import NoopProvisioner
from provisioners.steps import QuietProgress, run_steps
from provisioners.targets import open_targets, save_bundle, save_cluster, save_workload
from reports.catalogue import catalogue
from reports.model import Evidence, Profile, Status
from reports.store import Store, create, open_run

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = ("xdist.plugin", "verbs.recorder")


def workload() -> tuple[ServiceSpec, ...]:
    """The services of the sample input, as tiers.yaml has them."""
    servers = [
        ServiceSpec(row.service, row.tier, 1, (row.port,), row.calls, mcp=row.service in SERVERS)
        for row in ALL.values()
    ]
    backends = [ServiceSpec(name, "backend", 1, (port,)) for name, port in BACKEND_PORTS.items()]
    return (*servers, *backends, ServiceSpec("net-probe", "probe", 1, (7777,), per_node=True))


@dataclass(frozen=True, slots=True)
class SuiteRun:
    """One run of suites: how pytest ended, what it printed, and the evidence by check."""

    returncode: int
    output: str
    evidence: tuple[Evidence, ...]
    expected: frozenset[str]

    def not_passed(self) -> dict[str, Evidence]:
        """The first row of each check that did not pass, without those that the twin cannot run."""
        return {
            row.check: row
            for row in reversed(self.evidence)
            if row.status not in {Status.PASS, Status.NOT_RUN}
        }

    def rows(self, criterion: str) -> list[Evidence]:
        return [row for row in self.evidence if row.criterion == criterion]


@contextmanager
def noop(tmp: Path, mutations: str = "") -> Iterator[Store]:
    """A twin that is up with everything deployed, and its run folder."""
    provisioner = NoopProvisioner(mutations)
    try:
        run_steps(provisioner.steps(), progress=QuietProgress())
        cluster = provisioner.cluster()
        store = create(tmp, "noop", Profile.SMOKE)
        store.criteria(catalogue())
        specs = workload()
        store.write_text("cluster.json", save_cluster(cluster))
        store.write_text("workload.json", save_workload(specs))
        for side, target in open_targets(cluster, specs).items():
            files = {f"{spec.tier}/{spec.name}.yaml": f"name: {spec.name}\n" for spec in specs}
            bundle = Bundle(side, "sophia-mcp", files, specs)
            store.write_text(f"manifests/{side}/bundle.json", save_bundle(bundle))
            target.apply(bundle)
        yield store
    finally:
        provisioner.down(lambda _: None)


def suites(store: Store, *arguments: str, timeout_s: float = 60.0) -> SuiteRun:
    """Run suites as the launcher does: a process of its own, no plugin that was not named."""
    before = len(store.read_evidence())
    plugins = [word for name in PLUGINS for word in ("-p", name)]
    options = [*plugins, "-p", "no:cacheprovider", "-q", "--gonogo-run", str(store.path)]
    options += ["--gonogo-profile", "smoke"]  # what only nightly runs has a control of its own
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *(arguments or ("suites",))],
        cwd=ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    after = open_run(store.path)
    expected = frozenset(check for one in after.read_criteria() for check in one.checks)
    return SuiteRun(done.returncode, done.stdout, after.read_evidence()[before:], expected)


__all__ = ["Side", "SuiteRun", "noop", "suites", "workload"]
