"""Turns nodes into the typed model: services, and the networks, volumes, secrets and configs beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provisioners.compose import units
from provisioners.compose.deploys import deploy_of, with_gpus
from provisioners.compose.lists import Lists
from provisioners.compose.model import (
    Deploy,
    EnvVar,
    Given,
    HealthCheck,
    Resource,
    Service,
)
from provisioners.compose.nodes import Leaf, Node, Table
from provisioners.compose.records import dataclass
from provisioners.compose.values import count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NO_IMAGE = "the service has neither `image` nor `build`"
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
        "gpus",
    ]
)
# Keys without a field in the model, whose values Docker reads as numbers all the same.
_PARSERS: dict[str, Callable[[str], object]] = {
    "cpus": units.parse_cpus,
    "cpu_percent": units.parse_cpus,
    "shm_size": units.parse_bytes,
    "mem_limit": units.parse_bytes,
    "mem_reservation": units.parse_bytes,
    "memswap_limit": units.parse_limit_bytes,
    "mem_swappiness": count,
    "cpu_shares": count,
    "cpu_count": count,
    "pids_limit": units.parse_limit,
    "oom_score_adj": units.parse_whole,
}
_FLAGS = frozenset(("privileged", "read_only", "tty", "stdin_open", "oom_kill_disable", "attach"))


@dataclass(frozen=True, slots=True)
class Builder(Lists):
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
        told = (table.file, table.path) in self.incomplete
        if image is None and get("build") is None and get("provider") is None and not told:
            self.problem(table, NO_IMAGE)
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
            ports=tuple(self.ports(get("ports"))),
            expose=tuple(self.expose(get("expose"))),
            mounts=self.mounts(get("volumes")),
            secrets=tuple(self.file_refs(get("secrets"), "secrets", "/run/secrets/")),
            configs=tuple(self.file_refs(get("configs"), "configs", "/")),
            networks=tuple(self.networks(get("networks"))),
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
        deploy = with_gpus(self, deploy_of(self, table.get("deploy")), table.get("gpus"))
        scale = self.read(table.get("scale"), count)
        return replace(deploy, replicas=scale) if scale and deploy.replicas is None else deploy

    def _others(self, table: Table, deploy: Deploy) -> dict[str, Node]:
        used = deploy.replicas.at if deploy.replicas else None
        for key in _PARSERS.keys() & table.entries.keys():
            if isinstance(table.entries[key], Leaf):  # other shapes are the schema's business
                self.read(table.entries[key], _PARSERS[key])
        for key in _FLAGS & table.entries.keys():
            if isinstance(table.entries[key], Leaf):
                self.boolean(table.entries[key])
        return {key: value for key, value in table.entries.items() if key not in _TYPED and value is not used}

    def _check_image(self, image: Given[str]) -> None:
        text = image.value
        legal = text and not text.startswith(("/", ":", "-")) and not text.endswith((":", "/", "@"))
        if not legal or len(text.split()) != 1 or "//" in text or ":@" in text:
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

    def _depends_on(self, node: Node | None) -> tuple[Given[str], ...]:
        if node is None or (isinstance(node, Leaf) and node.is_null):
            return ()
        table = self.names(node, "services")
        if table is None:
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
