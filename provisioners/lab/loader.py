"""Put images of the outer engine into every node's Docker and containerd.

One tar for what is missing anywhere, seen by the nodes through a read-only mount: quicker
here than a registry, and with none there is nothing that must be up for a pod to start.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from provisioners.errors import InputError, ProvisionError
from provisioners.lab.engine import Engine, own_engine
from provisioners.lab.hosts import IMAGE_MOUNT
from provisioners.lab.paths import cache_dir
from provisioners.steps import for_each

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioners.base import Cluster, Node

_LOAD_BOUND_S = 300.0
_KEPT_TARS = 4
_K3S = "lab-k3s"


def load_images(
    cluster: Cluster,
    images: Sequence[str],
    say: Callable[[str], None] = lambda _: None,
    *,
    docker: bool = True,
) -> dict[str, int]:
    """Load the images into all nodes at once; return how many each node was lacking, by name.

    They go into containerd, for pods, and into Docker as well unless `docker` is False.
    Raises InputError for an image that the outer engine does not hold.
    """
    engine = Engine(cluster.extra["docker_host"], own_engine().client)
    found = for_each(cluster.nodes, lambda node: _lacking(cluster, node, images, docker=docker))
    lacking = {node.name: pair for node, pair in zip(cluster.nodes, found, strict=True)}
    wanted = sorted({name for pair in found for names in pair for name in names})
    if wanted:
        archive = _save(engine, wanted, say)
        inside = str(IMAGE_MOUNT / archive)
        say(f"loading {len(wanted)} images into {len(cluster.nodes)} nodes")
        for_each(cluster.nodes, lambda node: _load(cluster, node, inside, lacking[node.name]))
    return {name: len(pair[0] | pair[1]) for name, pair in lacking.items()}


def prune_archives() -> None:
    """Remove all but the newest tars, and those cut off; call it while nothing loads."""
    folder = cache_dir() / "images"
    for path in folder.glob(".*.tar"):
        path.unlink(missing_ok=True)
    tars = sorted(folder.glob("*.tar"), key=lambda path: path.stat().st_mtime)
    for path in tars[:-_KEPT_TARS]:
        path.unlink(missing_ok=True)


def _save(engine: Engine, images: Sequence[str], say: Callable[[str], None]) -> str:
    """Return the name of a tar in the cache that holds the images; an unchanged one is used again."""
    result = engine.run(["image", "inspect", "--format", "{{.Id}}", *images])
    if not result.ok:
        raise InputError(
            "an image to load is not in the outer engine",
            where=engine.host,
            why=result.stderr.strip(),
            next_step="gonogo lab up builds the lab's images",
        )
    digest = hashlib.sha256("\0".join([*images, result.stdout]).encode()).hexdigest()[:16]
    path = cache_dir() / "images" / f"{digest}.tar"
    if path.exists():
        os.utime(path)
        return path.name
    say(f"saving {len(images)} images")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{digest}.{os.getpid()}.tar")
    engine.run(["save", "--output", str(fresh), *images], timeout_s=_LOAD_BOUND_S).check()
    fresh.replace(path)
    return path.name


def _ctr(cluster: Cluster) -> list[str]:
    return [*(["k3s"] if cluster.level == _K3S else []), "ctr", "--namespace", "k8s.io", "images"]


def _lacking(
    cluster: Cluster, node: Node, images: Sequence[str], *, docker: bool
) -> tuple[set[str], set[str]]:
    """Return which images the node's Docker (when it is to have them) and its containerd lack."""
    names = set(images)
    if docker:
        argv = ["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]
        names = set(node.ssh.run(argv).check().stdout.split())
    references = node.ssh.run([*_ctr(cluster), "ls", "--quiet"]).check().stdout
    present = {_short(reference) for reference in references.split()}
    return set(images) - names, set(images) - present


def _load(cluster: Cluster, node: Node, archive: str, lacking: tuple[set[str], set[str]]) -> None:
    for_docker, for_containerd = lacking
    if for_containerd:
        node.ssh.run([*_ctr(cluster), "import", archive], timeout_s=_LOAD_BOUND_S).check()
    if for_docker:
        node.ssh.run(["docker", "load", "--quiet", "--input", archive], timeout_s=_LOAD_BOUND_S).check()
    images = sorted(for_docker | for_containerd)
    left = set[str]().union(*_lacking(cluster, node, images, docker=bool(for_docker)))
    if left:
        raise ProvisionError(
            f"images are still missing after the load: {', '.join(sorted(left))}", where=node.name
        )


def _short(reference: str) -> str:
    """Return a containerd reference as Docker writes it."""
    return reference.removeprefix("docker.io/").removeprefix("library/")
