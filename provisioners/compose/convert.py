"""Writes the converted project into a folder: manifests by tier, and losses.json."""

from __future__ import annotations

import contextlib
import gc
import os
from typing import TYPE_CHECKING, Any

from provisioners.compose.emit import to_yaml
from provisioners.compose.fit import Fit
from provisioners.compose.kubernetes import kubernetes_conversion
from provisioners.compose.losses import Loss, Outcome, count_keys, losses_json
from provisioners.compose.naming import secret_object
from provisioners.compose.project import load_project
from provisioners.compose.records import dataclass
from provisioners.compose.validate import check_objects
from provisioners.errors import InputError
from provisioners.tiers import Tiers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from provisioners.base import Bundle
    from provisioners.compose.model import Project
    from provisioners.compose.reader import Duplicates

LOSSES_FILE = "losses.json"
_DEFAULT_TIERS = Tiers(namespace="default")


@dataclass(frozen=True, slots=True)
class ConvertResult:
    """What a conversion wrote: files below the folder, and what became of every leaf."""

    files: tuple[str, ...]
    losses: tuple[Loss, ...]
    project: Project

    @property
    def keys(self) -> int:
        """How many leaves the input files have."""
        return count_keys(self.project)

    @property
    def refused(self) -> tuple[Loss, ...]:
        """The leaves that cannot be converted as they are."""
        return tuple(loss for loss in self.losses if loss.outcome == Outcome.REFUSED)


def convert(
    files: Sequence[Path],
    out_dir: Path,
    env: Mapping[str, str],
    env_files: Sequence[Path] = (),
    duplicates: Duplicates = "error",
    tiers: Tiers | None = None,
    fit: Fit | None = None,
) -> ConvertResult:
    """Convert compose files into manifests below `out_dir`; refused leaves are among the losses.

    Raises:
        InputError: the files cannot be read as compose files; every problem at once.
        ProvisionError: Kubernetes would refuse one of the manifests; nothing is written then.
    """
    with _no_collector():
        project = load_project(files, env=env, env_files=env_files, duplicates=duplicates)
        fit = fit or Fit()
        made = kubernetes_conversion(project, tiers or _DEFAULT_TIERS, fit)
        secrets = _secret_files(made.bundle)
        check_objects({**made.documents, **secrets}, patched=bool(fit.patches))
        texts = {
            **made.bundle.files,
            **{name: to_yaml(*bodies) for name, bodies in secrets.items()},
            LOSSES_FILE: losses_json(made.losses),
        }
        _write(out_dir, texts)
        return ConvertResult(tuple(sorted(texts)), made.losses, project)


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Nothing that is built meanwhile is garbage in a ring: the collector would walk it all for none."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # neither the next collection nor the end of the program need walk it
        if was:
            gc.enable()


def _secret_files(bundle: Bundle) -> dict[str, list[dict[str, Any]]]:
    """Secrets without their values: what they are called and how each one is made."""
    found = {}
    for key in sorted(bundle.secrets):
        name = secret_object(key)
        command = f"kubectl -n {bundle.namespace} create secret generic {name} --from-file={key}=FILE"
        metadata = {
            "name": name,
            "namespace": bundle.namespace,
            "annotations": {"gonogo.dev/create-with": command},
        }
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"}
        found[f"secrets/{name}.yaml"] = [body]
    return found


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write texts by their names below the folder, which is looked up once and not for every file."""
    try:
        for parent in {os.path.dirname(name) for name in texts}:  # noqa: PTH120  hundreds of names
            (folder / parent).mkdir(parents=True, exist_ok=True)
        root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name, text in texts.items():
                # half a character, from a variable that is no UTF-8, is written as its escape
                _write_file(root, name, text.encode(errors="backslashreplace"))
        finally:
            os.close(root)
    except OSError as error:
        raise InputError(
            "the output cannot be written",
            where=str(folder),
            why=str(error.strerror),
            next_step="give another -o",
        ) from None


def _write_file(root: int, name: str, content: bytes) -> None:
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666, dir_fd=root)
    try:
        while content:
            content = content[os.write(file, content) :]
    finally:
        os.close(file)
