"""`gonogo sweep`: finish the undo that a killed run left in its journal."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from provisioners.base import Side
from provisioners.errors import CleanupIncomplete, InputError, ProvisionError
from verbs.config import Config
from verbs.lease import lease
from verbs.screen import Screen
from verbs.signals import interruptible
from verbs.targets import provisioner_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from reports.model import Undo
    from reports.store import Store


def sweep_command(runs: Path) -> int:
    """Undo what is still open in every run folder, the newest first; returns 0, or 5 by exception."""
    if not runs.is_dir():
        raise InputError(
            f"{runs} is not a folder", next_step="give --runs the folder that holds the run folders"
        )
    open_runs = _open_runs(runs)
    if not open_runs:
        sys.stderr.write(f"nothing to undo in {runs}\n")
        return 0
    screen = Screen()
    left: list[str] = []
    try:
        with interruptible():
            for store in open_runs:
                with lease(str(store.run().get("target_kind", "lab"))):
                    left += sweep_run(store, screen)
    finally:
        screen.close()
    if left:
        raise CleanupIncomplete(
            f"{len(left)} undo step(s) could not be finished",
            why="; ".join(left),
            next_step="remove what is named by hand, or run `gonogo sweep` again",
        )
    return 0


def sweep_run(store: Store, screen: Screen) -> list[str]:
    """Undo one run's open records, the last one first; returns what could not be undone."""
    left: list[str] = []
    for undo in reversed(store.read_undo()):
        try:
            with screen.step(f"{store.path.name}: undo {undo.what}") as say:
                undo_one(store, undo, say)
            store.undo(replace(undo, done=True))
        except (ProvisionError, OSError, ValueError) as error:
            left.append(f"{store.path.name}: {undo.what}: {error}")
    return left


def undo_one(store: Store, undo: Undo, say: Callable[[str], None]) -> None:
    """Take one disturbing step back, whether or not it ever happened."""
    if undo.host == "gonogo":
        _launcher_undo(store, undo.argv, say)
    elif undo.host == "localhost":
        from provisioners.shell import run

        run(undo.argv, timeout_s=180).check("run it by hand")
    else:
        _on_node(store, undo)


def _launcher_undo(store: Store, argv: Sequence[str], say: Callable[[str], None]) -> None:
    config = Config.model_validate(store.read_json("config.json"))
    if argv[0] == "down":
        provisioner_of(config).down(say)
        return
    if argv[0] == "unpin":
        provisioner_of(config).pin(None)
        return
    if argv[0] == "remove":
        from provisioners.targets import load_bundle, load_cluster, load_workload, open_targets

        if not provisioner_of(config).is_up():
            return  # the target is gone, and what was on it with it
        side = Side(argv[1])
        cluster = load_cluster((store.path / "cluster.json").read_text(encoding="utf-8"))
        services = load_workload((store.path / "workload.json").read_text(encoding="utf-8"))
        saved = (store.path / "manifests" / side / "bundle.json").read_text(encoding="utf-8")
        # What is removed is found by name: no secret's value is needed, or known any more.
        bundle = load_bundle(saved, dict.fromkeys(json.loads(saved)["secrets"], b""))
        open_targets(cluster, services)[side].remove(bundle)
        return
    raise ValueError(f"unknown undo {argv[0]!r}")


def _on_node(store: Store, undo: Undo) -> None:
    from provisioners.targets import load_cluster

    cluster = load_cluster((store.path / "cluster.json").read_text(encoding="utf-8"))
    node = next((node for node in cluster.nodes if node.name == undo.host), None)
    if node is None:
        raise ValueError(f"no node {undo.host!r} in this run's cluster")
    config = Config.model_validate(store.read_json("config.json"))
    if not provisioner_of(config).is_up():
        return  # the node is gone
    node.ssh.run(undo.argv, timeout_s=180).check("run it on the node by hand")


def _open_runs(runs: Path) -> list[Store]:
    from reports.model import RunError
    from reports.store import open_run

    found: list[Store] = []
    for path in sorted(runs.iterdir(), reverse=True):
        if path.is_symlink() or not path.is_dir():
            continue
        try:
            store = open_run(path)
        except RunError:
            continue
        if store.read_undo():
            found.append(store)
    return found
