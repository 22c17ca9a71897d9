"""Options by which a person gives a plan on Locust's command line, or in its web page's environment.

`offer(workloads)` is what a locustfile of one workload says; the rest is the same for all.
"""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locust import events

from loadtests import front
from loadtests.addresses import check_addresses
from loadtests.errors import LoadInputError
from loadtests.plan import LoadPlan, load_plan, make_plan
from loadtests.profile import (
    CALL_WORKLOADS,
    TOOLS_CALL,
    LoadProfile,
    LoadTargets,
    Server,
    ToolCall,
    profile_named,
)
from loadtests.shape import SHAPES

if TYPE_CHECKING:
    from collections.abc import Mapping

_logger = logging.getLogger("gonogo.load")


def offer(
    workloads: tuple[tuple[str, int], ...] | None = None, tools: Mapping[str, ToolCall] | None = None
) -> None:
    """Send these workloads, or the profile's own, to the server that the command line names.

    `tools` are the calls of a reference server for workloads other than tools/call.
    """

    def make(environment: Any) -> tuple[LoadPlan, Path]:
        options = environment.parsed_options
        if options.plan:
            folder = Path(options.plan)
            return load_plan(folder), folder
        plan = plan_of_options(options, workloads, tools or {})
        folder = Path(options.load_folder or tempfile.mkdtemp(prefix="gonogo-load-"))
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        plan.save(folder)
        _logger.info("exact samples go to %s", folder)
        return plan, folder

    events.init_command_line_parser.add_listener(_options)  # type: ignore[no-untyped-call]  # Locust is untyped
    front.offer(make)


def plan_of_options(
    options: Any, workloads: tuple[tuple[str, int], ...] | None, tools: Mapping[str, ToolCall]
) -> LoadPlan:
    """Return the plan of one server, or of one on each side; LoadInputError says what is missing."""
    host = options.host or ""
    if not (host or options.swarm_url):
        raise LoadInputError("nothing to load: give --swarm-url and --kubernetes-url, or --host")
    allowed = tuple(entry.strip() for entry in options.allow_host.split(",") if entry.strip())
    server = Server(
        "server",
        options.swarm_url or host,
        options.kubernetes_url or options.swarm_url or host,
        tool=options.tool,
        arguments=_arguments(options.arguments),
        calls=tools,
    )
    targets = LoadTargets((server,), allowed)
    check_addresses(targets)
    return make_plan(_profile(options, workloads), targets)


def weights(text: str) -> tuple[tuple[str, int], ...]:
    """Return the workloads of a text such as `health=1,tools/call=3`."""
    found = []
    for part in text.split(","):
        name, equals, weight = part.strip().rpartition("=")
        if not equals or not weight.isdigit():
            raise LoadInputError(
                f"load: {part.strip()!r} is not a workload and its weight, such as tools/call=3"
            )
        found.append((name, int(weight)))
    return tuple(found)


def _profile(options: Any, workloads: tuple[tuple[str, int], ...] | None) -> LoadProfile:
    profile = profile_named(options.load_profile)
    chosen = weights(options.weights) if options.weights else workloads or profile.workloads
    names = {name for name, _ in chosen}
    return replace(
        profile,
        workloads=chosen,
        advisory=tuple(name for name in profile.advisory if name in names),
        rate_per_s=options.load_rate or profile.rate_per_s,
        duration_s=options.load_duration or profile.duration_s,
        warmup_s=profile.warmup_s if options.load_warmup is None else options.load_warmup,
        shape=options.load_shape or profile.shape,
    )


def _arguments(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise LoadInputError(f"load: --arguments is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise LoadInputError('load: --arguments must be a JSON object, such as {"query": "x"}')
    return found


def _options(parser: Any) -> None:
    group = parser.add_argument_group("Planned load")

    def add(name: str, default: object, text: str, **more: Any) -> None:
        variable = f"GONOGO_{name.upper().replace('-', '_')}"
        group.add_argument(f"--{name}", env_var=variable, default=default, help=text, **more)

    group.add_argument("--plan", env_var="GONOGO_LOAD_PLAN", default="", help="Folder with plan.json.")
    add("swarm-url", "", "One server, side one; --host is both sides.")
    add("kubernetes-url", "", "The same server, side two.")
    add("allow-host", "", "Hosts besides loopback, by comma.")
    add("tool", "describe", f"The tool that {TOOLS_CALL} calls.")
    add("arguments", "{}", "Its arguments, as a JSON object.")
    add("load-folder", "", "Folder of the plan and the exact samples.")
    add("load-profile", "smoke", "smoke, nightly, cutover, ramp, spike or soak.")
    add("load-rate", 0.0, "Requests a second, at the shape's highest; 0 takes the profile's.", type=float)
    add("load-duration", 0.0, "Seconds after the warm-up; 0 takes the profile's.", type=float)
    add("load-warmup", None, "Seconds that are sent and not judged.", type=float)
    add("load-shape", "", f"{', '.join(SHAPES)}; the profile's own by default.")
    add("weights", "", f"Workloads, such as health=1,tools/call=3 (also {', '.join(CALL_WORKLOADS[1:])}).")
