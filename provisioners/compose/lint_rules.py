"""The rules of the lint: each finds traps that a real migration fell into, or would.

A rule takes the view of all manifests and yields findings; the names that they may have stand at it.
"""

from __future__ import annotations

from provisioners.compose import lint_host, lint_network, lint_pods, lint_scaling, lint_storage
from provisioners.compose.lint_view import Trap

__all__ = ["RULES", "RULE_NAMES", "Trap"]

RULES: tuple[Trap, ...] = (
    *lint_network.RULES,
    *lint_pods.RULES,
    *lint_scaling.RULES,
    *lint_storage.RULES,
    *lint_host.RULES,
)
# What the reader finds itself stands beside them.
RULE_NAMES: tuple[str, ...] = ("duplicate-key", *(name for rule in RULES for name in rule.names))
