"""`gonogo convert`: compose files to manifests by tier and losses.json, or lint of manifests."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import sys
from collections import Counter
from typing import TYPE_CHECKING

from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*\Z")


def convert_command(
    files: Sequence[Path],
    out: Path | None,
    *,
    env_files: Sequence[Path],
    duplicates: str,
    lint: Path | None,
    json_output: bool,
    tiers: Path | None = None,
    policies: bool = True,
    ingress_domain: str = "",
    wait_image: str = "",
) -> int:
    """Convert, or lint; returns 0, 1 with lint findings, 2 when a leaf was refused.

    `tiers` is a file of one's own in place of the sample's; a file of the core platform goes to the
    namespace that its `core` section names. `policies` makes network policies.
    """
    if lint is not None:
        return _lint(lint, json_output=json_output)
    if not files or out is None:
        raise InputError(
            "convert needs compose files and -o DIR",
            next_step="gonogo convert docker-compose.yml -o manifests",
        )
    if duplicates not in ("error", "last"):
        raise InputError(
            f"--duplicates {duplicates!r} is neither error nor last", next_step="choose one of them"
        )
    if ingress_domain and not _DOMAIN.match(ingress_domain):
        raise InputError(
            f"--ingress {ingress_domain!r} is no domain", next_step="give one such as apps.example.com"
        )
    with _no_collector():
        from provisioners.compose import Fit, convert, losses_json
        from provisioners.tiers import load_tiers
        from verbs.samples import SAMPLES

        result = convert(
            list(files),
            out,
            env=dict(os.environ),
            env_files=list(env_files),
            duplicates="last" if duplicates == "last" else "error",
            tiers=load_tiers(tiers or SAMPLES / "tiers.yaml"),
            fit=Fit(policies=policies, ingress_domain=ingress_domain, wait_image=wait_image),
        )
    if json_output:
        sys.stdout.write(losses_json(result.losses))
    outcomes = Counter(str(loss.outcome) for loss in result.losses)
    sys.stderr.write(
        f"{len(result.files)} files in {out}; "
        + ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        + f"; see {out / 'losses.json'}\n"
    )
    refused = [loss for loss in result.losses if loss.outcome == "refused"]
    for loss in refused:
        sys.stderr.write(f"{loss.file}:{loss.line}: refused {loss.path}: {loss.detail}\n")
    return 2 if refused else 0


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Loading modules makes no garbage: each look of the collector at them would find none."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _lint(folder: Path, *, json_output: bool) -> int:
    from dataclasses import asdict

    from provisioners.compose.lint import lint_folder

    linted = lint_folder(folder)
    if json_output:
        json.dump([asdict(finding) for finding in linted.findings], sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        for finding in linted.findings:
            sys.stdout.write(f"{finding}\n")
    skipped = f"; skipped: {', '.join(linted.skipped)}" if linted.skipped else ""
    sys.stderr.write(
        f"{linted.objects} objects in {linted.files} files, {len(linted.findings)} findings{skipped}\n"
    )
    return 1 if linted.findings else 0
