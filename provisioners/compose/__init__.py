"""Compose files in, a typed project, and both sides' manifests out, with nothing lost in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose.convert import ConvertResult, convert
from provisioners.compose.fit import Fit, Patch, ServiceFit, Substitute
from provisioners.compose.kubernetes import kubernetes_bundle
from provisioners.compose.load import load_yaml
from provisioners.compose.losses import Loss, Outcome, count_keys, losses_json
from provisioners.compose.model import Project
from provisioners.compose.project import load_project

if TYPE_CHECKING:
    from provisioners.base import Bundle
    from provisioners.tiers import Tiers

__all__ = [
    "ConvertResult",
    "Fit",
    "Loss",
    "Outcome",
    "Patch",
    "Project",
    "ServiceFit",
    "Substitute",
    "convert",
    "count_keys",
    "kubernetes_bundle",
    "load_project",
    "load_yaml",
    "losses_json",
    "swarm_bundle",
]


def swarm_bundle(project: Project, tiers: Tiers, fit: Fit) -> Bundle:
    """Return the Swarm side of a project; a conversion alone has no need of what makes it."""
    from provisioners.compose import swarm

    return swarm.swarm_bundle(project, tiers, fit)
