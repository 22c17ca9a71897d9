"""`gonogo lab up|status|ssh|down`: the embedded default target."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from provisioners.errors import InputError, TargetRefused
from verbs.lease import lease
from verbs.screen import Screen
from verbs.signals import Interrupted, interruptible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provisioners.lab.lab import LabStatus
    from provisioners.lab.preflight import Check


def lab_up_command(nodes: int, parts: Sequence[str] = ()) -> int:
    """Bring the lab up; returns 0, or the code of the signal that stopped it."""
    from provisioners.lab.lab import Lab
    from provisioners.parts import NAMES
    from provisioners.parts import parts as known

    known(name for name in parts if name != "all")  # an unknown one is told before anything starts
    screen = Screen()
    lab = Lab(nodes=nodes, parts=NAMES if "all" in parts else parts)
    try:
        with interruptible(), lease("lab"):
            refuse_unless(lab.preflight())
            lab.up(screen)
    except Interrupted as stop:
        screen.say(
            f"{stop}: what is up stays up; `gonogo lab up` goes on from here, `gonogo lab down` removes it"
        )
        return stop.exit_code
    finally:
        screen.close()
    cluster = lab.cluster()
    screen.say(
        f"the lab is up ({cluster.level}, {len(cluster.nodes)} nodes) after {screen.elapsed_s():.0f} s"
    )
    sys.stdout.write(f"export KUBECONFIG={cluster.kubeconfig}\n")
    return 0


def lab_status_command(*, json_output: bool) -> int:
    """Print what is up; returns 0 when all of it is, 4 otherwise."""
    from provisioners.lab.lab import Lab

    status = Lab.current().status()
    if json_output:
        json.dump(asdict(status), sys.stdout, indent=1, default=str)
        sys.stdout.write("\n")
    else:
        sys.stdout.write("\n".join(status_lines(status)) + "\n")
    return 0 if status.up else 4


def status_lines(status: LabStatus) -> list[str]:
    """Return what a person reads: the engine, one line a host, and what is wrong."""
    lines = [f"lab {'up' if status.up else 'down'} ({status.level}), engine {status.engine}"]
    for name, host in status.hosts.items():
        swarm, kubernetes = status.swarm.get(name, "-"), status.kubernetes.get(name, "-")
        lines.append(f"  {name}  host {host}, swarm {swarm}, kubernetes {kubernetes}")
    lines += [f"  problem: {problem}" for problem in status.problems]
    return lines


def lab_ssh_command(node: str, argv: Sequence[str]) -> int:
    """Replace this process by ssh to a node; raises InputError for a name that is none."""
    from provisioners.lab.lab import Lab

    lab = Lab.current()
    if not lab.is_up():
        raise TargetRefused("the lab is not up", next_step="gonogo lab up")
    nodes = {entry.name: entry for entry in lab.cluster().nodes}
    if node not in nodes:
        raise InputError(f"no node {node!r}", next_step=f"choose one of {', '.join(nodes)}")
    command = nodes[node].ssh.argv()
    if not argv:
        command.remove("-T")
    sys.stdout.flush()
    os.execvp(command[0], [*command, *argv])  # noqa: S606  the shell that was asked for


def lab_down_command() -> int:
    """Remove what `lab up` made; returns 0, or 5 through CleanupIncomplete."""
    from provisioners.lab.lab import Lab

    screen = Screen()
    try:
        with interruptible(), lease("lab"), screen.step("lab down") as say:
            Lab.current().down(say)
    finally:
        screen.close()
    return 0


def refuse_unless(checks: Sequence[Check]) -> None:
    """Raise TargetRefused with every failed preflight check and its fix."""
    failed = [check for check in checks if not check.ok]
    if failed:
        raise TargetRefused(
            f"preflight: {len(failed)} of {len(checks)} checks failed",
            why="; ".join(f"{check.name}: {check.detail}" for check in failed),
            next_step="; ".join(check.fix for check in failed if check.fix),
        )
