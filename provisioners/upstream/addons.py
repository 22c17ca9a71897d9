"""What K3s packs beside Kubernetes, as pods in kube-system: CoreDNS, local-path, metrics-server.

Their images hold one binary each and nothing else; they are made on the outer engine and
loaded into the nodes, for no registry is needed or asked.
"""

from __future__ import annotations

import string
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.base import Step
from provisioners.errors import ProvisionError
from provisioners.kube_apply import apply_object
from provisioners.lab.engine import start_engine
from provisioners.lab.paths import cache_dir
from provisioners.upstream.build import KUBERNETES, METRICS_SERVER, Module, binary, source_hash
from provisioners.upstream.layout import CLUSTER_DOMAIN, PAUSE_IMAGE, Layout
from provisioners.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provisioners.kube import Kube
    from provisioners.lab.engine import Engine

_MANIFESTS = Path(__file__).parent / "manifests"
_DEPLOYMENTS = ("coredns", "local-path-provisioner", "metrics-server")
_READY_BOUND_S = 120.0
_CRASHES = 3


def addon_images() -> tuple[str, ...]:
    """Return the names of the images that every node needs before pods can start."""
    return tuple(_recipes())


def image_step() -> Step:
    """Return the step that makes the images from the built binaries."""
    return Step(
        "add-on images",
        lambda say: make_images(start_engine(say), say),
        needs=(f"build {KUBERNETES.name}", f"build {METRICS_SERVER.name}"),
        done=lambda: all(start_engine(lambda _: None).has_image(name) for name in _recipes()),
    )


def make_images(engine: Engine, say: Callable[[str], None]) -> None:
    """Make the images that the engine lacks."""
    folder = cache_dir() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for name, files in _recipes().items():
        if engine.has_image(name):
            continue
        say(name)
        archive = folder / ".addon.tar"
        _pack(archive, files)
        entry = f'ENTRYPOINT ["/{next(iter(files))}"]'
        engine.run(["import", "--change", entry, "--change", "LABEL gonogo=lab", str(archive), name]).check()
        archive.unlink()


def apply_addons(layout: Layout, kube: Kube, say: Callable[[str], None]) -> None:
    """Apply the add-ons' objects; applying them twice changes nothing."""
    import yaml

    values = _values(layout)
    for path in sorted(_MANIFESTS.glob("*.yaml")):
        say(path.stem)
        text = string.Template(path.read_text(encoding="utf-8")).substitute(values)
        for body in yaml.safe_load_all(text):
            apply_object(kube, body)


def await_addons(kube: Kube, say: Callable[[str], None]) -> None:
    """Wait until every add-on is available and the metrics API answers."""
    wait_until(
        "add-ons are available",
        lambda: _lacking(kube),
        say,
        bound_s=_READY_BOUND_S,
        where="kube-system",
        next_step="kubectl -n kube-system get pods; kubectl -n kube-system describe pod NAME",
    )


def _lacking(kube: Kube) -> str:
    texts = []
    for name in _DEPLOYMENTS:
        found = kube.get(f"/apis/apps/v1/namespaces/kube-system/deployments/{name}")
        if found is None:
            texts.append(f"{name} is absent")
            continue
        status = found.get("status", {})
        seen = status.get("observedGeneration") == found["metadata"]["generation"]
        if not seen or status.get("unavailableReplicas") or not status.get("availableReplicas"):
            texts.append(name)
    if texts:
        _require_no_crash(kube)
    return ", ".join(texts)


def _require_no_crash(kube: Kube) -> None:
    """Raise ProvisionError, with its last log lines, for a container that keeps ending."""
    for pod in kube.list_all("/api/v1/namespaces/kube-system/pods").items:
        for container in pod.get("status", {}).get("containerStatuses", ()):
            waiting = container.get("state", {}).get("waiting") or {}
            if waiting.get("reason") == "CrashLoopBackOff" and container["restartCount"] >= _CRASHES:
                name = pod["metadata"]["name"]
                log = kube.log("kube-system", name, lines=8, previous=True)
                raise ProvisionError(
                    f"{container['name']} has ended {container['restartCount']} times",
                    where=f"kube-system/{name}",
                    why=log.strip().replace("\n", "\n        ") or "its log is empty",
                )


def _values(layout: Layout) -> Mapping[str, str]:
    return {
        "domain": CLUSTER_DOMAIN,
        "dns_address": layout.dns_address,
        "forward": "forward . /etc/resolv.conf" if layout.nameservers else "",
        "storage": layout.storage,
        "coredns": _tag("coredns", KUBERNETES),
        "local_path": _tag("local-path", KUBERNETES),
        "metrics_server": _tag("metrics-server", METRICS_SERVER),
    }


def _recipes() -> dict[str, dict[str, Path]]:
    """Return what is in each image: files by name; the first is what starts."""
    volume = binary(KUBERNETES, "volume")
    return {
        PAUSE_IMAGE: {"pause": binary(KUBERNETES, "pause")},
        _tag("coredns", KUBERNETES): {"coredns": binary(KUBERNETES, "coredns")},
        _tag("local-path", KUBERNETES): {
            "local-path-provisioner": binary(KUBERNETES, "local-path-provisioner"),
            "volume-setup": volume,
            "volume-teardown": volume,
        },
        _tag("metrics-server", METRICS_SERVER): {"metrics-server": binary(METRICS_SERVER, "metrics-server")},
    }


def _tag(name: str, module: Module) -> str:
    return f"gonogo/{name}:{source_hash(module)[:12]}"


def _pack(archive: Path, files: Mapping[str, Path]) -> None:
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, path in files.items():
            tar.add(path, arcname=name, filter=_plain)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o755
    return entry
