"""Reads what a service lists: ports, mounts, secrets, configs and networks, in both of their forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose import units
from provisioners.compose.merge import Overridden, as_names
from provisioners.compose.model import FileRef, Mount, NetworkRef, Port
from provisioners.compose.nodes import Leaf, Listing, Node, Table
from provisioners.compose.records import dataclass
from provisioners.compose.values import Values, octal

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Lists(Values):
    """Reads the lists of one service; a short item is a text, a long one a table."""

    def ports(self, node: Node | None) -> Iterator[Port]:
        """Yield the published ports, ranges as single ones."""
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

    def expose(self, node: Node | None) -> Iterator[Port]:
        """Yield the ports that only other services reach."""
        for item in self.items(node):
            given = self.read(item, units.parse_ports)
            if given is not None:
                for port in given.value:
                    yield Port(port.target, None, port.protocol, "", item)

    def mounts(self, node: Node | None) -> tuple[Mount, ...]:
        """Return the mounts; of two at one path the later one counts, as in compose."""
        found: dict[str, Mount] = {}
        for item in self.items(node):
            mount = self._long_mount(item) if isinstance(item, Table) else self._short_mount(item)
            if mount is None:
                continue
            if mount.target in found:
                self.overridden.append(Overridden(found[mount.target].at, item))
            found[mount.target] = mount
        return tuple(found.values())

    def _short_mount(self, item: Node) -> Mount | None:
        given = self.read(item, units.parse_mount)
        if given is None:
            return None
        text = given.value
        return Mount(text.kind, text.source, text.target, "ro" in text.options, item)

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

    def file_refs(self, node: Node | None, section: str, folder: str) -> Iterator[FileRef]:
        """Yield the secrets or configs that a service takes as files below `folder`."""
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

    def networks(self, node: Node | None) -> Iterator[NetworkRef]:
        """Yield the networks that a service joins."""
        if node is None or (isinstance(node, Leaf) and node.is_null):
            return
        table = self.names(node, "networks")
        if table is None:
            return
        for name, value in table.entries.items():
            body = self.table(value, "services.*.networks.*")
            aliases = self.texts(body.get("aliases")) if body else ()
            yield NetworkRef(name, tuple(given.value for given in aliases), value)

    def names(self, node: Node, what: str) -> Table | None:
        """Return a list of names, or a table by name, as a table."""
        table = as_names(node)
        if not isinstance(table, Table):
            self.problem(node, f"a list or a table of {what} is wanted here")
            return None
        if isinstance(node, Listing):
            kept = [value.path for value in table.entries.values()]
            for item in node.items:
                if isinstance(item, Leaf) and item.path not in kept:
                    self.problem(item, f"{item.text!r} stands twice in the list")
        return table
