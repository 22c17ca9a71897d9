"""`gonogo deploy`: one step of the main job on its own; what it deploys stays."""

from __future__ import annotations

import json
import sys
from typing import Any

from provisioners.base import Side
from provisioners.errors import InputError, NotReady, TargetRefused
from verbs.config import load_config
from verbs.lease import lease
from verbs.screen import Screen
from verbs.signals import Interrupted, interruptible
from verbs.targets import provisioner_of
from verbs.workload import convert, placed, read_project


def deploy_command(target: str, side: str, *, json_output: bool) -> int:
    """Apply the workloads and wait; returns 0 when all are ready, 3 through NotReady otherwise."""
    sides = _sides(side)
    config = load_config(target)
    project, tiers = read_project(config)
    screen = Screen()
    try:
        with interruptible(), lease(config.target.kind):
            provisioner = provisioner_of(config)
            if not provisioner.is_up():
                raise TargetRefused("the target is not up", next_step="gonogo lab up")
            rows = [_deploy(config, project, tiers, provisioner.cluster(), one, screen) for one in sides]
    except Interrupted as stop:
        screen.say(f"{stop}: what was applied stays; the same command goes on from here")
        return stop.exit_code
    finally:
        screen.close()
    if json_output:
        json.dump(rows, sys.stdout, indent=1)
        sys.stdout.write("\n")
    failed = [f"{row['side']}: {name}: {why}" for row in rows for name, why in row["failed"].items()]
    if failed:
        raise NotReady(f"{len(failed)} service(s) are not ready", why="; ".join(failed))
    return 0


def _sides(side: str) -> tuple[Side, ...]:
    if side == "both":
        return tuple(Side)
    try:
        return (Side(side),)
    except ValueError:
        raise InputError(f"no side {side!r}", next_step="choose swarm, kubernetes or both") from None


def _deploy(
    config: Any, project: Any, tiers: Any, cluster: Any, side: Side, screen: Screen
) -> dict[str, Any]:
    from provisioners.targets import open_targets

    workload = convert(config, project, tiers, cluster)
    bundle = workload.bundles[side]
    target = open_targets(placed(cluster, workload), bundle.services)[side]
    with screen.step(f"deploy {side}") as say:
        applied = target.apply(bundle)
        names = [service.name for service in bundle.services]
        readiness = target.wait_ready(names, config.ready_timeout_s, say)
    screen.say(
        f"{side}: {len(applied.created)} created, {len(applied.changed)} changed, "
        f"{len(applied.unchanged)} unchanged; {len(readiness.ready)} ready, {len(readiness.failed)} failed"
    )
    return {
        "side": str(side),
        "created": len(applied.created),
        "changed": len(applied.changed),
        "unchanged": len(applied.unchanged),
        "ready": len(readiness.ready),
        "failed": {failure.service: failure.reason for failure in readiness.failed},
        "duration_s": round(applied.duration_s + readiness.duration_s, 2),
    }
