"""The kubeconfig: what one context of it says, what is wrong with it, and safe copies of it.

Reading contacts nothing and asks nothing: credentials that would need a prompt are refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from provisioners.errors import InputError, TargetRefused

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "0.0.0.0")  # noqa: S104 - names in a file, nothing is bound


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """One context of a kubeconfig: the cluster and the credentials that it names."""

    path: Path
    context: str
    server: str
    ca: bytes  # PEM; empty when the file trusts the machine's own list
    insecure: bool
    certificate: bytes  # PEM of the client certificate; empty for other credentials
    exec_command: str

    @property
    def ca_hash(self) -> str:
        """Return the hash that tells this cluster's authority from any other."""
        return hashlib.sha256(self.ca).hexdigest() if self.ca else ""


def read_kubeconfig(path: Path, context: str | None = None) -> Kubeconfig:
    """Return the named context, or the current one; raises InputError when there is none."""
    document = _document(path)
    name = context or document.get("current-context") or ""
    chosen = _named(document, "contexts", "context", name, path)
    cluster = _named(document, "clusters", "cluster", str(chosen.get("cluster", "")), path)
    user = _named(document, "users", "user", str(chosen.get("user", "")), path)
    return Kubeconfig(
        path=path,
        context=name,
        server=str(cluster.get("server", "")),
        ca=_data(cluster, "certificate-authority", path),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        certificate=_data(user, "client-certificate", path),
        exec_command=str((user.get("exec") or {}).get("command", "")),
    )


def kubeconfig_problems(config: Kubeconfig, now: datetime | None = None) -> tuple[str, ...]:
    """Return everything that keeps the kubeconfig from being used, each with its fix."""
    problems = []
    mode = stat.S_IMODE(config.path.stat().st_mode)
    if mode & 0o077:
        problems.append(f"its mode is {mode:04o}, others can read its keys: chmod 0600 {config.path}")
    if not config.server.startswith("https://"):
        problems.append(f"server {config.server!r} is not https: it must be the API server's https address")
    if config.insecure:
        problems.append("it turns TLS verification off: give certificate-authority-data instead")
    if config.exec_command and not shutil.which(config.exec_command):
        problems.append(f"its credential plugin {config.exec_command!r} is not installed on this machine")
    ended = _expiry(config.certificate)
    if ended and ended <= (now or datetime.now(UTC)):
        problems.append(f"its client certificate expired on {ended:%Y-%m-%d}: fetch a new kubeconfig")
    return tuple(problems)


def require_usable(config: Kubeconfig) -> None:
    """Raise TargetRefused with every problem at once; nothing is sent to the cluster before this."""
    problems = kubeconfig_problems(config)
    if problems:
        raise TargetRefused(
            "the kubeconfig cannot be used",
            where=f"{config.path}, context {config.context}",
            why="; ".join(problems),
        )


def rewrite_server(text: str, address: str, port: int = 6443) -> str:
    """Return a kubeconfig of a K3s server whose loopback address is replaced by the real one."""
    import yaml

    document = yaml.safe_load(text)
    host = f"[{address}]" if ":" in address else address
    for entry in document.get("clusters") or []:
        server = str(entry["cluster"].get("server", ""))
        if any(f"//{name}:" in server for name in _LOOPBACK):
            entry["cluster"]["server"] = f"https://{host}:{port}"
    return str(yaml.safe_dump(document, sort_keys=False))


def pin_kubeconfig(config: Kubeconfig, to: Path) -> Path:
    """Write a 0600 copy that holds this context alone, so that a later change elsewhere has no effect."""
    import yaml

    document = _document(config.path)
    context = _named(document, "contexts", "context", config.context, config.path)
    kept: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": config.context,
        "contexts": [{"name": config.context, "context": context}],
    }
    for plural, noun in (("clusters", "cluster"), ("users", "user")):
        body = _named(document, plural, noun, str(context[noun]), config.path)
        for key in ("certificate-authority", "client-certificate", "client-key", "tokenFile"):
            if key in body:
                body[key] = str((config.path.parent / Path(body[key]).expanduser()).absolute())
        kept[plural] = [{"name": context[noun], noun: body}]
    write_private(to, yaml.safe_dump(kept, sort_keys=False))
    return to


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner ever reads, in one go."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def _document(path: Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(
            "the kubeconfig cannot be read",
            where=str(path),
            why=str(error),
            next_step="give the path of a kubeconfig file",
        ) from error
    if not isinstance(document, dict) or not document.get("clusters"):
        raise InputError("this is not a kubeconfig", where=str(path), why="it has no clusters")
    return document


def _named(document: dict[str, Any], plural: str, noun: str, name: str, path: Path) -> dict[str, Any]:
    entries = [entry for entry in document.get(plural) or [] if isinstance(entry, dict)]
    for entry in entries:
        if entry.get("name") == name and isinstance(entry.get(noun), dict):
            return dict(entry[noun])
    names = ", ".join(str(entry.get("name")) for entry in entries) or "none"
    raise InputError(
        f"no {noun} {name!r} in the kubeconfig", where=str(path), why=f"its {plural} are {names}"
    )


def _data(body: dict[str, Any], key: str, path: Path) -> bytes:
    try:
        if body.get(f"{key}-data"):
            return base64.b64decode(body[f"{key}-data"], validate=True)
        if body.get(key):
            return (path.parent / Path(body[key]).expanduser()).read_bytes()
    except (OSError, binascii.Error) as error:
        raise InputError(f"{key} cannot be read", where=str(path), why=str(error)) from error
    return b""


def _expiry(certificate: bytes) -> datetime | None:
    if not certificate:
        return None
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc
