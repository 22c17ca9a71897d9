"""A K3s binary that can be trusted: given, found, cached, or the pinned release with its sha256.

Order: the path given, $GONOGO_K3S_BIN, PATH, the cache, then the official release. A download
is believed only when its hash is the one that the release publishes (or the one given).
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from provisioners.errors import InputError, TargetRefused
from provisioners.shell import run

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = "v1.34.3+k3s1"
BASE_URL = "https://github.com/k3s-io/k3s/releases/download"
EXPECTED = "v1.34.3+k3s1 (v, three numbers, +k3s and a number)"

_VERSION = re.compile(r"v\d+\.\d+\.\d+(-rc\d+)?\+k3s\d+")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64", "armv7l": "arm"}
_FILES = {"amd64": "k3s", "arm64": "k3s-arm64", "arm": "k3s-armhf"}
_CHUNK = 1 << 20
_MOST_BYTES = 512 << 20
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class K3sBinary:
    """One K3s binary on this machine: where it is, what it says it is, and its hash."""

    path: Path
    version: str
    sha256: str
    source: str  # given | $GONOGO_K3S_BIN | PATH | cache | release


def check_version(version: str) -> str:
    """Return the version when it is a full K3s version; raises InputError that shows the form."""
    if _VERSION.fullmatch(version):
        return version
    why = "`latest` changes without notice" if version in {"latest", "stable"} else _what_lacks(version)
    raise InputError(
        f"{version!r} is no K3s version", where="K3s version", why=why, next_step=f"write it as {EXPECTED}"
    )


def find_binary(
    cache: Path,
    *,
    given: Path | None = None,
    version: str = VERSION,
    sha256: str = "",
    base_url: str = BASE_URL,
    say: Callable[[str], None] = lambda _: None,
) -> K3sBinary:
    """Return a K3s binary of this version, downloading the release when none is here.

    Raises TargetRefused when the binary is not K3s, or is not what its hash promises.
    """
    check_version(version)
    named = os.environ.get("GONOGO_K3S_BIN")
    if given or named:
        source = "given" if given else "$GONOGO_K3S_BIN"
        return _checked(Path(given or named or ""), source, sha256)  # its own version counts
    cached = cache / "k3s" / version / architecture() / "k3s"
    on_path = shutil.which("k3s")
    if on_path and binary_version(Path(on_path)) == version:
        return _checked(Path(on_path), "PATH", sha256)
    if cached.is_file():
        return _checked(cached, "cache", sha256 or _remembered(cached))
    download(cached, version, architecture(), sha256=sha256, base_url=base_url, say=say)
    return _checked(cached, "release", sha256)


def download(
    to: Path,
    version: str,
    arch: str,
    *,
    sha256: str = "",
    base_url: str = BASE_URL,
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Download a release's binary to `to`, which appears only when its sha256 is right."""
    folder = f"{base_url}/{quote(check_version(version), safe='')}"
    name = _FILES[arch]
    wanted = sha256 or _published_hash(f"{folder}/sha256sum-{arch}.txt", name)
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        found = _fetch(f"{folder}/{name}", partial, say)
        if found != wanted:
            raise TargetRefused(
                "the downloaded K3s is not the released one",
                where=f"{folder}/{name}",
                why=f"sha256 is {found}, expected {wanted}",
                next_step="download it again; if it differs again, something on the way changes it",
            )
        partial.chmod(0o755)
        to.with_name("sha256").write_text(f"{wanted}\n", encoding="ascii")
        partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)


def binary_version(path: Path) -> str:
    """Return the version that `k3s --version` says; raises TargetRefused when it is not K3s."""
    result = run([str(path), "--version"], timeout_s=30)
    words = result.stdout.split()
    if result.ok and words[:2] == ["k3s", "version"] and len(words) > 2:  # noqa: PLR2004 - k3s version X
        return words[2]
    raise TargetRefused(
        "this is not a K3s binary",
        where=str(path),
        why=(result.stderr or result.stdout).strip()[:300] or f"`--version` ended with {result.returncode}",
        next_step="point $GONOGO_K3S_BIN at a K3s binary for this machine's architecture",
    )


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def architecture(machine: str = "") -> str:
    """Return the release's word for a machine's architecture; raises TargetRefused for others."""
    name = machine or platform.machine()
    if name not in _ARCHITECTURES:
        raise TargetRefused(
            f"there is no K3s for {name}", why=f"releases exist for {', '.join(sorted(_ARCHITECTURES))}"
        )
    return _ARCHITECTURES[name]


def _checked(path: Path, source: str, sha256: str) -> K3sBinary:
    if not path.is_file() or not os.access(path, os.X_OK):
        raise TargetRefused(
            "the K3s binary is not an executable file",
            where=f"{path} ({source})",
            next_step="point $GONOGO_K3S_BIN at the binary, chmod +x it, or unset the variable",
        )
    found = file_sha256(path)
    if sha256 and found != sha256:
        raise TargetRefused(
            "the K3s binary is not the expected one",
            where=f"{path} ({source})",
            why=f"sha256 is {found}, expected {sha256}",
            next_step="remove the file or correct the hash",
        )
    return K3sBinary(path, check_version(binary_version(path)), found, source)


def _what_lacks(version: str) -> str:
    lacks = [] if version.startswith("v") else ["it does not begin with v"]
    lacks += [] if "+k3s" in version else ["+k3s and its number are missing"]
    return "; ".join(lacks) or "it has another form"


def _published_hash(url: str, name: str) -> str:
    with _open(url) as response:
        text = response.read(_CHUNK).decode("ascii", "replace")
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[1].lstrip("*").removeprefix("./") == name:  # noqa: PLR2004 - hash and name
            return str(words[0]).lower()
    raise TargetRefused("the release lists no hash for the binary", where=url, why=f"no line for {name}")


def _fetch(url: str, to: Path, say: Callable[[str], None]) -> str:
    """Write what is at `url` to a file and return its sha256; too much or too little is refused."""
    digest = hashlib.sha256()
    count = 0
    with _open(url) as response, to.open("wb") as file:
        total = int(response.headers.get("Content-Length") or 0)
        while chunk := response.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
            count += len(chunk)
            say(f"{count >> 20} of {total >> 20} MB" if total else f"{count >> 20} MB")
            if count > _MOST_BYTES:
                raise TargetRefused("the download does not end", where=url, why=f"over {count >> 20} MB")
    if total and count != total:
        raise TargetRefused("the download broke off", where=url, why=f"{count} of {total} bytes came")
    return digest.hexdigest()


def _open(url: str) -> Any:
    if not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
        raise InputError("K3s is downloaded over https only", where=url)
    request = urllib.request.Request(url, headers={"User-Agent": "gonogo"})  # noqa: S310 - checked above
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310 - checked above
    except (urllib.error.URLError, TimeoutError) as error:
        raise TargetRefused(
            "K3s cannot be downloaded",
            where=url,
            why=str(error),
            next_step="download the binary elsewhere and give its path in $GONOGO_K3S_BIN",
        ) from error


def _remembered(cached: Path) -> str:
    note = cached.with_name("sha256")
    return note.read_text(encoding="ascii").strip() if note.is_file() else ""
