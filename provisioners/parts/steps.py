"""The steps by which the lab gets its platform parts: build, make images, load them, apply.

Parts start in turn, not at once: two cores that also run three nodes would only make all of them late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.base import Step
from provisioners.lab.engine import start_engine
from provisioners.lab.loader import load_images
from provisioners.lab.state import add_facts, read_facts
from provisioners.parts.base import PartContext
from provisioners.parts.images import base_file, build_base, debian_packages, image_names, make_images
from provisioners.upstream.build import build_step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provisioners.base import Cluster
    from provisioners.kube import Kube
    from provisioners.parts.base import Part

_BASE, _IMAGES, _LOAD = "parts base", "part images", "load part images"


def part_steps(
    parts: Sequence[Part],
    cluster: Callable[[], Cluster],
    kube: Callable[[], Kube],
    *,
    after_builds: tuple[str, ...],
    after_load: tuple[str, ...],
    after_cluster: tuple[str, ...],
) -> tuple[Step, ...]:
    """Return the steps of these parts, hung into the lab's own list at the three given places."""
    if not parts:
        return ()
    modules = list({module.name: module for part in parts for module in part.modules}.values())
    packages = debian_packages(parts)
    found: list[Step] = []
    before = after_builds
    for module in modules:  # in turn, for each uses all cores
        step = build_step(module, before)
        found.append(step)
        before = (step.name,)
    if packages:
        found.append(
            Step(_BASE, lambda say: build_base(packages, say), done=lambda: base_file(packages).exists())
        )
    needs = ["engine", *(f"build {module.name}" for module in modules), *([_BASE] if packages else [])]
    found.append(
        Step(
            _IMAGES,
            lambda say: make_images(start_engine(say), parts, say),
            needs=tuple(needs),
            done=lambda: all(start_engine(_quiet).has_image(name) for name in image_names(parts).values()),
        )
    )
    found.append(
        Step(
            _LOAD,
            lambda say: _load(cluster(), parts, say),
            needs=(_IMAGES, *after_load),
        )
    )
    before = (_LOAD, *after_cluster)
    for part in parts:
        step = Step(f"part {part.name}", _applying(part, parts, cluster, kube), needs=before)
        found.append(step)
        before = (step.name,)
    return tuple(found)


def _load(cluster: Cluster, parts: Sequence[Part], say: Callable[[str], None]) -> None:
    load_images(cluster, tuple(image_names(parts).values()), say, docker=False)


def _applying(
    part: Part, parts: Sequence[Part], cluster: Callable[[], Cluster], kube: Callable[[], Kube]
) -> Callable[[Callable[[str], None]], None]:
    def run(say: Callable[[str], None]) -> None:
        part.apply(PartContext(cluster(), kube(), image_names(parts)), say)
        there = set(filter(None, read_facts().get("parts", "").split(",")))
        add_facts({**part.facts, "parts": ",".join(sorted({*there, part.name}))})

    return run


def _quiet(_: str) -> None:
    return None
