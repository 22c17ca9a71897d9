"""Writes the converted project into a folder: manifests by tier, and losses.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from provisioners.compose.emit import to_yaml
from provisioners.compose.fit import Fit
from provisioners.compose.kubernetes import kubernetes_bundle
from provisioners.compose.losses import Loss, Outcome, losses_json
from provisioners.compose.naming import secret_object
from provisioners.compose.project import load_project
from provisioners.errors import InputError
from provisioners.tiers import Tiers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from provisioners.base import Bundle
    from provisioners.compose.reader import Duplicates

LOSSES_FILE = "losses.json"
_DEFAULT_TIERS = Tiers(namespace="default")


@dataclass(frozen=True, slots=True)
class ConvertResult:
    """What a conversion wrote: files below the folder, and what became of every leaf."""

    files: tuple[str, ...]
    losses: tuple[Loss, ...]
    keys: int

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
    """
    from provisioners.compose.losses import count_keys

    project = load_project(files, env=env, env_files=env_files, duplicates=duplicates)
    bundle, losses = kubernetes_bundle(project, tiers or _DEFAULT_TIERS, fit or Fit())
    texts = {**bundle.files, **_secret_files(bundle), LOSSES_FILE: losses_json(losses)}
    _write(out_dir, texts)
    return ConvertResult(tuple(sorted(texts)), losses, count_keys(project))


def _secret_files(bundle: Bundle) -> dict[str, str]:
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
        found[f"secrets/{name}.yaml"] = to_yaml(
            {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"}
        )
    return found


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    try:
        for name, text in texts.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            "the output cannot be written",
            where=str(folder),
            why=str(error.strerror),
            next_step="give another -o",
        ) from None
