"""Recorded pods for the tests of the Kubernetes side."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from provisioners.kube_objects import Pod, parse_pod

RECORDED = json.loads((Path(__file__).parent / "recorded" / "kube.json").read_text())


def pod_row(name: str = "asana-v2") -> dict[str, Any]:
    row = next(row for row in RECORDED["pods"] if row["metadata"]["name"].startswith(name))
    return dict(copy.deepcopy(row))


def pod(name: str = "asana-v2", state: dict[str, Any] | None = None, **changes: Any) -> Pod:
    """Return a recorded pod that is not ready, its container in the given state."""
    row = pod_row(name)
    status = row["status"]
    for condition in status["conditions"]:
        if condition["type"] in {"Ready", "ContainersReady"}:
            condition["status"] = "False"
    status["containerStatuses"][0] |= {"ready": False, "state": state or {"running": {}}, **changes}
    return parse_pod(row)


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}
