"""`gonogo doctor`: what this machine and the target lack, each with its fix."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from verbs.targets import provisioner_of

if TYPE_CHECKING:
    from provisioners.lab.preflight import Check


def doctor_command(target: str, *, json_output: bool) -> int:
    """Print every preflight check; returns 0, or 4 when one failed."""
    from verbs.config import load_config

    checks = provisioner_of(load_config(target)).preflight()
    if json_output:
        json.dump([asdict(check) for check in checks], sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        for check in checks:
            sys.stdout.write(_line(check))
    return 0 if all(check.ok for check in checks) else 4


def _line(check: Check) -> str:
    head = f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}\n"
    return head if check.ok or not check.fix else f"{head}     fix: {check.fix}\n"
