"""Images as data: layers, configurations and the archive by which an engine takes them in.

The archive has the form that `docker save` writes and every engine reads. Making it here
rather than by a build keeps shared layers shared, needs no running container for an
instruction, and gives the same configuration digest for the same sources.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CREATED = "1970-01-01T00:00:00Z"  # not the time of the build: it would make the digest another each time


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: the SHA-256 of its tar, and the tar as a file or as bytes."""

    digest: str
    content: Path | bytes

    @property
    def member(self) -> str:
        """The layer's name in an archive."""
        return f"{self.digest}/layer.tar"


class Image:
    """One named image; keywords are the fields of its run configuration (`Env`, `Cmd`, `User`, ...)."""

    def __init__(self, name: str, layers: Sequence[Layer], **settings: Any) -> None:
        self.name = name
        self.layers = tuple(layers)
        self.settings = settings

    def config(self) -> bytes:
        """Return the image's configuration; its SHA-256 is the image's id."""
        machine = platform.machine()
        body = {
            "architecture": _ARCHITECTURES.get(machine, machine),
            "os": "linux",
            "created": _CREATED,
            "config": {"Labels": {"gonogo": "lab"}, "WorkingDir": "/", **self.settings},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in self.layers]},
            "history": [{"created": _CREATED, "created_by": "gonogo"} for _ in self.layers],
        }
        return json.dumps(body, sort_keys=True).encode()


class Archive:
    """Images to be loaded together."""

    def __init__(self, images: Sequence[Image]) -> None:
        self._images = tuple(images)

    def write(self, path: Path, *, without: Collection[Layer] = ()) -> None:
        """Write the archive, leaving out layers that the engine is known to have."""
        layers = {layer.member: layer for image in self._images for layer in image.layers}
        rows = []
        with tarfile.open(path, "w") as tar:
            for layer in layers.values():
                if layer not in without:
                    _add(tar, layer.member, layer.content)
            for image in self._images:
                config = image.config()
                name = f"{hashlib.sha256(config).hexdigest()}.json"
                _add(tar, name, config)
                members = [layer.member for layer in image.layers]
                rows.append({"Config": name, "RepoTags": [image.name], "Layers": members})
            _add(tar, "manifest.json", json.dumps(rows).encode())


def file_layer(files: Mapping[str, tuple[int, bytes]]) -> Layer:
    """Return a layer that holds these files (mode and content by path), owned by root."""
    buffer = io.BytesIO()
    folders = sorted({str(folder) for name in files for folder in Path(name).parents} - {"."})
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, (mode, content) in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    content = buffer.getvalue()
    return Layer(hashlib.sha256(content).hexdigest(), content)


def _add(tar: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    if isinstance(content, Path):
        tar.add(content, arcname=name)
        return
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
