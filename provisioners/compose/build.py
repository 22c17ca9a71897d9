"""Turns nodes into the typed model, and collects every problem instead of stopping at the first."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from provisioners.compose import known, units
from provisioners.compose.merge import Overridden, as_names, as_pairs
from provisioners.compose.model import (
    Amounts,
    ChangePolicy,
    Deploy,
    EnvVar,
    FileRef,
    Given,
    HealthCheck,
    Mount,
    NetworkRef,
    Port,
    Resource,
    RestartPolicy,
    Service,
)
from provisioners.compose.nodes import Leaf, Listing, Node, Table
from provisioners.compose.scalars import as_bool

T = TypeVar("T")

_TYPED = frozenset(
    "image command entrypoint environment env_file ports expose volumes secrets configs networks healthcheck deploy "
    "depends_on labels user working_dir hostname stop_grace_period".split()
)
_MODES = frozenset(("replicated", "global", "replicated-job", "global-job"))
_CONDITIONS = frozenset(("none", "on-failure", "any", "unless-stopped"))
_MAX_REPLICAS = 10_000
_GPU_KINDS = frozenset(("gpu", "nvidia-gpu", "nvidia.com/gpu"))


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that compose refuses: place, path and what is wrong."""

    file: str
    line: int
    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.path}: {self.text}"


@dataclass(frozen=True, slots=True)
class Builder:
    """Reads nodes of one project; `problems` fills up, `mended` holds what was read in spite of one."""

    folder: Path
    variables: Mapping[str, str]
    lenient: bool = False
    problems: list[Problem] = field(default_factory=list)
    mended: list[Given[str]] = field(default_factory=list)
    overridden: list[Overridden] = field(default_factory=list)

    # -- reading one value ---------------------------------------------------------------

    def problem(self, at: Node, text: str) -> None:
        """Note that something is wrong at a node."""
        self.problems.append(Problem(at.file, at.line, at.path, text))

    def text(self, node: Node | None) -> Given[str] | None:
        """Return a scalar's text; nothing for an absent key or null."""
        if node is None:
            return None
        if not isinstance(node, Leaf):
            self.problem(node, "a text is wanted here")
            return None
        return None if node.is_null else Given(node.text, node)

    def read(self, node: Node | None, parse: Callable[[str], T]) -> Given[T] | None:
        """Return a scalar through a parser of `units`, whose error becomes a problem."""
        given = self.text(node)
        if given is None:
            return None
        try:
            return Given(parse(given.value), given.at)
        except ValueError as error:
            self.problem(given.at, str(error))
            return None

    def word(self, node: Node | None, words: frozenset[str]) -> Given[str] | None:
        """Return a scalar that has to be one of a few words."""
        given = self.text(node)
        if given is not None and given.value not in words:
            self.problem(given.at, f"{given.value!r} is not one of {', '.join(sorted(words))}")
            return None
        return given

    def boolean(self, node: Node | None) -> Given[bool] | None:
        """Return a scalar that has to be true or false."""
        given = self.text(node)
        if given is None:
            return None
        value = as_bool(given.value)
        if value is None:
            self.problem(given.at, f"{given.value!r} is neither true nor false")
            return None
        return Given(value, given.at)

    def table(self, node: Node | None, where: str) -> Table | None:
        """Return a table whose keys compose knows at the place `where`."""
        if node is None or (isinstance(node, Leaf) and node.is_null):
            return None
        if not isinstance(node, Table):
            self.problem(node, "a table is wanted here")
            return None
        unknown = [key for key in node.entries if not known.allowed(where, key)]
        for key in unknown:
            self.unknown(node, key, where)
        return node

    def unknown(self, node: Table, key: str, where: str) -> None:
        """Note a key that compose does not know at its place, with the nearest one."""
        value = node.entries[key]
        home = known.home_of(key, where)
        hint = f"; it belongs under `{home}`" if home else known.nearest(where, key)
        self.problem(value, f"unknown key `{key}`{hint}")

    def items(self, node: Node | None) -> tuple[Node, ...]:
        """Return the items of a list; a single scalar counts as a list of one."""
        if node is None or (isinstance(node, Leaf) and node.is_null):
            return ()
        if isinstance(node, Listing):
            return node.items
        if isinstance(node, Leaf):
            return (node,)
        self.problem(node, "a list is wanted here")
        return ()

    def texts(self, node: Node | None) -> tuple[Given[str], ...]:
        """Return the texts of a list."""
        return tuple(given for item in self.items(node) if (given := self.text(item)) is not None)

    def words(self, node: Node | None) -> Given[tuple[str, ...]] | None:
        """Return an argv: a list as it is, a text split as a shell would split it, without running one."""
        if node is None or (isinstance(node, Leaf) and node.is_null):
            return None
        if isinstance(node, Leaf):
            try:
                return Given(tuple(shlex.split(node.text)), node)
            except ValueError as error:
                self.problem(node, f"cannot be split into words: {error}")
                return None
        return Given(tuple(given.value for given in self.texts(node)), node)

    def pairs(self, node: Node | None) -> tuple[EnvVar, ...]:
        """Return `KEY=value` items or a table of values."""
        if node is None or (isinstance(node, Leaf) and node.is_null):
            return ()
        table = as_pairs(node)
        if isinstance(table, Listing):
            return self._listed_pairs(table)
        if not isinstance(table, Table):
            self.problem(node, "a table or a list of KEY=value is wanted here")
            return ()
        found = []
        for name, value in table.entries.items():
            if not isinstance(value, Leaf):
                self.problem(value, "a text is wanted here")
                continue
            found.append(EnvVar(name, None if value.is_null else value.text, value))
        return tuple(found)

    def _listed_pairs(self, listing: Listing) -> tuple[EnvVar, ...]:
        """Some name stands twice: the last one counts, as in compose."""
        first: dict[str, Leaf] = {}
        found: dict[str, EnvVar] = {}
        for item in listing.items:
            if not isinstance(item, Leaf):
                self.problem(item, "a text KEY=value is wanted here")
                continue
            name, given, value = item.text.partition("=")
            if name in first:
                self.overridden.append(Overridden(first[name], item))
            first[name] = item
            found[name] = EnvVar(name, value if given else None, item)
        return tuple(found.values())

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
            deploy=self._deploy(get("deploy")),
            depends_on=self._depends_on(get("depends_on")),
            labels=self.pairs(get("labels")),
            user=self.text(get("user")),
            working_dir=self.text(get("working_dir")),
            hostname=self.text(get("hostname")),
            stop_grace_s=self.read(get("stop_grace_period"), units.parse_duration_s),
            others={key: value for key, value in table.entries.items() if key not in _TYPED},
        )

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
                    yield Port(port.target, port.published, port.protocol, "ingress", item, host_ip=port.host_ip)

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
            mode = self.read(table.get("mode"), _octal)
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
            retries=self.read(get("retries"), _count),
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
            return None, False, Given(True, node)  # noqa: FBT003
        if first not in {"CMD", "CMD-SHELL"} or not rest:
            self.problem(node, "the test begins with CMD, CMD-SHELL or NONE")
            return None, False, None
        return Given(rest, node), first == "CMD-SHELL", None

    # -- deploy ----------------------------------------------------------------------------

    def _deploy(self, node: Node | None) -> Deploy:
        table = self.table(node, "services.*.deploy")
        if table is None:
            return Deploy()
        get = table.get
        resources = self._resources(get("resources"))
        placement = self.table(get("placement"), "services.*.deploy.placement")
        restart = self.table(get("restart_policy"), "services.*.deploy.restart_policy")
        return Deploy(
            mode=self.word(get("mode"), _MODES),
            replicas=self.read(get("replicas"), _count),
            endpoint_mode=self.word(get("endpoint_mode"), frozenset(("vip", "dnsrr"))),
            labels=self.pairs(get("labels")),
            limits=self._amounts(resources.get("limits"), "limits") if resources else Amounts(),
            reservations=self._reservations(resources) if resources else Amounts(),
            restart=self._restart(restart) if restart else RestartPolicy(),
            update=self._change(get("update_config"), "update_config"),
            rollback=self._change(get("rollback_config"), "rollback_config"),
            constraints=self.texts(placement.get("constraints")) if placement else (),
            preferences=self._preferences(placement.get("preferences")) if placement else (),
            max_replicas_per_node=self.read(placement.get("max_replicas_per_node"), _count) if placement else None,
        )

    def _resources(self, node: Node | None) -> Table | None:
        """Return the resources; a misplaced `generic_resources` is read where it belongs when mending."""
        if not (self.lenient and isinstance(node, Table) and "generic_resources" in node.entries):
            return self.table(node, "services.*.deploy.resources")
        moved_node = node.entries["generic_resources"]
        entries = {key: value for key, value in node.entries.items() if key != "generic_resources"}
        self.mended.append(Given("stands one level too high; read as reservations.generic_resources", moved_node))
        reservations = entries.get("reservations")
        if isinstance(reservations, Table) and "generic_resources" not in reservations.entries:
            inner = {**reservations.entries, "generic_resources": moved_node}
            entries["reservations"] = replace(reservations, entries=inner)
        elif reservations is None:
            inner_table = Table({"generic_resources": moved_node}, node.file, node.line, f"{node.path}.reservations")
            entries["reservations"] = inner_table
        return self.table(replace(node, entries=entries), "services.*.deploy.resources")

    def _amounts(self, node: Node | None, key: str) -> Amounts:
        table = self.table(node, f"services.*.deploy.resources.{key}")
        if table is None:
            return Amounts()
        return Amounts(
            cpus=self.read(table.get("cpus"), units.parse_cpus),
            memory_bytes=self.read(table.get("memory"), units.parse_bytes),
            pids=self.read(table.get("pids"), _count),
        )

    def _reservations(self, resources: Table) -> Amounts:
        amounts = self._amounts(resources.get("reservations"), "reservations")
        table = resources.get("reservations")
        if not isinstance(table, Table):
            return amounts
        nodes: list[Node] = []
        count: Given[int] | None = None
        for item in self.items(table.get("devices")):
            count = self._device(item, nodes) or count
        for item in self.items(table.get("generic_resources")):
            count = self._generic(item, nodes) or count
        return replace(amounts, gpus=count, gpu_nodes=tuple(nodes))

    def _device(self, item: Node, nodes: list[Node]) -> Given[int] | None:
        table = self.table(item, "services.*.deploy.resources.reservations.devices[]")
        if table is None:
            return None
        capabilities = [given.value for given in self.texts(table.get("capabilities"))]
        if not capabilities:
            self.problem(table, "the device has no `capabilities`")
        driver = self.text(table.get("driver"))
        if "gpu" not in capabilities or (driver is not None and driver.value not in {"nvidia", "cdi"}):
            return None
        nodes.append(item)
        ids = self.items(table.get("device_ids"))
        count = self.read(table.get("count"), lambda text: -1 if text == "all" else _count(text))
        if count is not None:
            return count
        return Given(len(ids) or 1, item)

    def _generic(self, item: Node, nodes: list[Node]) -> Given[int] | None:
        table = self.table(item, "services.*.deploy.resources.reservations.generic_resources[]")
        where = "services.*.deploy.resources.reservations.generic_resources[].discrete_resource_spec"
        spec = self.table(table.get("discrete_resource_spec"), where) if table else None
        if spec is None:
            return None
        kind, value = self.text(spec.get("kind")), self.read(spec.get("value"), _count)
        if kind is None or kind.value.lower() not in _GPU_KINDS:
            return None
        nodes.append(item)
        return value

    def _restart(self, table: Table) -> RestartPolicy:
        return RestartPolicy(
            condition=self.word(table.get("condition"), _CONDITIONS),
            delay_s=self.read(table.get("delay"), units.parse_duration_s),
            max_attempts=self.read(table.get("max_attempts"), _count),
            window_s=self.read(table.get("window"), units.parse_duration_s),
        )

    def _change(self, node: Node | None, key: str) -> ChangePolicy:
        table = self.table(node, f"services.*.deploy.{key}")
        if table is None:
            return ChangePolicy()
        actions = frozenset(("continue", "pause", "rollback"))
        return ChangePolicy(
            parallelism=self.read(table.get("parallelism"), _count),
            delay_s=self.read(table.get("delay"), units.parse_duration_s),
            failure_action=self.word(table.get("failure_action"), actions),
            monitor_s=self.read(table.get("monitor"), units.parse_duration_s),
            max_failure_ratio=self.read(table.get("max_failure_ratio"), units.parse_cpus),
            order=self.word(table.get("order"), frozenset(("start-first", "stop-first"))),
        )

    def _preferences(self, node: Node | None) -> tuple[Given[str], ...]:
        found = []
        for item in self.items(node):
            table = self.table(item, "services.*.deploy.placement.preferences[]")
            spread = self.text(table.get("spread")) if table else None
            if spread is not None:
                found.append(spread)
        return tuple(found)

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


def _octal(text: str) -> int:
    digits = text.removeprefix("0o")
    try:
        value = int(digits, 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o7777:
        raise units.UnitError(f"{text!r} is no file mode; write 0440")
    return value


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:12]) > _MAX_REPLICAS * 100:
        raise units.UnitError(f"{text!r} is no number; write 2")
    return int(text)


