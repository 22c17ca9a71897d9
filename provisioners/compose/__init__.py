"""Compose files in, a typed project, and both sides' manifests out, with nothing lost in silence."""

from __future__ import annotations

from provisioners.compose.convert import ConvertResult, convert
from provisioners.compose.fit import Fit, Patch, ServiceFit, Substitute
from provisioners.compose.kubernetes import kubernetes_bundle
from provisioners.compose.load import load_yaml
from provisioners.compose.losses import Loss, Outcome, count_keys, losses_json
from provisioners.compose.model import Project
from provisioners.compose.project import load_project
from provisioners.compose.swarm import swarm_bundle

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
