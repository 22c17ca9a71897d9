"""What a platform part of the lab is: binaries, images, and objects that are applied and awaited."""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.kube_apply import apply_object
from provisioners.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from provisioners.base import Cluster, Node
    from provisioners.kube import Kube, Object
    from provisioners.upstream.build import Module

MANIFESTS = Path(__file__).parent / "manifests"
_ROLLOUT_BOUND_S = 180.0


@dataclass(frozen=True, slots=True)
class BinaryImage:
    """An image that holds nothing but these files, by name; the first of them is what starts."""

    name: str
    files: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class DebianImage:
    """A name for the one root file system of Debian packages that all parts share, and what it starts."""

    name: str
    command: tuple[str, ...]
    user: str = "65534:65534"


@dataclass(frozen=True, slots=True)
class PartContext:
    """What a part gets to work with: the cluster, its API, and the full names of its images."""

    cluster: Cluster
    kube: Kube
    images: Mapping[str, str]  # short name -> name with tag

    @property
    def nodes(self) -> Sequence[Node]:
        """The node hosts, over SSH."""
        return self.cluster.nodes


@dataclass(frozen=True, slots=True)
class Part:
    """One platform part. `apply` makes it and waits until it works; doing so twice changes nothing.

    `stand_in` says, in the plan and in the report, what it replaces where the real one cannot be had.
    `debian` are the Debian packages of its DebianImages.
    """

    name: str
    what: str
    apply: Callable[[PartContext, Callable[[str], None]], None]
    modules: tuple[Module, ...] = ()
    images: Callable[[], Sequence[BinaryImage | DebianImage]] = tuple
    debian: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    stand_in: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)  # what Cluster.extra says when it is there


def apply_manifest(context: PartContext, name: str, values: Mapping[str, str]) -> list[Object]:
    """Apply `manifests/<name>` with `$words` replaced, in file order; return the objects as written."""
    import yaml

    text = string.Template((MANIFESTS / name).read_text(encoding="utf-8")).substitute(values)
    bodies = [body for body in yaml.safe_load_all(text) if body]
    for body in bodies:
        apply_object(context.kube, body)
    return bodies


def await_rollout(
    context: PartContext,
    namespace: str,
    names: Sequence[str],
    say: Callable[[str], None],
    *,
    bound_s: float = _ROLLOUT_BOUND_S,
) -> None:
    """Wait until workloads, given as `deployments/NAME`, `statefulsets/NAME` or `daemonsets/NAME`, are whole.

    Raises:
        NotReady: one was not within the bound; the message names it.
    """
    wait_until(
        f"{namespace}: workloads are whole",
        lambda: ", ".join(filter(None, (_lacking(context.kube, namespace, name) for name in names))),
        say,
        bound_s=bound_s,
        where=namespace,
        next_step=f"kubectl -n {namespace} get pods; kubectl -n {namespace} describe pod NAME",
    )


def _lacking(kube: Kube, namespace: str, name: str) -> str:
    found = kube.get(f"/apis/apps/v1/namespaces/{namespace}/{name}")
    if found is None:
        return f"{name} is absent"
    status, spec = found.get("status") or {}, found["spec"]
    if status.get("observedGeneration") != found["metadata"]["generation"]:
        return name
    if name.startswith("daemonsets/"):
        wanted = status.get("desiredNumberScheduled", 0)
        whole = wanted > 0 and status.get("numberReady") == wanted == status.get("updatedNumberScheduled")
        return "" if whole else f"{name} {status.get('numberReady', 0)} of {wanted}"
    wanted = spec.get("replicas", 1)
    ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    return "" if ready == wanted == updated else f"{name} {ready} of {wanted}"
