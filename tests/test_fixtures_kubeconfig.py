"""fixtures.kubeconfig: reading one context, and a TLS handshake that must and must not succeed."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fixtures.kubeconfig import read_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def tls_server(folder: Path, address: str = "127.0.0.1") -> Iterator[tuple[int, bytes]]:
    """A TLS server whose certificate names `address`; yields its port and its authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    own = x509.IPAddress(ipaddress.ip_address(address))
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(minutes=5))
        .add_extension(x509.SubjectAlternativeName([own]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(pem + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with suppress(OSError), context.wrap_socket(plain, server_side=True) as link:
                link.recv(1)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], pem
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def write(folder: Path, port: int, authority: bytes, **cluster: object) -> Path:
    data = {
        "server": f"https://127.0.0.1:{port}",
        "certificate-authority-data": base64.b64encode(authority).decode(),
    }
    raw = {
        "current-context": "lab",
        "contexts": [{"name": "lab", "context": {"cluster": "one", "user": "admin"}}],
        "clusters": [{"name": "one", "cluster": {**data, **cluster}}],
    }
    path = folder / "kubeconfig"
    path.touch(0o600)
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


def test_trusted_and_untrusted(tmp_path: Path) -> None:
    with tls_server(tmp_path) as (port, authority):
        found = read_kubeconfig(write(tmp_path, port, authority))
        assert (found.mode, found.context, found.insecure) == (0o600, "lab", False)
        assert found.handshake() == ""
        assert "self-signed" in found.handshake(trusted=False)


def test_certificate_for_another_address(tmp_path: Path) -> None:
    with tls_server(tmp_path, "192.0.2.1") as (port, authority):
        assert "IP address mismatch" in read_kubeconfig(write(tmp_path, port, authority)).handshake()


def test_another_authority(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with tls_server(tmp_path) as (port, _), tls_server(other) as (_, authority):
        assert read_kubeconfig(write(tmp_path, port, authority)).handshake()


def test_authority_in_a_file_beside_it(tmp_path: Path) -> None:
    path = write(tmp_path, 1, b"x", **{"certificate-authority-data": None, "certificate-authority": "ca.pem"})
    (tmp_path / "ca.pem").write_text("PEM", encoding="ascii")
    assert read_kubeconfig(path).authority == "PEM"


def test_no_verification_and_open_mode_are_seen(tmp_path: Path) -> None:
    path = write(tmp_path, 1, b"x", **{"insecure-skip-tls-verify": True})
    path.chmod(0o644)
    found = read_kubeconfig(path)
    assert found.insecure
    assert found.mode == 0o644


def test_missing_context(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no context named 'prod'"):
        read_kubeconfig(write(tmp_path, 1, b"x"), "prod")
