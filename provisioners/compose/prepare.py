"""What both sides take a project for before they render it: one-shot services as jobs, every image by a name.

Neither Swarm nor Kubernetes knows `service_completed_successfully`. A service of which a file says so
would be started again for ever by both, so it is made a job on both. A service that is only built gets
the name that compose gives its image; one that a provider outside of containers stands for has none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provisioners.compose.model import Given
from provisioners.compose.naming import legal
from provisioners.compose.nodes import Leaf, Table

if TYPE_CHECKING:
    from provisioners.compose.model import Project, Service
    from provisioners.compose.nodes import Node

_COMPLETED = "service_completed_successfully"


def prepared(project: Project) -> Project:
    """Return the project with its one-shot services as jobs, built images named, and no provided services."""
    project = _with_images(project)
    awaited: dict[str, Node] = {}
    for service in project.services.values():
        for given in service.depends_on:
            node = given.at.get("condition") if isinstance(given.at, Table) else None
            if isinstance(node, Leaf) and node.text == _COMPLETED:
                awaited.setdefault(given.value, node)
    if not awaited:
        return project
    services = {
        key: _job(service, awaited[key]) if key in awaited and not service.is_job else service
        for key, service in project.services.items()
    }
    return replace(project, services=services)


def provided(project: Project) -> tuple[Service, ...]:
    """Return the services that are no containers: a provider makes what they stand for."""
    return tuple(one for one in project.services.values() if one.image is None and "provider" in one.others)


def _with_images(project: Project) -> Project:
    if all(service.image is not None for service in project.services.values()):
        return project
    gone = {service.name for service in provided(project)}
    services = {key: _named(one, project) for key, one in project.services.items() if key not in gone}
    return replace(project, services=services)


def _named(service: Service, project: Project) -> Service:
    build = service.others.get("build")
    if service.image is not None or build is None:
        return service
    name = f"{legal(project.name)}-{service.name.lower()}".replace("_-", "-")
    others = {key: node for key, node in service.others.items() if key != "build"}
    return replace(service, image=Given(name, build), others=others)


def _job(service: Service, at: Node) -> Service:
    deploy = service.deploy
    mode = "global-job" if service.is_global else "replicated-job"
    # tried again when it fails: what it needs may not be there yet, because nothing starts in order
    old = deploy.restart.condition
    condition = Given("on-failure", old.at if old else at)
    return replace(
        service,
        deploy=replace(
            deploy,
            mode=Given(mode, deploy.mode.at if deploy.mode else at),
            restart=replace(deploy.restart, condition=condition),
        ),
    )
