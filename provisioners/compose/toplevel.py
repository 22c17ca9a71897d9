"""What became of what stands beside the services: networks, volumes, secrets, configs, extensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose.nodes import Node, Table

if TYPE_CHECKING:
    from provisioners.compose.losses import Ledger
    from provisioners.compose.model import Project, Resource

_SECTIONS = ("services", "networks", "volumes", "secrets", "configs")


def note_top_level(project: Project, ledger: Ledger, *, networks: bool = True) -> None:
    """Account for everything outside the services; for networks unless policies took their place."""
    for given in project.mended:
        ledger.approximated(given.at, given.value)
    for given in project.inactive:
        ledger.dropped(given.at, "none of its profiles is active; name one in COMPOSE_PROFILES")
    for given in project.taken:
        ledger.converted(given.at, "", given.value)
    for given in project.unused:
        ledger.dropped(given.at, given.value)
    for network in project.networks.values() if networks else ():
        ledger.dropped(
            network.at, "one flat pod network with its own addresses takes the place of overlay networks"
        )
    for volume in project.volumes.values():
        _note_volume(volume, ledger)
    for resource in (*project.secrets.values(), *project.configs.values()):
        _note_content(resource, ledger)
    for key, node in project.root.entries.items():
        _note_root(key, node, ledger)


def _note_root(key: str, node: Node, ledger: Ledger) -> None:
    if key.startswith("x-"):
        ledger.dropped(node, "an extension: what aliases take from it is accounted for where it lands")
    elif key == "version":
        ledger.dropped(node, "the version of the file format; nothing else depends on it")
    elif key == "name":
        ledger.converted(node, "label app.kubernetes.io/part-of")
    elif key == "models":
        ledger.refused(node, "deploy the model server as a service")
    elif key == "jobs":
        ledger.refused(node, "write a CronJob for each, or a service of mode replicated-job")
    elif key in _SECTIONS and (not isinstance(node, Table) or not node.entries):
        ledger.dropped(node, "it is empty")
    elif key in _SECTIONS and isinstance(node, Table):
        for inner, value in node.entries.items():
            if inner.startswith("x-"):
                ledger.dropped(value, "an extension: nothing reads it")


def _note_volume(volume: Resource, ledger: Ledger) -> None:
    if volume.external:
        ledger.approximated(volume.at, "a claim of that name has to exist", "PersistentVolumeClaim")
    elif volume.driver not in {"", "local"}:
        detail = f"driver {volume.driver}: the default storage class serves it"
        ledger.approximated(volume.at, detail, "PersistentVolumeClaim")
    elif volume.body is not None and volume.body.get("driver_opts") is not None:
        ledger.refused(volume.at, "driver_opts need a storage class: make one and name it in the claim")
    else:
        ledger.converted(volume.at, "PersistentVolumeClaim of the default storage class")


def _note_content(resource: Resource, ledger: Ledger) -> None:
    if resource.external:
        ledger.approximated(resource.at, "an object of that name has to exist", "Secret or ConfigMap")
    elif resource.driver:
        ledger.refused(
            resource.at, f"driver {resource.driver}: give the value by `file`, or make it `external`"
        )
    else:
        ledger.converted(resource.at, "Secret or ConfigMap; values of secrets are in no file")
