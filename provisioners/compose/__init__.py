"""Compose files in, a typed project, and both sides' manifests out, with nothing lost in silence."""

from __future__ import annotations

from provisioners.compose.load import load_yaml

__all__ = ["load_yaml"]
