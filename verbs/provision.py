"""`gonogo provision`: install K3s or Swarm on the hosts of an inventory."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from provisioners.errors import InputError
from verbs.screen import Screen
from verbs.signals import Interrupted, interruptible

if TYPE_CHECKING:
    from pathlib import Path


def provision_command(orchestrator: str, inventory: Path, *, dry_run: bool) -> int:
    """Run the orchestrator's steps on the inventory's hosts; `dry_run` prints them instead."""
    from provisioners.inventory import read_inventory
    from provisioners.steps import run_steps

    steps = _provisioner(orchestrator, read_inventory(inventory)).steps()
    if dry_run:
        for step in steps:
            sys.stdout.write(f"{step.name}{'  after ' + ', '.join(step.needs) if step.needs else ''}\n")
        return 0
    screen = Screen()
    try:
        with interruptible():
            run_steps(steps, progress=screen)
    except Interrupted as stop:
        screen.say(f"{stop}: the same command goes on from here")
        return stop.exit_code
    finally:
        screen.close()
    return 0


def _provisioner(orchestrator: str, nodes: Any) -> Any:
    if orchestrator == "swarm":
        from provisioners.swarm import SwarmProvisioner

        return SwarmProvisioner(nodes)
    if orchestrator == "k3s":
        from provisioners.k3s import K3sProvisioner

        return K3sProvisioner(nodes)
    raise InputError(f"no orchestrator {orchestrator!r}", next_step="choose k3s or swarm")
