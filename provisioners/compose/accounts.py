"""A ServiceAccount for each workload, without a token: a right that one needs is given to it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioners.compose.context import Context

Object = dict[str, object]


def account(name: str, labels: Object, context: Context) -> Object:
    """Return the account that the pods of a workload run as."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": context.namespace, "labels": labels},
        "automountServiceAccountToken": False,
    }
