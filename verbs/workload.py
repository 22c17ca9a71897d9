"""From compose files to running services on both sides: convert, record, apply, wait."""

from __future__ import annotations

import base64
import json
import os
import secrets as random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from provisioners.base import Side
from provisioners.errors import InputError
from provisioners.lab.paths import state_dir
from reports.model import Evidence, Status
from verbs.limits import fitted_limits
from verbs.targets import fit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from provisioners.base import Bundle, Cluster, Readiness, Target
    from provisioners.compose import Project
    from provisioners.compose.losses import Loss
    from provisioners.tiers import Tiers
    from reports.store import Store
    from verbs.config import Config

CONVERT_CHECK = "convert::project"
IMAGE_PREFIX = "gonogo/"
LAB_DOMAIN = "gonogo"  # one word: servers of the sample refuse host names that they were not told of


@dataclass(frozen=True, slots=True)
class Workload:
    """The same services for both sides, and what the conversion could not carry over."""

    bundles: Mapping[Side, Bundle]
    losses: tuple[Loss, ...]
    keys: int


def read_project(config: Config) -> tuple[Project, Tiers]:
    """Parse the compose files and the tiers file; input errors come before anything runs."""
    from provisioners.compose import load_project
    from provisioners.tiers import load_tiers

    missing = [file for file in (*config.compose, config.tiers) if not file.is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} input file(s) missing",
            why=", ".join(str(file) for file in missing),
            next_step="correct `compose:` and `tiers:` in the config",
        )
    tiers = load_tiers(config.tiers)
    environment = {**os.environ, "POSTGRES_PASSWORD_FILE": str(password_file())}
    env_files = [config.env_file] if config.env_file else []
    project = load_project(config.compose, env=environment, env_files=env_files)
    absent = tiers.missing(project.services)
    if absent:
        raise InputError(
            f"the tiers file names {len(absent)} service(s) that the compose files do not have",
            where=str(config.tiers),
            why=", ".join(absent),
            next_step="add the compose file that holds them, or take them out",
        )
    if config.target.kind == "lab":
        _check_images(config, project)
    return project, tiers


def _check_images(config: Config, project: Project) -> None:
    """Refuse an image of ours that the lab does not build: its pods would wait for it until the timeout."""
    from provisioners.compose import Fit, Substitute
    from provisioners.compose.fit import image_of
    from provisioners.lab.images import image_names, tagged

    built = image_names()
    substitutes = {name: Substitute(item.image) for name, item in config.substitutes.items()}
    fit = Fit(images=config.images, substitutes=substitutes)
    wanted = {name: image_of(service, fit) for name, service in project.services.items()}
    absent = [
        f"{name} wants {image}"
        for name, image in wanted.items()
        if image.startswith(IMAGE_PREFIX) and tagged(image) not in built
    ]
    if absent:
        servers = sorted(name.partition(":")[0] for name in built)
        raise InputError(
            f"the lab builds no image for {len(absent)} service(s)",
            why="; ".join(absent),
            next_step=f"name a substitute with one of {', '.join(servers)}, and PORT in its environment",
        )


def password_file() -> Path:
    """Return the 0600 file that holds the database password of the workloads; made once, random."""
    folder = state_dir() / "secrets"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "postgres_password"
    if not path.exists():
        temporary = folder / f".postgres_password.{os.getpid()}"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(random.token_urlsafe(24))
        temporary.replace(path)
    return path


def convert(config: Config, project: Project, tiers: Tiers, cluster: Cluster) -> Workload:
    """Return the bundles of both sides, fitted alike, and the losses."""
    from provisioners.compose import count_keys, kubernetes_bundle, swarm_bundle

    fit = fit_of(config, cluster)
    kubernetes, losses = kubernetes_bundle(project, tiers, fit)
    bundles = {Side.SWARM: swarm_bundle(project, tiers, fit), Side.KUBERNETES: kubernetes}
    return Workload(bundles, losses, count_keys(project))


def with_parts(config: Config, cluster: Cluster, profile: str) -> Config:
    """Return the config with what the cluster's parts make worth deploying, where it leaves the choice.

    Network policies where something enforces them, Ingresses where the lab has a controller. Not in
    smoke: its comparison wants no rules on one side only, and it judges neither.
    """
    if profile == "smoke":
        return config
    changes: dict[str, object] = {}
    engine = cluster.extra.get("network_policy_engine", "none")
    if config.policies is None and engine not in ("", "none"):
        changes["policies"] = True
    if not config.ingress_domain and "ingress" in cluster.extra.get("parts", "").split(","):
        changes["ingress_domain"] = LAB_DOMAIN
    return config.model_copy(update=changes)


def placed(cluster: Cluster, workload: Workload) -> Cluster:
    """Return the cluster with the namespace that the converter chose: a core platform has one of its own."""
    return replace(cluster, namespace=workload.bundles[Side.KUBERNETES].namespace)


def record_workload(store: Store, config: Config, cluster: Cluster, workload: Workload) -> Path:
    """Write everything that suites read about the workload; returns the secrets file (0600)."""
    from provisioners.compose import losses_json
    from provisioners.targets import save_bundle, save_cluster, save_workload

    values = {name: value for bundle in workload.bundles.values() for name, value in bundle.secrets.items()}
    for value in values.values():
        store.add_secret(value)
    store.write_text("cluster.json", save_cluster(cluster))
    store.write_text("workload.json", save_workload(workload.bundles[Side.KUBERNETES].services))
    store.write_text("losses.json", losses_json(workload.losses))
    store.write_json("fit.json", fit_table(config))
    for side, bundle in workload.bundles.items():
        store.write_text(f"manifests/{side}/bundle.json", save_bundle(bundle))
        for name, text in bundle.files.items():
            store.write_text(f"manifests/{side}/{name}", text)
    refused = [loss for loss in workload.losses if loss.outcome == "refused"]
    store.evidence(
        Evidence(
            "phase1.convert",
            CONVERT_CHECK,
            Status.FAIL if refused else Status.PASS,
            observed=float(len(refused)),
            unit="keys lost",
            samples=workload.keys,
            why="; ".join(f"{loss.file}:{loss.line} {loss.path}: {loss.detail}" for loss in refused[:5])
            or f"{workload.keys} keys in, {workload.keys} accounted for",
        )
    )
    return _secrets_file(store, values)


def fit_table(config: Config) -> dict[str, object]:
    """Return what was fitted to the target, for page one of the report."""
    return {
        "scale": config.scale.model_dump(mode="json", exclude_none=True),
        "images": config.images,
        "substitutes": {name: item.image for name, item in config.substitutes.items()},
        "entry": config.entry,
        "patches": [patch.model_dump(mode="json") for patch in config.patches],
        "limits": fitted_limits(config.limits),
    }


def _secrets_file(store: Store, values: Mapping[str, bytes]) -> Path:
    folder = state_dir() / "secrets"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{store.path.name}.json"
    text = json.dumps({name: base64.b64encode(value).decode() for name, value in values.items()})
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    return path


def deploy_side(
    target: Target, bundle: Bundle, store: Store, timeout_s: float, say: Callable[[str], None]
) -> Readiness:
    """Apply one side, wait until its services are ready or fail, and record the time it took."""
    applied = target.apply(bundle)
    say(f"{len(applied.created)} created, {len(applied.changed)} changed; waiting until ready")
    names = [service.name for service in bundle.services]
    readiness = target.wait_ready(names, timeout_s, say)
    minutes = (applied.duration_s + readiness.duration_s) / 60
    failed = "; ".join(f"{failure.service}: {failure.reason}" for failure in readiness.failed)
    store.evidence(
        Evidence(
            "metric.deploy_time",
            deploy_check(target.side),
            Status.FAIL if readiness.failed else Status.PASS,  # the judge holds the time to its limit
            side=str(target.side),
            observed=round(minutes, 3),
            unit="min",
            samples=len(readiness.ready) + len(readiness.failed),
            why=failed or f"{len(readiness.ready)} services ready",
            data={"logs": {failure.service: failure.log_tail for failure in readiness.failed}},
        )
    )
    for failure in readiness.failed:
        store.write_text(f"logs/{target.side}/{failure.service}.not-ready.log", failure.log_tail)
    return readiness


def deploy_check(side: Side) -> str:
    """Return the check id of one side's deployment."""
    return f"deploy::{side}"
