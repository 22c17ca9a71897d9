"""Which compose keys arrive in the output of each contender: found by changing a value and looking.

Two files differ in the value of one key. If the outputs differ too, the value arrives (`kept`).
If they do not, it counts whether the contender says so: `told` when it names the key among its
losses or warnings, or says another thing, `lost` when not. `refused` is a file that it will not convert.

Contenders are gonogo, kompose where it is installed, and what people write themselves: a short
script over `yaml.safe_load`, printed below in full.
"""

from __future__ import annotations

import copy
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.common import Row, ToolFailed, installed, not_measured, run_tool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KEPT, TOLD, LOST, REFUSED = "kept", "told", "lost", "refused"
GONOGO, KOMPOSE, SCRIPT = "gonogo", "kompose", "own script"

# The project around the key that changes. Every reference in the variants below is defined here.
_BASE = """
services:
  web:
    image: example/web:1
    ports: ["8080:80"]
    healthcheck: {test: [CMD, curl, -f, "http://localhost:80/health"]}
    deploy: {replicas: 2}
  other: {image: example/other:1, expose: ["81"]}
networks: {inner: {}, outer: {}}
volumes: {data: {}, more: {}}
secrets: {key: {external: true}, pass: {external: true}}
configs: {rules: {content: "a"}, words: {content: "b"}}
"""

# path below the service: the two values
_VARIANTS: dict[str, tuple[str, str]] = {
    "image": ("example/web:1", "example/web:2"),
    "command": ("[serve, one]", "[serve, two]"),
    "entrypoint": ("[run, one]", "[run, two]"),
    "environment": ("{MODE: one}", "{MODE: two}"),
    "env_file": ("[one.env]", "[two.env]"),
    "ports": ('["8080:80"]', '["8080:80", "8081:81"]'),
    "ports.published": ('["8080:80"]', '["9090:80"]'),
    "ports.protocol": ('["8080:80/tcp"]', '["8080:80/udp"]'),
    "expose": ('["90"]', '["91"]'),
    "volumes.source": ('["data:/srv"]', '["more:/srv"]'),
    "volumes.target": ('["data:/srv"]', '["data:/opt"]'),
    "volumes.read_only": ('["data:/srv"]', '["data:/srv:ro"]'),
    "volumes.tmpfs": (
        "[{type: tmpfs, target: /t, tmpfs: {size: 1048576}}]",
        "[{type: tmpfs, target: /t, tmpfs: {size: 2097152}}]",
    ),
    "secrets": ("[key]", "[pass]"),
    "secrets.mode": ("[{source: key, mode: '0440'}]", "[{source: key, mode: '0400'}]"),
    "configs": ("[{source: rules, target: /r}]", "[{source: words, target: /r}]"),
    "networks": ("[inner]", "[outer]"),
    "networks.aliases": ("{inner: {aliases: [site]}}", "{inner: {aliases: [page]}}"),
    "depends_on": ("[]", "[other]"),
    "labels": ("{team: one}", "{team: two}"),
    "annotations": ("{team: one}", "{team: two}"),
    "hostname": ("one", "two"),
    "domainname": ("one.example.com", "two.example.com"),
    "container_name": ("one", "two"),
    "user": ('"1000"', '"2000"'),
    "group_add": ('["1000"]', '["2000"]'),
    "working_dir": ("/one", "/two"),
    "init": ("false", "true"),
    "tty": ("false", "true"),
    "stdin_open": ("false", "true"),
    "privileged": ("false", "true"),
    "read_only": ("false", "true"),
    "cap_add": ("[NET_ADMIN]", "[SYS_TIME]"),
    "cap_drop": ("[NET_RAW]", "[ALL]"),
    "security_opt": ("[no-new-privileges:false]", "[no-new-privileges:true]"),
    "sysctls": ("{net.core.somaxconn: 128}", "{net.core.somaxconn: 256}"),
    "ulimits": ("{nofile: 1024}", "{nofile: 2048}"),
    "devices": ('["/dev/fuse:/dev/fuse"]', '["/dev/kvm:/dev/kvm"]'),
    "dns": ("[192.0.2.1]", "[192.0.2.2]"),
    "dns_search": ("[one.example.com]", "[two.example.com]"),
    "dns_opt": ('["ndots:1"]', '["ndots:2"]'),
    "extra_hosts": ('["a.example.com:192.0.2.1"]', '["a.example.com:192.0.2.2"]'),
    "tmpfs": ("[/one]", "[/two]"),
    "shm_size": ("64M", "128M"),
    "pid": ('""', "host"),
    "ipc": ("private", "host"),
    "network_mode": ("bridge", "host"),
    "runtime": ("runc", "nvidia"),
    "restart": ("always", '"no"'),
    "pull_policy": ("always", "never"),
    "platform": ("linux/amd64", "linux/arm64"),
    "stop_signal": ("SIGTERM", "SIGQUIT"),
    "stop_grace_period": ("20s", "40s"),
    "logging": ("{driver: json-file}", "{driver: syslog}"),
    "mem_limit": ("128M", "256M"),
    "mem_reservation": ("64M", "32M"),
    "cpus": ("0.5", "0.25"),
    "cpu_shares": ("512", "256"),
    "pids_limit": ("100", "200"),
    "scale": ("2", "3"),
    "gpus": ("[{count: 1}]", "[{count: 2}]"),
    "post_start": ("[{command: [sh, one]}]", "[{command: [sh, two]}]"),
    "pre_stop": ("[{command: [sh, one]}]", "[{command: [sh, two]}]"),
    "healthcheck.test": ("[CMD, one]", "[CMD, two]"),
    "healthcheck.interval": ("10s", "20s"),
    "healthcheck.timeout": ("3s", "4s"),
    "healthcheck.retries": ("3", "5"),
    "healthcheck.start_period": ("30s", "90s"),
    "healthcheck.start_interval": ("1s", "2s"),
    "healthcheck.disable": ("false", "true"),
    "deploy.mode": ("replicated", "global"),
    "deploy.replicas": ("2", "3"),
    "deploy.labels": ("{team: one}", "{team: two}"),
    "deploy.endpoint_mode": ("vip", "dnsrr"),
    "deploy.resources.limits.cpus": ('"0.5"', '"0.25"'),
    "deploy.resources.limits.memory": ("128M", "256M"),
    "deploy.resources.limits.pids": ("100", "200"),
    "deploy.resources.reservations.cpus": ('"0.1"', '"0.2"'),
    "deploy.resources.reservations.memory": ("32M", "64M"),
    "deploy.resources.reservations.devices": (
        "[{capabilities: [gpu], driver: nvidia, count: 1}]",
        "[{capabilities: [gpu], driver: nvidia, count: 2}]",
    ),
    "deploy.restart_policy.condition": ("any", "none"),
    "deploy.restart_policy.max_attempts": ("3", "4"),
    "deploy.update_config.parallelism": ("1", "2"),
    "deploy.update_config.order": ("stop-first", "start-first"),
    "deploy.update_config.delay": ("5s", "20s"),
    "deploy.update_config.monitor": ("5s", "60s"),
    "deploy.update_config.failure_action": ("pause", "rollback"),
    "deploy.placement.constraints": ("[node.labels.zone == a]", "[node.labels.zone == b]"),
    "deploy.placement.preferences": ("[{spread: node.labels.zone}]", "[{spread: node.labels.rack}]"),
    "deploy.placement.max_replicas_per_node": ("1", "2"),
}


def rows() -> list[Row]:
    """Return a row for each contender: how many of the keys arrive, and which are lost in silence."""
    found = []
    for name, status in _statuses().items():
        counts = Counter(status.values())
        lost = [key for key, word in status.items() if word == LOST]
        note = ", ".join(f"{counts[word]} {word}" for word in (KEPT, TOLD, REFUSED, LOST))
        note += f"; lost: {', '.join(lost)}" if lost and len(lost) <= len(status) // 4 else ""
        found.append(
            Row("", f"{name}: compose keys that arrive, of {len(status)}", counts[KEPT], "", note=note)
        )
    if not installed(KOMPOSE):
        found.append(not_measured("", f"{KOMPOSE}: compose keys that arrive", "", "it is not installed"))
    return found


def table() -> str:
    """Return the table of all keys, one line each, and the script of our own."""
    statuses = _statuses()
    lines = [f"{'key':44}" + "".join(f"{name:12}" for name in statuses)]
    lines += [f"{key:44}" + "".join(f"{status[key]:12}" for status in statuses.values()) for key in _VARIANTS]
    if not installed(KOMPOSE):
        lines.append("kompose is not installed, and left out")
    return "\n".join(lines)


def kompose_argv(source: Path, out: Path) -> list[str]:
    """Return the command that converts a file into a folder of manifests with kompose."""
    return [installed(KOMPOSE) or KOMPOSE, "convert", "-f", str(source), "-o", str(out)]


# -- what is compared ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Output:
    """What a contender wrote, by file name, and what it said; None for a file that it will not convert."""

    files: Mapping[str, bytes] | None
    said: str


def _statuses() -> dict[str, dict[str, str]]:
    contenders: dict[str, Callable[[Path], _Output]] = {GONOGO: _gonogo, SCRIPT: _script}
    if installed(KOMPOSE):
        contenders[KOMPOSE] = _kompose
    return {
        name: {key: _status(convert, key, values) for key, values in _VARIANTS.items()}
        for name, convert in contenders.items()
    }


def _status(convert: Callable[[Path], _Output], key: str, values: tuple[str, str]) -> str:
    one, other = (_converted(convert, key, value) for value in values)
    if one.files is None or other.files is None:
        return REFUSED
    if one.files != other.files:
        return KEPT
    named = all(step in other.said for step in key.split("."))
    return TOLD if named or one.said != other.said else LOST


def _converted(convert: Callable[[Path], _Output], key: str, value: str) -> _Output:
    with tempfile.TemporaryDirectory(prefix="gonogo-keys-") as name:
        folder = Path(name) / "project"
        folder.mkdir()
        for word in ("one", "two"):
            (folder / f"{word}.env").write_text(f"MODE={word}\n")
        path = folder / "compose.yml"
        path.write_text(yaml.safe_dump(_project(key, value)), encoding="utf-8")
        output = convert(path)
        # both files lie in folders of their own, whose names are no difference
        files = output.files and {k: v.replace(name.encode(), b"") for k, v in output.files.items()}
        return _Output(files, output.said.replace(name, ""))


def _project(key: str, value: str) -> dict[str, Any]:
    """Return the base project with one key of its service `web` set; `ports.published` sets `ports`."""
    project: dict[str, Any] = yaml.safe_load(_BASE)
    steps = key.split(".")
    if steps[0] not in ("deploy", "healthcheck"):
        steps = steps[:1]
    node = project["services"]["web"]
    for step in steps[:-1]:
        node = node.setdefault(step, {})
    node[steps[-1]] = yaml.safe_load(value)
    if steps[0] in ("scale", "gpus"):
        del project["services"]["web"]["deploy"]
    return copy.deepcopy(project)


# -- contenders ----------------------------------------------------------------------------


def _gonogo(path: Path) -> _Output:
    from provisioners.compose import convert
    from provisioners.errors import InputError

    out = path.parent / "out"
    try:
        result = convert([path], out, {})
    except InputError as error:
        return _Output(None, str(error))
    if result.refused:
        return _Output(None, str(result.refused))
    told = [f"{loss.path}: {loss.detail}" for loss in result.losses if loss.outcome != "converted"]
    return _Output(_read(out), "\n".join(told))


def _kompose(path: Path) -> _Output:
    out = path.parent / "out"
    out.mkdir()
    try:
        done = run_tool(kompose_argv(path, out), timeout_s=30.0, cwd=path.parent)
    except ToolFailed as error:
        return _Output(None, str(error))
    return _Output(_read(out), done.output)


def _script(path: Path) -> _Output:
    """What people write themselves: the keys that everybody thinks of, and no word of the others."""
    project = yaml.safe_load(path.read_text(encoding="utf-8"))
    documents = []
    for name, service in project["services"].items():
        environment = service.get("environment", {})
        if isinstance(environment, list):
            environment = dict(item.split("=", 1) for item in environment)
        deploy = service.get("deploy", {})
        limits = deploy.get("resources", {}).get("limits", {})
        ports = [int(str(port).split(":")[-1].split("/")[0]) for port in service.get("ports", [])]
        container = {
            "name": name,
            "image": service["image"],
            "command": service.get("entrypoint"),
            "args": service.get("command"),
            "env": [{"name": key, "value": str(value)} for key, value in environment.items()],
            "ports": [{"containerPort": port} for port in ports],
            "resources": {"limits": {key: str(value) for key, value in limits.items() if key != "pids"}},
        }
        metadata = {"name": name, "labels": {"app": name}}
        template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
        spec = {"replicas": deploy.get("replicas", 1), "selector": {"matchLabels": {"app": name}}}
        documents += [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": metadata,
                "spec": {**spec, "template": template},
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": {"selector": {"app": name}, "ports": [{"port": port} for port in ports]},
            },
        ]
    return _Output({"all.yaml": yaml.safe_dump_all(documents).encode()}, "")


def _read(folder: Path) -> dict[str, bytes]:
    """Return what is written for the cluster: not what is said about it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "losses.json"
    }
