"""Where the sample input lies: apart from the config's models, which take long to import."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "fixtures" / "manifests"
