"""What both sides take a project for before they render it: a service that others wait for to end is a job.

Neither Swarm nor Kubernetes knows `service_completed_successfully`. A service of which a file says so
would be started again for ever by both, so it is made a job on both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provisioners.compose.model import Given
from provisioners.compose.nodes import Leaf, Table

if TYPE_CHECKING:
    from provisioners.compose.model import Project, Service
    from provisioners.compose.nodes import Node

_COMPLETED = "service_completed_successfully"


def prepared(project: Project) -> Project:
    """Return the project with its one-shot services as jobs."""
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
