"""The config file: what to migrate, where to, and how it is fitted; checked before anything runs.

`--target lab` and `--target noop` are built-in configs over the sample input; a path is a
YAML file with the same keys. Unknown keys, limits without a unit and impossible numbers
end with exit code 2, all of them at once, each with its place and the nearest valid key.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from provisioners.errors import InputError
from verbs.limits import LimitTexts
from verbs.samples import SAMPLES

_MEMORY = re.compile(r"^[1-9]\d*([kmg]i?b?|b)?$", re.IGNORECASE)
_WHOLE = 100.0
_MARGIN = re.compile(r"^(\d+(?:\.\d+)?)\s*(%|ms)$")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TargetConfig(_Strict):
    """Which target: the embedded lab, the no-op twin, or clusters that exist."""

    kind: Literal["lab", "noop", "existing"]
    nodes: Annotated[int, Field(ge=3, le=5)] = 3
    kubeconfig: Path | None = None
    kube_context: str | None = None
    inventory: Path | None = None
    kube_system_uid: str | None = None
    swarm_id: str | None = None
    parts: list[str] | None = None  # lab only: platform parts; by default the profile decides
    break_: Annotated[str, Field(alias="break")] = ""  # no-op only: mutations for negative controls


class SubstituteConfig(_Strict):
    """A third-party service's image here, shown in the report, with its command and more environment."""

    image: str
    command: list[str] | None = None
    environment: dict[str, str] = Field(default_factory=dict)


class ServiceScale(_Strict):
    """What one service gets instead of the map's defaults."""

    replicas: Annotated[int, Field(ge=1, le=100)] | None = None
    cpus: Annotated[float, Field(gt=0, le=256)] | None = None
    memory: str | None = None


class ScaleConfig(ServiceScale):
    """One map that fits replicas and limits to the target, equal on both sides."""

    pin: bool = False
    health_interval_s: Annotated[float, Field(ge=1, le=3600)] | None = None
    services: dict[str, ServiceScale] = Field(default_factory=dict)

    @field_validator("memory")
    @classmethod
    def _memory(cls, value: str | None) -> str | None:
        if value is not None and not _MEMORY.match(value):
            message = f"{value!r} is not an amount of memory; write 256M or 1G"
            raise ValueError(message)
        return value


class PatchConfig(_Strict):
    """One change to a manifest of the Kubernetes side alone; shown in the report."""

    kind: str
    name: str
    path: str
    value: Any


class LoadConfig(_Strict):
    """The comparison: total rate of both sides, how long, and the margin fixed beforehand."""

    rate_per_s: Annotated[float, Field(gt=0, le=100_000)] | None = None
    duration_s: Annotated[float, Field(ge=1, le=86_400)] | None = None
    warmup_s: Annotated[float, Field(ge=0, le=600)] | None = None
    margin: str = "10%"
    margin_floor: str = "1ms"

    @field_validator("margin", "margin_floor")
    @classmethod
    def _margin(cls, value: str) -> str:
        match = _MARGIN.match(value)
        if not match:
            message = f"{value!r} has no unit; write 10% or 1ms"
            raise ValueError(message)
        if match[2] == "%" and float(match[1]) > _WHOLE:
            message = f"{value!r} is over 100 %"
            raise ValueError(message)
        if not math.isfinite(float(match[1])):
            message = f"{value[:20]!r}... is no finite number"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _some_margin(self) -> LoadConfig:
        if not any(float(_MARGIN.sub(r"\1", text)) for text in (self.margin, self.margin_floor)):
            message = (
                f"margin {self.margin!r} and margin_floor {self.margin_floor!r}: no run can show a margin of"
                " 0; give one of them, such as margin: 10%"
            )
            raise ValueError(message)
        return self


class WaiverConfig(_Strict):
    """A named person's decision that a FAIL does not block until a date."""

    criterion: str
    name: Annotated[str, Field(min_length=1)]
    reason: Annotated[str, Field(min_length=1)]
    until: date


class Config(_Strict):
    """Everything a run is told. Paths are relative to the config file."""

    target: TargetConfig
    compose: Annotated[list[Path], Field(min_length=1)]
    tiers: Path
    env_file: Path | None = None
    images: dict[str, str] = Field(default_factory=dict)
    substitutes: dict[str, SubstituteConfig] = Field(default_factory=dict)
    scale: ScaleConfig = ScaleConfig()
    entry: Literal["node", "ingress"] = "node"
    policies: bool | None = None
    ingress_domain: str = ""
    patches: list[PatchConfig] = Field(default_factory=list)
    load: LoadConfig = LoadConfig()
    ready_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 180.0
    waivers: list[WaiverConfig] = Field(default_factory=list)
    limits: LimitTexts = Field(default_factory=dict)
    signoffs: Path = Path("signoffs.yaml")
    inputs: Path | None = None
    runbooks: Path | None = None


@dataclass(frozen=True, slots=True)
class Margin:
    """The non-inferiority margin: the larger of a share and a floor."""

    share: float
    floor_ms: float


def margin_of(load: LoadConfig) -> Margin:
    """Return the margin as numbers; a `margin` in ms alone has share 0."""
    share, floor_ms = 0.0, 0.0
    for text in (load.margin, load.margin_floor):
        match = _MARGIN.match(text)
        if match is None or not math.isfinite(float(match[1])):
            raise InputError(f"{text!r} is no margin", next_step="write 10% or 1ms")
        if match[2] == "%":
            share = max(share, float(match[1]) / 100)
        else:
            floor_ms = max(floor_ms, float(match[1]))
    return Margin(share, floor_ms)


def load_config(target: str) -> Config:
    """Return the built-in config `lab` or `noop`, or read a config file.

    Raises:
        InputError: the file is missing, not YAML, or does not fit; every problem at once.
    """
    if target in ("lab", "noop"):
        return _built_in(target)
    path = Path(target)
    if not path.exists():
        names = "lab, noop, or a config file that exists"
        raise InputError(
            f"no target {target!r}", why="no file has that name", next_step=f"give --target {names}"
        )
    if path.is_dir():
        raise InputError(f"{path} is a folder", next_step="name the config file itself")
    from provisioners.compose import load_yaml

    raw = load_yaml(path)
    if not isinstance(raw, dict):
        raise InputError(
            "the config is not a mapping", where=str(path), next_step="begin with `target:` and `compose:`"
        )
    return _validate(raw, path)


def _validate(raw: dict[str, Any], path: Path) -> Config:
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        lines = [_problem(item) for item in error.errors()]
        raise InputError(
            f"{len(lines)} problem(s) in the config",
            where=str(path),
            why="; ".join(lines),
            next_step="correct these keys",
        ) from None
    _known_criteria(config, path)
    return _resolve(config, path.resolve().parent)


def _known_criteria(config: Config, path: Path) -> None:
    from reports.catalogue import catalogue

    known = {criterion.id for criterion in catalogue()}
    for waiver in config.waivers:
        if waiver.criterion not in known:
            near = difflib.get_close_matches(waiver.criterion, known, 1)
            raise InputError(
                f"waiver of {waiver.criterion!r}, which is no criterion",
                where=str(path),
                next_step=f"did you mean {near[0]!r}?" if near else "see `gonogo plan`",
            )


def _resolve(config: Config, base: Path) -> Config:
    def at(path: Path | None) -> Path | None:
        return None if path is None else base / path.expanduser()

    target = config.target
    return config.model_copy(
        update={
            "compose": [base / file.expanduser() for file in config.compose],
            "tiers": base / config.tiers.expanduser(),
            "env_file": at(config.env_file),
            "signoffs": at(config.signoffs),
            "inputs": at(config.inputs),
            "runbooks": at(config.runbooks),
            "target": target.model_copy(
                update={"kubeconfig": at(target.kubeconfig), "inventory": at(target.inventory)}
            ),
        }
    )


def _problem(item: Any) -> str:
    place = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        key = str(item["loc"][-1])
        near = difflib.get_close_matches(key, _keys_beside(item["loc"]), 1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        return f"{place}: unknown key{hint}"
    return f"{place}: {item['msg']}"


def _keys_beside(loc: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for part in loc[:-1]:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model = kind
                break
    return [field.alias or name for name, field in model.model_fields.items()]


def _built_in(kind: str) -> Config:
    raw: dict[str, Any] = {
        "target": {"kind": kind},
        "compose": ["docker-compose-mcp-orchestrator.yml", "overlay.yml"],
        "tiers": "tiers.yaml",
        "env_file": ".env.example",
        "images": {
            "*/sophia-*": "gonogo/mcp-{service}",
            "gonogo/*": "gonogo/{service}",
        },
        "substitutes": {
            "redis": {"image": "gonogo/redis"},
            "postgres": {"image": "gonogo/postgres"},
        },
        "scale": {"replicas": 1, "cpus": 0.5, "memory": "256M", "pin": True, "health_interval_s": 600},
    }
    # Answers of people lie beside the config; a built-in one has none, so where the run is started.
    raw["signoffs"] = str(Path("signoffs.yaml").absolute())
    if kind == "noop":
        raw["target"]["break"] = os.environ.get("GONOGO_BREAK", "")
        raw["load"] = {"rate_per_s": 120, "duration_s": 8, "warmup_s": 1}
    return _validate(raw, SAMPLES / f"{kind}.yaml")
