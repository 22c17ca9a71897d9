"""The images of platform parts: one binary each, or one Debian root file system under many names."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tarfile
from typing import TYPE_CHECKING

from provisioners.lab.archive import Archive, Image, Layer
from provisioners.lab.debian import SUITE, pack_root, root_filesystem
from provisioners.lab.paths import cache_dir
from provisioners.parts.base import BinaryImage, DebianImage
from provisioners.shell import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from provisioners.lab.engine import Engine
    from provisioners.parts.base import Part

_PREFIX = "gonogo/"
_RECIPE = 1  # raise it when the code below makes something else of the same inputs
_BOUND_S = 300.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BASE_PACKAGES = ("ca-certificates", "curl", "python3-minimal")


def debian_packages(parts: Sequence[Part]) -> tuple[str, ...]:
    """Return the Debian packages of all parts together, each once; none when no part has any."""
    found = {package for part in parts for package in part.debian}
    return tuple(sorted(found.union(_BASE_PACKAGES))) if found else ()


def image_names(parts: Sequence[Part]) -> Mapping[str, str]:
    """Return the full names of the parts' images by short name; the binaries have to be built."""
    packages = debian_packages(parts)
    return {image.name: _tagged(image, packages) for part in parts for image in part.images()}


def build_base(packages: Sequence[str], say: Callable[[str], None]) -> None:
    """Make the shared root file system as a tar in the cache; a killed call leaves nothing that is used."""
    archive = base_file(packages)
    archive.parent.mkdir(parents=True, exist_ok=True)
    with root_filesystem("parts", packages, say) as root:
        for folder in ("usr/share/doc", "usr/share/man", "var/lib/apt/lists", "var/cache/apt"):
            run(["rm", "-rf", str(root / folder)]).check()
        say("packing")
        pack_root(root, archive)


def base_file(packages: Sequence[str]) -> Path:
    """Return where the shared root file system of these packages lies in the cache, made or not."""
    return cache_dir() / "parts" / f"base-{_base_key(packages)}.tar"


def make_images(engine: Engine, parts: Sequence[Part], say: Callable[[str], None]) -> None:
    """Put the parts' images into the outer engine, those that it lacks."""
    packages = debian_packages(parts)
    wanted = [image for part in parts for image in part.images()]
    lacking = [image for image in wanted if not engine.has_image(_tagged(image, packages))]
    debian = [image for image in lacking if isinstance(image, DebianImage)]
    if debian:
        say(f"loading {', '.join(image.name for image in debian)}")
        _load_debian(engine, debian, packages)
    for image in lacking:
        if isinstance(image, BinaryImage):
            say(f"loading {image.name}")
            _load_binary(engine, image, packages)


def _load_debian(engine: Engine, images: Sequence[DebianImage], packages: Sequence[str]) -> None:
    tar = base_file(packages)
    layer = Layer(tar.with_suffix(".sha256").read_text(encoding="ascii"), tar)
    made = [
        Image(
            _tagged(image, packages),
            (layer,),
            Entrypoint=list(image.command),
            User=image.user,
            Env=[f"PATH={_PATH}"],
        )
        for image in images
    ]
    path = tar.with_name(f"load-{os.getpid()}.tar")
    try:
        Archive(made).write(path)
        engine.run(["load", "--quiet"], stdin=path, timeout_s=_BOUND_S).check(
            "is the disk full? docker system df"
        )
    finally:
        path.unlink(missing_ok=True)


def _load_binary(engine: Engine, image: BinaryImage, packages: Sequence[str]) -> None:
    path = cache_dir() / "images" / f".part-{image.name}-{os.getpid()}.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(path, "w") as tar:
            for name, file in image.files.items():
                entry = tar.gettarinfo(str(file), arcname=name)
                entry.uid = entry.gid = 0
                entry.uname = entry.gname = "root"
                entry.mode = 0o755
                with file.open("rb") as stream:
                    tar.addfile(entry, stream)
        entry_point = f'ENTRYPOINT ["/{next(iter(image.files))}"]'
        argv = ["import", "--change", entry_point, "--change", "LABEL gonogo=lab"]
        engine.run([*argv, str(path), _tagged(image, packages)], timeout_s=_BOUND_S).check()
    finally:
        path.unlink(missing_ok=True)


def _tagged(image: BinaryImage | DebianImage, packages: Sequence[str]) -> str:
    if isinstance(image, DebianImage):
        text = json.dumps([_base_key(packages), image.command, image.user])
    else:
        # A binary's folder is named by the hash of its sources, and a file of our own by what it holds.
        words = [
            file.parent.name if file.parent.parent.name == "bin" else _sha(file)
            for file in image.files.values()
        ]
        text = json.dumps([_RECIPE, list(image.files), words])
    return f"{_PREFIX}{image.name}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _sha(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _base_key(packages: Sequence[str]) -> str:
    recipe = [_RECIPE, SUITE, platform.machine(), sorted(packages)]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]
