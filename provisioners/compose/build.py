"""Turns nodes into the typed model: services, and the networks, volumes, secrets and configs beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from provisioners.compose import units
from provisioners.compose.deploys import deploy_of
from provisioners.compose.merge import as_names
from provisioners.compose.model import (
    Deploy,
    EnvVar,
    FileRef,
    Given,
    HealthCheck,
    Mount,
    NetworkRef,
    Port,
    Resource,
    Service,
)
from provisioners.compose.nodes import Leaf, Node, Table
from provisioners.compose.values import Values, count, octal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TYPED = frozenset(
    [
        "image",
        "command",
        "entrypoint",
        "environment",
        "env_file",
        "ports",
        "expose",
        "volumes",
        "secrets",
        "configs",
        "networks",
        "healthcheck",
        "deploy",
        "depends_on",
        "labels",
        "user",
        "working_dir",
        "hostname",
        "stop_grace_period",
    ]
)


@dataclass(frozen=True, slots=True)
class Builder(Values):
    """Reads services and top-level resources of one project."""

    # -- a service -------------------------------------------------------------------------

    def service(self, name: str, node: Node) -> Service | None:
        """Return one typed service; None when it is no table."""
        table = self.table(node, "services.*")
        if table is None:
            self.problem(node, "the service is empty; give it an image")
            return None
        get = table.get
        image = self.text(get("image"))
        if image is None and get("build") is None:
            self.problem(table, "the service has neither `image` nor `build`")
        if image is not None:
            self._check_image(image)
        self._check_build(get("build"))
        files = tuple(self._env_files(get("env_file")))
        deploy = self._deploy(table)
        return Service(
            name=name,
            at=table,
            image=image,
            command=self.words(get("command")),
            entrypoint=self.words(get("entrypoint")),
            environment=self._environment(get("environment")),
            env_files=files,
            file_environment=tuple(self._from_files(files)),
            ports=tuple(self._ports(get("ports"))),
            expose=tuple(self._expose(get("expose"))),
            mounts=tuple(self._mounts(get("volumes"))),
            secrets=tuple(self._file_refs(get("secrets"), "secrets", "/run/secrets/")),
            configs=tuple(self._file_refs(get("configs"), "configs", "/")),
            networks=tuple(self._networks(get("networks"))),
            healthcheck=self._healthcheck(get("healthcheck")),
            deploy=deploy,
            depends_on=self._depends_on(get("depends_on")),
            labels=self.pairs(get("labels")),
            user=self.text(get("user")),
            working_dir=self.text(get("working_dir")),
            hostname=self.text(get("hostname")),
            stop_grace_s=self.read(get("stop_grace_period"), units.parse_duration_s),
            others=self._others(table, deploy),
        )

    def _deploy(self, table: Table) -> Deploy:
        """Return `deploy`; the older `scale` counts where it gives no replicas."""
        deploy = deploy_of(self, table.get("deploy"))
        scale = self.read(table.get("scale"), count)
        return replace(deploy, replicas=scale) if scale and deploy.replicas is None else deploy

    def _others(self, table: Table, deploy: Deploy) -> dict[str, Node]:
        used = deploy.replicas.at if deploy.replicas else None
        return {key: value for key, value in table.entries.items() if key not in _TYPED and value is not used}

    def _check_image(self, image: Given[str]) -> None:
        text = image.value
        legal = text and not text.startswith(("/", ":", "-")) and not text.endswith((":", "/", "@"))
        if not legal or any(char.isspace() for char in text) or "//" in text or ":@" in text:
            self.problem(image.at, f"{text!r} is no image name; is a variable unset?")

    def _check_build(self, node: Node | None) -> None:
        if isinstance(node, Table):
            self.table(node, "services.*.build")

    def _environment(self, node: Node | None) -> tuple[EnvVar, ...]:
        """Return the variables; one without a value takes the caller's, where there is one."""
        found = []
        for var in self.pairs(node):
            if not var.name:
                self.problem(var.at, "a variable has no name")
                continue
            found.append(var if var.value is not None else replace(var, value=self.variables.get(var.name)))
        return tuple(found)

    def _env_files(self, node: Node | None) -> Iterator[Given[Path]]:
        for item in self.items(node):
            table = self.table(item, "services.*.env_file[]") if isinstance(item, Table) else None
            given = self.text(table.get("path")) if table else self.text(item)
            if given is None:
                continue
            path = self.folder / given.value
            required = self.boolean(table.get("required")) if table else None
            if not path.is_file():
                if required is None or required.value:
                    self.problem(given.at, f"the env file {given.value} is not there")
                continue
            yield Given(path, given.at)

    def _from_files(self, files: tuple[Given[Path], ...]) -> Iterator[EnvVar]:
        from provisioners.compose.envfile import read_env_file
        from provisioners.errors import InputError

        found: dict[str, EnvVar] = {}
        for given in files:
            try:
                values = read_env_file(given.value, self.variables)
            except InputError as error:
                self.problem(given.at, error.what)
                continue
            for name, value in values.items():
                found[name] = EnvVar(name, self.variables.get(name) if value is None else value, given.at)
        yield from found.values()

    def _ports(self, node: Node | None) -> Iterator[Port]:
        for item in self.items(node):
            if isinstance(item, Table):
                yield from self._long_port(item)
                continue
            given = self.read(item, units.parse_ports)
            if given is not None:
                for port in given.value:
                    yield Port(
                        port.target, port.published, port.protocol, "ingress", item, host_ip=port.host_ip
                    )

    def _long_port(self, item: Table) -> Iterator[Port]:
        table = self.table(item, "services.*.ports[]")
        if table is None:
            return
        target = self.read(table.get("target"), units.parse_port)
        if target is None:
            if table.get("target") is None:
                self.problem(table, "the port has no `target`")
            return
        published = self.text(table.get("published"))
        protocol = self.word(table.get("protocol"), frozenset(("tcp", "udp", "sctp")))
        mode = self.word(table.get("mode"), frozenset(("ingress", "host")))
        host_ip, name = self.text(table.get("host_ip")), self.text(table.get("name"))
        number = None
        if published is not None:
            first = self.read(published.at, lambda text: units.parse_ports(f"{text}:{target.value}"))
            number = first.value[0].published if first else None
        yield Port(
            target.value,
            number,
            protocol.value if protocol else "tcp",
            mode.value if mode else "ingress",
            item,
            name=name.value if name else "",
            host_ip=host_ip.value if host_ip else "",
        )

    def _expose(self, node: Node | None) -> Iterator[Port]:
        for item in self.items(node):
            given = self.read(item, units.parse_ports)
            if given is not None:
                for port in given.value:
                    yield Port(port.target, None, port.protocol, "", item)

    def _mounts(self, node: Node | None) -> Iterator[Mount]:
        for item in self.items(node):
            if isinstance(item, Table):
                mount = self._long_mount(item)
                if mount is not None:
                    yield mount
                continue
            given = self.read(item, units.parse_mount)
            if given is not None:
                text = given.value
                yield Mount(text.kind, text.source, text.target, "ro" in text.options, item)

    def _long_mount(self, item: Table) -> Mount | None:
        table = self.table(item, "services.*.volumes[]")
        if table is None:
            return None
        kind, source, target = (self.text(table.get(key)) for key in ("type", "source", "target"))
        if kind is None or target is None:
            self.problem(table, "the mount needs `type` and `target`")
            return None
        read_only = self.boolean(table.get("read_only"))
        tmpfs = self.table(table.get("tmpfs"), "services.*.volumes[].tmpfs")
        volume = self.table(table.get("volume"), "services.*.volumes[].volume")
        self.table(table.get("bind"), "services.*.volumes[].bind")
        size = self.read(tmpfs.get("size"), units.parse_bytes) if tmpfs else None
        subpath = self.text(volume.get("subpath")) if volume else None
        word = "anonymous" if kind.value == "volume" and source is None else kind.value
        return Mount(
            word,
            source.value if source else "",
            target.value,
            read_only is not None and read_only.value,
            item,
            size_bytes=size.value if size else None,
            subpath=subpath.value if subpath else "",
        )

    def _file_refs(self, node: Node | None, section: str, folder: str) -> Iterator[FileRef]:
        for item in self.items(node):
            if isinstance(item, Leaf):
                yield FileRef(item.text, f"{folder}{item.text}", item)
                continue
            table = self.table(item, f"services.*.{section}[]")
            source = self.text(table.get("source")) if table else None
            if table is None or source is None:
                self.problem(item, "a name, or a table with `source`, is wanted here")
                continue
            target, uid, gid = (self.text(table.get(key)) for key in ("target", "uid", "gid"))
            mode = self.read(table.get("mode"), octal)
            name = target.value if target else source.value
            yield FileRef(
                source.value,
                name if name.startswith("/") else f"{folder}{name}",
                item,
                mode=mode.value if mode else None,
                uid=uid.value if uid else "",
                gid=gid.value if gid else "",
            )

    def _networks(self, node: Node | None) -> Iterator[NetworkRef]:
        if node is None or (isinstance(node, Leaf) and node.is_null):
            return
        table = as_names(node)
        if not isinstance(table, Table):
            self.problem(node, "a list or a table of networks is wanted here")
            return
        for name, value in table.entries.items():
            body = self.table(value, "services.*.networks.*")
            aliases = self.texts(body.get("aliases")) if body else ()
            yield NetworkRef(name, tuple(given.value for given in aliases), value)

    def _depends_on(self, node: Node | None) -> tuple[Given[str], ...]:
        if node is None or (isinstance(node, Leaf) and node.is_null):
            return ()
        table = as_names(node)
        if not isinstance(table, Table):
            self.problem(node, "a list or a table of services is wanted here")
            return ()
        for value in table.entries.values():
            self.table(value, "services.*.depends_on.*")
        return tuple(Given(name, value) for name, value in table.entries.items())

    def _healthcheck(self, node: Node | None) -> HealthCheck | None:
        table = self.table(node, "services.*.healthcheck")
        if table is None:
            return None
        get = table.get
        test, shell, off = self._test(get("test"))
        disabled = self.boolean(get("disable"))
        return HealthCheck(
            at=table,
            disabled=off or disabled,
            test=test,
            shell=shell,
            interval_s=self.read(get("interval"), units.parse_duration_s),
            timeout_s=self.read(get("timeout"), units.parse_duration_s),
            retries=self.read(get("retries"), count),
            start_period_s=self.read(get("start_period"), units.parse_duration_s),
            start_interval_s=self.read(get("start_interval"), units.parse_duration_s),
        )

    def _test(self, node: Node | None) -> tuple[Given[tuple[str, ...]] | None, bool, Given[bool] | None]:
        if node is None or (isinstance(node, Leaf) and node.is_null):
            return None, False, None
        if isinstance(node, Leaf):
            return Given((node.text,), node), True, None
        words = self.words(node)
        if words is None or not words.value:
            self.problem(node, "the test is empty")
            return None, False, None
        first, rest = words.value[0], words.value[1:]
        if first == "NONE":
            return None, False, Given(value=True, at=node)
        if first not in {"CMD", "CMD-SHELL"} or not rest:
            self.problem(node, "the test begins with CMD, CMD-SHELL or NONE")
            return None, False, None
        return Given(rest, node), first == "CMD-SHELL", None

    # -- top level -------------------------------------------------------------------------

    def resource(self, section: str, name: str, node: Node) -> Resource:
        """Return a typed network, volume, secret or config."""
        table = self.table(node, f"{section}.*")
        if table is None:
            return Resource(name, node)
        external_node = table.get("external")
        external = isinstance(external_node, Table)
        external_name = self.text(external_node.get("name")) if isinstance(external_node, Table) else None
        if not external:
            flag = self.boolean(external_node)
            external = flag is not None and flag.value
        own_name, file, driver = (self.text(table.get(key)) for key in ("name", "file", "driver"))
        content, variable = self.text(table.get("content")), self.text(table.get("environment"))
        name_node = external_name or own_name
        if section in {"secrets", "configs"} and not (external or file or content or variable or driver):
            self.problem(table, "needs `file`, `environment`, `content` or `external`")
        return Resource(
            name,
            node,
            external=external,
            external_name=name_node.value if name_node else "",
            file=self.folder / file.value if file else None,
            content=content.value if content else None,
            variable=variable.value if variable else "",
            driver=driver.value if driver else "",
            body=table,
        )
