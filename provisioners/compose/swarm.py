"""A project as one stack file for `docker stack deploy`, fitted as the Kubernetes side is.

Files beside the compose file travel as configs, so that no node needs them; every `$` is
doubled, because the stack file is interpolated once more when it is deployed.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from provisioners.base import Bundle, Side
from provisioners.compose import units
from provisioners.compose.emit import to_yaml
from provisioners.compose.fit import Fit, Shape, shapes
from provisioners.compose.following import follow_value
from provisioners.compose.kubernetes import service_specs
from provisioners.compose.naming import legal, legal_names
from provisioners.compose.nodes import place, plain
from provisioners.compose.prepare import prepared
from provisioners.compose.records import dataclass
from provisioners.compose.references import content_of, missing, secret_key
from provisioners.compose.swarm_deploy import deploy_of, health_of
from provisioners.compose.swarm_values import body_of, doubled, texts
from provisioners.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from provisioners.compose.model import FileRef, Mount, Port, Project, Service
    from provisioners.tiers import Tiers

Object = dict[str, object]

STACK_FILE = "stack.yml"
_VERSION = "3.9"
# Keys that `docker stack deploy` reads and that need no change on the way.
_KEPT = frozenset(
    [
        "cap_add",
        "cap_drop",
        "credential_spec",
        "dns",
        "dns_search",
        "domainname",
        "extra_hosts",
        "init",
        "isolation",
        "read_only",
        "stdin_open",
        "stop_signal",
        "sysctls",
        "tmpfs",
        "tty",
        "ulimits",
    ]
)


def swarm_bundle(project: Project, tiers: Tiers, fit: Fit) -> Bundle:
    """Return the Swarm side of a project.

    Raises:
        InputError: the value of a secret or a mounted file is not there; all are named.
    """
    project, tiers = prepared(project), tiers.fitting(project.services)
    stack = _Stack(project, fit, shapes(project, tiers, fit), legal_names(project.services, "services"))
    document = stack.document()
    if stack.problems:
        raise InputError(
            f"{len(stack.problems)} thing(s) that the stack needs are not there",
            why="; ".join(stack.problems),
            next_step="put them in place, or take them out of the compose file",
        )
    return Bundle(
        side=Side.SWARM,
        namespace=fit.stack,
        files={STACK_FILE: to_yaml(document), **stack.files},
        services=service_specs(project, tiers, stack.shaped),
        secrets=stack.secrets,
    )


@dataclass(frozen=True, slots=True)
class _Stack:
    project: Project
    fit: Fit
    shaped: dict[str, Shape]
    names: dict[str, str]
    files: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict)
    configs: Object = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def document(self) -> Object:
        services = {self.names[key]: self._service(service) for key, service in self.project.services.items()}
        sections = {
            "services": services,
            "networks": self._networks(),
            "volumes": {name: body_of(volume.body) for name, volume in self.project.volumes.items()},
            "secrets": self._secrets(),
            "configs": {**self._top_configs(), **self.configs},
        }
        given = {key: value for key, value in sections.items() if value}
        # Docker 25 and later know `start_interval`, in a file that names no version; the older
        # ones, which do not, refuse a file without one.
        document = given if "start_interval" in str(sections["services"]) else {"version": _VERSION, **given}
        whole = doubled(document)
        return whole if isinstance(whole, dict) else {}

    # -- services --------------------------------------------------------------------------

    def _service(self, service: Service) -> Object:
        shape = self.shaped[service.name]
        mounts, configs, secrets = self._mounts(service)
        parts: dict[str, object] = {
            "image": shape.image,
            "entrypoint": list(service.entrypoint.value) if service.entrypoint else None,
            "command": self._command(service, shape),
            "environment": self._environment(service, shape),
            "user": service.user.value if service.user else None,
            "working_dir": service.working_dir.value if service.working_dir else None,
            "hostname": service.hostname.value if service.hostname else None,
            "ports": [self._port(port) for port in service.ports],
            "networks": self._joined(service),
            "volumes": mounts,
            "secrets": [
                *secrets,
                *map(_reference, service.secrets),
            ],
            "configs": [
                *configs,
                *map(_reference, service.configs),
            ],
            "healthcheck": health_of(service.healthcheck, self.fit.health_interval_s)
            if service.healthcheck
            else None,
            "labels": {var.name: var.value or "" for var in service.labels},
            "logging": plain(service.others.get("logging")),
            "stop_grace_period": units.docker_duration(service.stop_grace_s.value)
            if service.stop_grace_s
            else None,
            "deploy": deploy_of(service, shape, self.fit),
        }
        kept = {key: texts(node) for key, node in service.others.items() if key in _KEPT}
        return {**{key: value for key, value in parts.items() if value not in (None, [], {})}, **kept}

    def _command(self, service: Service, shape: Shape) -> list[str] | None:
        if shape.command is not None:
            return list(shape.command)
        return list(service.command.value) if service.command else None

    def _environment(self, service: Service, shape: Shape) -> dict[str, str]:
        renamed = {old: new for old, new in self.names.items() if old != new}
        given = {var.name: var.value for var in (*service.file_environment, *service.environment)}
        found = {
            name: follow_value(name, value, renamed).text
            for name, value in given.items()
            if value is not None
        }
        return {**found, **shape.environment}

    def _port(self, port: Port) -> Object:
        mode = "host" if self.fit.entry == "node" else port.mode
        found: Object = {"target": port.target, "protocol": port.protocol, "mode": mode}
        if port.published is not None:
            found["published"] = port.published
        return found

    def _joined(self, service: Service) -> object:
        """Networks by name; a renamed service keeps its old name there too."""
        old = [service.name] if self.names[service.name] != service.name else []
        names = {
            ref.name: [*ref.aliases, *old] for ref in service.networks if ref.name in self.project.networks
        }
        if not names and old:
            names = {"default": old}
        if any(names.values()):
            return {name: {"aliases": aliases} if aliases else None for name, aliases in names.items()}
        return list(names)

    # -- mounts ----------------------------------------------------------------------------

    def _mounts(self, service: Service) -> tuple[list[Object], list[Object], list[Object]]:
        mounts: list[Object] = []
        configs: list[Object] = []
        secrets: list[Object] = []
        for index, mount in enumerate(service.mounts):
            if mount.kind == "bind" and not mount.source.startswith(("/", "~")):
                self._files(f"{legal(service.name)}-files-{index}", mount, configs, secrets)
            elif mount.kind == "tmpfs":
                size = {"tmpfs": {"size": mount.size_bytes}} if mount.size_bytes else {}
                mounts.append({"type": "tmpfs", "target": mount.target, **size})
            else:
                kind = "volume" if mount.kind == "anonymous" else mount.kind
                body: Object = {"type": kind, "target": mount.target}
                if mount.source:
                    body["source"] = mount.source
                if mount.read_only:
                    body["read_only"] = True
                mounts.append(body)
        return mounts, configs, secrets

    def _files(self, name: str, mount: Mount, configs: list[Object], secrets: list[Object]) -> None:
        path = self.project.folder / mount.source
        if not path.exists():
            self.problems.append(f"{place(mount.at)}: {mount.source} is not there")
            return
        files = sorted(item for item in path.iterdir() if item.is_file()) if path.is_dir() else [path]
        for number, file in enumerate(files):
            target = f"{mount.target.rstrip('/')}/{file.name}" if path.is_dir() else mount.target
            self._file(f"{name}-{number}", file, target, configs, secrets)

    def _file(self, name: str, file: Path, target: str, configs: list[Object], secrets: list[Object]) -> None:
        content = file.read_bytes()
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = None
        if text is None or file.suffix in {".key", ".pem"}:
            self.secrets[name] = content
            secrets.append({"source": name, "target": target})
            return
        self.files[f"configs/{name}"] = text
        self.configs[name] = {"file": f"./configs/{name}"}
        configs.append({"source": name, "target": target})

    # -- top level -------------------------------------------------------------------------

    def _networks(self) -> Object:
        used = {ref.name for service in self.project.services.values() for ref in service.networks}
        found: Object = {}
        for name, network in self.project.networks.items():
            if name in used:
                given = body_of(network.body)
                found[name] = {"driver": "overlay", **given} if not network.external else given
        return found

    def _secrets(self) -> Object:
        found: Object = {name: {} for name in self.secrets}
        used = {ref.source: ref for service in self.project.services.values() for ref in service.secrets}
        for name, ref in used.items():
            resource = self.project.secrets[name]
            if resource.external:
                found[name] = {"external": True, "name": secret_key(resource)}
                continue
            value = content_of(resource, self.project)
            if value is None:
                self.problems.append(f"{place(ref.at)}: the value of secret {name}: {missing(resource)}")
            else:
                found[name] = {}
                self.secrets[name] = value
        return found

    def _top_configs(self) -> Object:
        found: Object = {}
        used = {ref.source: ref for service in self.project.services.values() for ref in service.configs}
        for name, ref in used.items():
            resource = self.project.configs[name]
            if resource.external:
                found[name] = {"external": True, "name": resource.external_name or name}
                continue
            content = content_of(resource, self.project)
            if content is None:
                self.problems.append(f"{place(ref.at)}: the content of config {name}: {missing(resource)}")
                continue
            self.files[f"configs/{name}"] = content.decode("utf-8", "backslashreplace")
            found[name] = {"file": f"./configs/{name}"}
        return found


def _reference(ref: FileRef) -> Object:
    mode: Object = {} if ref.mode is None else {"mode": ref.mode}
    return {"source": ref.source, "target": ref.target, **mode}
