"""Loads compose files into one typed project: read, interpolate, merge, build, cross-check."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from provisioners.compose.build import Builder
from provisioners.compose.envfile import read_env_file
from provisioners.compose.interpolate import Interpolation
from provisioners.compose.merge import Merge
from provisioners.compose.model import Given, Project, Resource, Service, Source
from provisioners.compose.nodes import Leaf, Node, Table, place
from provisioners.compose.reader import Duplicate, Duplicates, read_file
from provisioners.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SHOWN = 100
_NO_NETWORK = frozenset(("default", "host", "none", "bridge"))
_LATER = {
    "include": "`include` is not read yet; give the included files beside this one",
    "extends": "`extends` is not read yet; merge with an anchor, or give both files",
}


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
    variables = _variables(folder, env, env_files)
    read = [_read(Path(file)) for file in files]
    found = tuple(item for _, items in read for item in items)
    interpolation = Interpolation(variables)
    roots = [_table(interpolation.node(root)) for root, _ in read]
    merge = Merge()
    root = roots[0]
    for over in roots[1:]:
        root = _table(merge.merge(root, over) or root)
    builder = Builder(folder, variables, lenient=duplicates == "last")
    parts = _Parts(builder, root)
    services = parts.services()
    sections = {name: parts.section(name) for name in ("networks", "volumes", "secrets", "configs")}
    parts.check_references(services, sections)
    problems = [*interpolation.problems, *_with_hints(builder, interpolation)]
    refused = found if duplicates == "error" else ()
    if problems or refused:
        raise _problems(refused, problems, str(files[0]))
    name = builder.text(root.get("name"))
    return Project(
        name=name.value if name else folder.resolve().name,
        root=root,
        services=services,
        networks=sections["networks"],
        volumes=sections["volumes"],
        secrets=sections["secrets"],
        configs=sections["configs"],
        sources=tuple(Source(item.file, item) for item in roots),
        folder=folder,
        variables=variables,
        duplicates=found,
        overridden=(*merge.overridden, *builder.overridden),
        unset=tuple(interpolation.unset),
        mended=tuple(builder.mended),
        inactive=tuple(parts.inactive),
    )


def _variables(folder: Path, env: Mapping[str, str], env_files: Sequence[Path]) -> dict[str, str]:
    beside = folder / ".env"
    files = list(env_files) or ([beside] if beside.is_file() else [])
    found: dict[str, str] = {}
    for file in files:
        values = read_env_file(Path(file), env)
        found.update({name: value for name, value in values.items() if value is not None})
    return {**found, **env}


def _read(file: Path) -> tuple[Table, tuple[Duplicate, ...]]:
    document = read_file(file)
    return _table(document.root), document.duplicates


def _table(node: Node) -> Table:
    if not isinstance(node, Table):
        raise InputError("a compose file is a table", where=place(node), next_step="begin with `services:`")
    return node


@dataclass(frozen=True, slots=True)
class _Parts:
    """The sections of the merged root, one after the other."""

    builder: Builder
    root: Table
    inactive: list[Given[str]] = field(default_factory=list)

    def services(self) -> dict[str, Service]:
        self.builder.table(self.root, "")
        self._later(self.root)
        node = self.root.get("services")
        if not isinstance(node, Table) or not node.entries:
            self.builder.problem(node or self.root, "there are no services")
            return {}
        found = {}
        for name, value in node.entries.items():
            if name.startswith("x-"):
                continue
            service = self.builder.service(name, value)
            if service is not None and not self._active(service):
                self.inactive.append(Given(name, value))
            elif service is not None:
                self._later(service.at)
                found[name] = service
        return found

    def _active(self, service: Service) -> bool:
        """Whether the service has no profile, or one that COMPOSE_PROFILES names."""
        node = service.others.get("profiles")
        wanted = {word.strip() for word in self.builder.variables.get("COMPOSE_PROFILES", "").split(",")}
        names = {given.value for given in self.builder.texts(node)}
        return not names or "*" in wanted or bool(names & wanted)

    def _later(self, table: Table) -> None:
        for key, text in _LATER.items():
            if key in table.entries:
                self.builder.problem(table.entries[key], text)

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
                asleep = section == "services" and any(name == given.value for given in self.inactive)
                if name in known or asleep or (section == "networks" and name in _NO_NETWORK):
                    continue
                if self.builder.lenient and section == "networks":
                    text = f"network {name!r} is not defined; pods reach each other without it"
                    self.builder.mended.append(Given(text, at))
                    continue
                self.builder.problem(at, f"{section.removesuffix('s')} {name!r} is not defined")


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


def _with_hints(builder: Builder, interpolation: Interpolation) -> Iterator[str]:
    """Yield the builder's problems; one at a value whose variable was unset names the variable."""
    names: dict[tuple[str, str], list[str]] = {}
    for item in interpolation.unset:
        names.setdefault((item.file, item.path), []).append(item.name)
    for problem in builder.problems:
        if (problem.file, problem.path) in interpolation.failed:
            continue  # it has been told why there is no value
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
