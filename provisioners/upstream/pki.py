"""The cluster's certificates and keys: two authorities, one certificate for each part.

Kept in one folder (0700, keys 0600). `ensure` keeps what is whole, fitting and not near its
end, and makes the rest; a certificate never lies beside another's key, for a pair is
checked before it is believed.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from provisioners.base import Node

CLUSTER_CA = "ca"
FRONT_CA = "front-proxy-ca"

_CA_DAYS = 3650
_LEAF_DAYS = 365
_RENEW_DAYS = 30
_YESTERDAY = dt.timedelta(days=1)  # clocks of hosts differ


@dataclass(frozen=True, slots=True)
class Leaf:
    """One certificate to be: its file name, who it names, and where it is valid."""

    name: str
    common_name: str
    organisation: str = ""
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    authority: str = CLUSTER_CA


@dataclass(frozen=True, slots=True)
class Pki:
    """The folder of certificates and keys."""

    folder: Path

    def ensure(self, leaves: Sequence[Leaf]) -> tuple[str, ...]:
        """Make what is missing, broken or near its end; return the names of what was made."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = [name for name in (CLUSTER_CA, FRONT_CA) if self._ensure_authority(name)]
        made += [leaf.name for leaf in leaves if self._ensure_leaf(leaf)]
        if self._ensure_account_key():
            made.append("sa")
        return tuple(made)

    def certificate(self, name: str) -> bytes:
        """Return a certificate as PEM."""
        return (self.folder / f"{name}.crt").read_bytes()

    def key(self, name: str) -> bytes:
        """Return a private key as PEM."""
        return (self.folder / f"{name}.key").read_bytes()

    def account_public_key(self) -> bytes:
        """Return the key that service account tokens are checked with, as PEM."""
        return (self.folder / "sa.pub").read_bytes()

    def kubeconfig(self, name: str, server: str, context: str) -> bytes:
        """Return a kubeconfig (JSON, which is YAML) for the bearer of a certificate."""
        cluster = {"server": server, "certificate-authority-data": _base64(self.certificate(CLUSTER_CA))}
        user = {
            "client-certificate-data": _base64(self.certificate(name)),
            "client-key-data": _base64(self.key(name)),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": context, "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": context, "context": {"cluster": context, "user": name}}],
            "current-context": context,
        }
        return (json.dumps(config, indent=1) + "\n").encode()

    def _ensure_authority(self, name: str) -> bool:
        pair = self._pair(name)
        if pair and _fresh(pair[0]) and _signed_by(pair[0], pair[0]):
            return False
        key = _new_key()
        self._write(name, _sign_authority(name, key), key)
        return True

    def _ensure_leaf(self, leaf: Leaf) -> bool:
        authority = self._pair(leaf.authority)
        if authority is None:
            raise FileNotFoundError(self.folder / f"{leaf.authority}.crt")
        pair = self._pair(leaf.name)
        if pair and _fresh(pair[0]) and _signed_by(pair[0], authority[0]) and _fits(pair[0], leaf):
            return False
        key = _new_key()
        self._write(leaf.name, _sign_leaf(leaf, key, *authority), key)
        return True

    def _ensure_account_key(self) -> bool:
        key = _read_key(self.folder / "sa.key")
        public = self.folder / "sa.pub"
        if key is not None and public.exists() and public.read_bytes() == _public_pem(key):
            return False
        key = key or _new_key()
        self._replace("sa.key", _private_pem(key), 0o600)
        self._replace("sa.pub", _public_pem(key), 0o644)
        return True

    def _pair(self, name: str) -> tuple[x509.Certificate, EllipticCurvePrivateKey] | None:
        """Return a certificate and its key, or None unless both are whole and belong together."""
        from cryptography import x509

        key = _read_key(self.folder / f"{name}.key")
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate(name))
        except (OSError, ValueError):
            return None
        if key is None or certificate.public_key() != key.public_key():
            return None
        return certificate, key

    def _write(self, name: str, certificate: x509.Certificate, key: EllipticCurvePrivateKey) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding

        self._replace(f"{name}.key", _private_pem(key), 0o600)
        self._replace(f"{name}.crt", certificate.public_bytes(Encoding.PEM), 0o644)

    def _replace(self, name: str, data: bytes, mode: int) -> None:
        fresh = self.folder / f".{name}.new"
        fresh.unlink(missing_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123  mode from the first byte on
            file.write(data)
        fresh.replace(self.folder / name)


def cluster_leaves(nodes: Sequence[Node], server: str, service_address: str) -> tuple[Leaf, ...]:
    """Return every certificate of a cluster whose API server is at `server` (an address)."""
    service_names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    return (
        Leaf(
            "apiserver",
            "kube-apiserver",
            names=(*service_names, "kubernetes.default.svc.cluster.local", "localhost"),
            addresses=("127.0.0.1", service_address, server),
        ),
        Leaf("apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
        Leaf("front-proxy-client", "front-proxy-client", authority=FRONT_CA),
        Leaf("admin", "gonogo-admin", "system:masters"),
        Leaf("controller-manager", "system:kube-controller-manager"),
        Leaf("scheduler", "system:kube-scheduler"),
        Leaf("kube-proxy", "system:kube-proxy"),
        *(
            Leaf(
                f"kubelet-{node.name}",
                f"system:node:{node.name}",
                "system:nodes",
                names=(node.name,),
                addresses=(node.address,),
            )
            for node in nodes
        ),
    )


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _read_key(path: Path) -> EllipticCurvePrivateKey | None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _private_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _fresh(certificate: x509.Certificate) -> bool:
    rest = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
    return rest > dt.timedelta(days=_RENEW_DAYS)


def _signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _fits(certificate: x509.Certificate, leaf: Leaf) -> bool:
    """Return whether the certificate names whom and where the leaf says."""
    from cryptography import x509

    if certificate.subject != _subject(leaf.common_name, leaf.organisation):
        return False
    try:
        certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound:  # made before leaves had one
        return False
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return not leaf.names and not leaf.addresses
    addresses = {str(address) for address in found.get_values_for_type(x509.IPAddress)}
    return set(found.get_values_for_type(x509.DNSName)) == set(leaf.names) and addresses == set(
        leaf.addresses
    )


def _subject(common_name: str, organisation: str = "") -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)] if organisation else []
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: x509.Name, issuer: x509.Name, days: int) -> x509.CertificateBuilder:
    from cryptography import x509

    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _YESTERDAY)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _sign_authority(name: str, key: EllipticCurvePrivateKey) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    # The serial of the name tells authorities of two labs apart, for their subjects must differ.
    subject = _subject(f"gonogo-{name}-{x509.random_serial_number():x}"[:60])
    public = key.public_key()
    return (
        _builder(subject, subject, _CA_DAYS)
        .public_key(public)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, SHA256())
    )


def _sign_leaf(
    leaf: Leaf, key: EllipticCurvePrivateKey, issuer: x509.Certificate, issuer_key: EllipticCurvePrivateKey
) -> x509.Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import ExtendedKeyUsageOID

    uses = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    builder = (
        _builder(_subject(leaf.common_name, leaf.organisation), issuer.subject, _LEAF_DAYS)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(_issuer_key_id(issuer), critical=False)
    )
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in leaf.names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in leaf.addresses]
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(issuer_key, SHA256())


def _issuer_key_id(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return what RFC 5280 asks of a leaf; strict clients (Python 3.13 on) refuse one without."""
    from cryptography import x509

    key_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
