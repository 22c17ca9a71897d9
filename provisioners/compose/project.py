"""Loads compose files into one typed project: read, interpolate, merge, build, check, cross-check."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.compose.build import NO_IMAGE, Builder
from provisioners.compose.envfile import read_env_file
from provisioners.compose.files import Files
from provisioners.compose.include import Includer
from provisioners.compose.interpolate import Interpolation
from provisioners.compose.model import Given, Project, Resource, Service
from provisioners.compose.nodes import Leaf, Node, Table
from provisioners.compose.records import dataclass
from provisioners.compose.scalars import as_bool
from provisioners.compose.schema import check
from provisioners.compose.unused import Arrived
from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from provisioners.compose.reader import Duplicate, Duplicates
    from provisioners.compose.values import Problem

_SHOWN = 100
_NO_NETWORK = frozenset(("default", "host", "none", "bridge"))


def load_project(
    files: Sequence[Path],
    *,
    env: Mapping[str, str],
    env_files: Sequence[Path] = (),
    duplicates: Duplicates = "error",
) -> Project:
    """Read compose files, later ones laid upon earlier ones, into a typed project.

    Values come from `env`, then from `env_files`, or from `.env` beside the first file when none
    is given. With duplicates="last" the last of duplicate keys counts, and what can be read in
    spite of a mistake is; both are accounted for as losses.

    Raises:
        InputError: every problem of the files at once, each with file and line.
    """
    if not files:
        raise InputError("no compose file given", next_step="name at least one")
    folder = Path(files[0]).parent
    lenient = duplicates == "last"
    variables = _variables(folder, env, env_files)
    interpolation = Interpolation(variables)
    reading = Files(folder)
    root = _root([Path(file) for file in files], reading, interpolation, lenient=lenient)
    builder = Builder(folder, variables, lenient=lenient, incomplete=reading.incomplete)
    parts = _Parts(builder, root)
    services = parts.services()
    sections = {name: parts.section(name) for name in ("networks", "volumes", "secrets", "configs")}
    parts.check_references(services, sections)
    parts.check_schema(interpolation)
    problems = [*interpolation.problems, *_with_hints(reading, builder, interpolation)]
    found = tuple(reading.duplicates)
    refused = found if duplicates == "error" else ()
    if problems or refused:
        raise _problems(refused, problems, str(files[0]))
    arrived = Arrived(reading, root, (*reading.merge.overridden, *builder.overridden), tuple(parts.inactive))
    name = builder.text(root.get("name"))
    return Project(
        name=name.value if name else folder.resolve().name,
        root=root,
        services=services,
        networks=sections["networks"],
        volumes=sections["volumes"],
        secrets=sections["secrets"],
        configs=sections["configs"],
        sources=tuple(reading.sources.values()),
        folder=folder,
        variables={**reading.values, **variables},
        duplicates=found,
        overridden=arrived.overridden(),
        unset=tuple(interpolation.unset),
        mended=tuple(builder.mended),
        inactive=arrived.inactive(),
        taken=tuple(reading.taken),
        unused=arrived.unused(),
    )


def _variables(folder: Path, env: Mapping[str, str], env_files: Sequence[Path]) -> dict[str, str]:
    beside = folder / ".env"
    files = list(env_files) or ([beside] if beside.is_file() else [])
    found: dict[str, str] = {}
    for file in files:
        values = read_env_file(Path(file), {**found, **env})
        found.update({name: value for name, value in values.items() if value is not None})
    return {**found, **env}


def _root(files: Sequence[Path], reading: Files, interpolation: Interpolation, *, lenient: bool) -> Table:
    """Return all files as one: included, extended, merged."""
    includer = Includer(reading, lenient=lenient)
    scope = reading.scope_of(reading.project, interpolation)
    root: Node | None = None
    for file in files:
        over = includer.read(file, scope)
        root = over if root is None else reading.merge.merge(root, over) or root
    if reading.tagged and root is not None:
        root = reading.merge.without_resets(root)
    text = "takes away what is below it"
    reading.taken.extend(Given(text, node) for node in reading.merge.resets)
    if not isinstance(root, Table):
        raise InputError("a compose file is a table", next_step="begin with `services:`")
    return root


@dataclass(frozen=True, slots=True)
class _Parts:
    """The sections of the merged root, one after the other."""

    builder: Builder
    root: Table
    inactive: list[Given[str]] = field(default_factory=list)

    def services(self) -> dict[str, Service]:
        node = self.root.get("services")
        if node is None and self._is_version_1():
            return {}
        self.builder.table(self.root, "")
        if not isinstance(node, Table) or not node.entries:
            self.builder.problem(node or self.root, "there are no services")
            return {}
        found = {}
        for name, value in node.entries.items():
            if name.startswith("x-"):
                continue
            if not self._active(value):
                self.inactive.append(Given(name, value))
                continue
            service = self.builder.service(name, value)
            if service is not None:
                found[name] = service
        if self.inactive and not found and not self.builder.problems:
            profiles = "every service has a profile that is not active; name some in COMPOSE_PROFILES"
            self.builder.problem(node, profiles)
        return found

    def _is_version_1(self) -> bool:
        """Whether services stand at the top level, as they did in version 1; a problem when they do."""
        services = [
            name
            for name, value in self.root.entries.items()
            if isinstance(value, Table)
            and not name.startswith("x-")
            and {"image", "build"} & set(value.entries)
        ]
        if not services:
            return False
        self.builder.problem(
            self.root.entries[services[0]],
            f"this is a file of version 1, its services ({', '.join(services[:5])}) stand at the top level; "
            "put them below `services:`, and what they name below `networks:` and `volumes:`",
        )
        return True

    def _active(self, service: Node) -> bool:
        """Whether the service has no profile, or one that COMPOSE_PROFILES names."""
        node = service.get("profiles") if isinstance(service, Table) else None
        if node is None:
            return True
        wanted = {word.strip() for word in self.builder.variables.get("COMPOSE_PROFILES", "").split(",")}
        names = {given.value for given in self.builder.texts(node)}
        return not names or "*" in wanted or bool(names & wanted)

    def section(self, name: str) -> dict[str, Resource]:
        node = self.root.get(name)
        if node is None or (isinstance(node, Leaf) and node.is_null):
            return {}
        if not isinstance(node, Table):
            self.builder.problem(node, "a table is wanted here")
            return {}
        return {
            key: self.builder.resource(name, key, value)
            for key, value in node.entries.items()
            if not key.startswith("x-")
        }

    def check_references(
        self, services: Mapping[str, Service], sections: Mapping[str, Mapping[str, Resource]]
    ) -> None:
        for service in services.values():
            for section, name, at in _references(service):
                known = services if section == "services" else sections[section]
                if name in known or (section == "networks" and name in _NO_NETWORK):
                    continue
                if section == "services":
                    self._missing_service(service, name, at)
                elif self.builder.lenient and section == "networks":
                    text = f"network {name!r} is not defined; pods reach each other without it"
                    self.builder.mended.append(Given(text, at))
                else:
                    self.builder.problem(at, f"{section.removesuffix('s')} {name!r} is not defined")

    def _missing_service(self, service: Service, name: str, at: Node) -> None:
        """A service that is depended on, and is not there or not active."""
        required = at.get("required") if isinstance(at, Table) else None
        if isinstance(required, Leaf) and as_bool(required.text) is False:
            return
        if not any(name == given.value for given in self.inactive):
            if name not in self._named():
                self.builder.problem(at, f"service {name!r} is not defined")
            return
        text = f"service {name!r} has a profile that is not active"
        if self.builder.lenient:
            self.builder.mended.append(Given(f"{text}; {service.name} goes without it", at))
        else:
            self.builder.problem(at, f"{text}; name it in COMPOSE_PROFILES, or write `required: false`")

    def _named(self) -> Mapping[str, Node]:
        """Return all services, those with problems too."""
        node = self.root.get("services")
        return node.entries if isinstance(node, Table) else {}

    def check_schema(self, interpolation: Interpolation) -> None:
        """Note what the schemas refuse and what has not been told already."""
        if not isinstance(self.root.get("services"), Table):
            return
        faults = check(self.root, interpolation.replaced)
        if not faults:
            return
        told = {(problem.file, problem.path) for problem in self.builder.problems} | interpolation.failed
        told |= {(given.at.file, given.at.path) for given in self.builder.mended}
        for fault in faults:
            at = fault.at
            if any(file == at.file and _is_at(path, at.path) for file, path in told):
                continue
            if self.builder.lenient and fault.wants_scalar and isinstance(at, Leaf):
                self.builder.mended.append(Given(f"{fault.text}: read as the text {at.text!r}", at))
            else:
                self.builder.problem(at, fault.text)


def _is_at(told: str, path: str) -> bool:
    """Whether a problem at `told` speaks of `path`: there, in it, or around it, a service's own apart."""
    if told == path or told.startswith((f"{path}.", f"{path}[")):
        return True
    return path.startswith((f"{told}.", f"{told}[")) and told.count(".") > 1


def _references(service: Service) -> Iterator[tuple[str, str, Node]]:
    for network in service.networks:
        yield "networks", network.name, network.at
    for mount in service.mounts:
        if mount.kind == "volume":
            yield "volumes", mount.source, mount.at
    for secret in service.secrets:
        yield "secrets", secret.source, secret.at
    for config in service.configs:
        yield "configs", config.source, config.at
    for other in service.depends_on:
        yield "services", other.value, other.at


def _with_hints(reading: Files, builder: Builder, interpolation: Interpolation) -> Iterator[str]:
    """Yield the problems in the order of the files; one whose variable was unset names the variable."""
    names: dict[tuple[str, str], list[str]] = {}
    for item in interpolation.unset:
        names.setdefault((item.file, item.path), []).append(item.name)
    order = {name: index for index, name in enumerate(reading.sources)}

    def place_of(problem: Problem) -> tuple[int, int]:
        return order.get(problem.file, 0), problem.line

    for problem in sorted(dict.fromkeys((*reading.problems, *builder.problems)), key=place_of):
        if (problem.file, problem.path) in interpolation.failed:
            continue  # it has been told why there is no value
        if problem.text == NO_IMAGE and (problem.file, f"{problem.path}.image") in interpolation.failed:
            continue
        missing = names.get((problem.file, problem.path))
        yield f"{problem} ({', '.join(missing)} not set)" if missing else str(problem)


def _problems(found: Sequence[Duplicate], problems: Sequence[str], where: str) -> InputError:
    lines = [*map(str, found), *problems]
    shown = lines[:_SHOWN] + ([f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else [])
    counted = [_count(len(found), "duplicate key"), _count(len(problems), "problem")]
    return InputError(
        " and ".join(text for text in counted if text),
        where=where,
        why="\n        ".join(shown),
        next_step="keep one of each, or convert with --duplicates last"
        if found
        else "correct these lines, or give the missing values with --env-file",
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number > 1 else ''}" if number else ""
