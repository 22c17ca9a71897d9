import datetime as dt
import json
import ssl
from dataclasses import replace

import pytest
from cryptography import x509

from provisioners.base import Node
from provisioners.shell import Ssh
from provisioners.upstream.pki import CLUSTER_CA, FRONT_CA, Leaf, Pki, cluster_leaves

NODES = tuple(
    Node(name=f"node{i}", ssh=Ssh(host=f"node{i}", address=f"192.0.2.{i}"), index=i - 1) for i in (1, 2)
)
LEAVES = cluster_leaves(NODES, "192.0.2.1", "10.43.0.1")


@pytest.fixture
def pki(tmp_path):
    made = Pki(tmp_path / "pki")
    made.ensure(LEAVES)
    return made


def load(pki: Pki, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pki.certificate(name))


def test_makes_every_part_once_and_keeps_it(pki):
    before = {path.name: path.read_bytes() for path in pki.folder.iterdir()}
    assert pki.ensure(LEAVES) == ()
    assert {path.name: path.read_bytes() for path in pki.folder.iterdir()} == before


def test_keys_are_for_their_owner_only(pki):
    assert pki.folder.stat().st_mode & 0o777 == 0o700
    keys = list(pki.folder.glob("*.key"))
    assert len(keys) == len(LEAVES) + 3  # two authorities, the account key
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}
    assert not list(pki.folder.glob(".*"))


def test_each_certificate_is_signed_by_its_own_authority(pki):
    for leaf in LEAVES:
        load(pki, leaf.name).verify_directly_issued_by(load(pki, leaf.authority))
    front = load(pki, "front-proxy-client")
    with pytest.raises(ValueError, match="Issuer"):
        front.verify_directly_issued_by(load(pki, CLUSTER_CA))
    assert load(pki, CLUSTER_CA).subject != load(pki, FRONT_CA).subject


def test_names_and_addresses_are_those_asked_for(pki):
    found = load(pki, "apiserver").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "kubernetes.default.svc.cluster.local" in found.get_values_for_type(x509.DNSName)
    assert {str(a) for a in found.get_values_for_type(x509.IPAddress)} == {
        "127.0.0.1",
        "10.43.0.1",
        "192.0.2.1",
    }
    kubelet = load(pki, "kubelet-node2").subject.rfc4514_string()
    assert kubelet == "CN=system:node:node2,O=system:nodes"


def test_a_client_that_trusts_the_authority_accepts_the_server(pki):
    context = ssl.create_default_context(cadata=pki.certificate(CLUSTER_CA).decode())
    context.load_cert_chain(pki.folder / "admin.crt", pki.folder / "admin.key")  # a pair, or it raises


@pytest.mark.parametrize("name", ["apiserver.crt", "apiserver.key"])
def test_half_a_pair_is_made_anew(pki, name):
    authority = pki.certificate(CLUSTER_CA)
    (pki.folder / name).unlink()
    assert pki.ensure(LEAVES) == ("apiserver",)
    assert pki.certificate(CLUSTER_CA) == authority


def test_a_certificate_beside_another_key_is_not_believed(pki):
    (pki.folder / "scheduler.key").write_bytes(pki.key("admin"))
    assert pki.ensure(LEAVES) == ("scheduler",)


def test_a_new_authority_replaces_all_that_it_signed(pki):
    (pki.folder / "ca.crt").write_text("cut off")
    made = pki.ensure(LEAVES)
    assert set(made) == {"ca"} | {leaf.name for leaf in LEAVES if leaf.authority == CLUSTER_CA}


def test_other_addresses_or_names_make_a_new_certificate(pki):
    moved = tuple(
        replace(leaf, addresses=("192.0.2.99",)) if leaf.name == "kubelet-node1" else leaf for leaf in LEAVES
    )
    assert pki.ensure(moved) == ("kubelet-node1",)
    assert pki.ensure([*moved, Leaf("extra", "extra", "group")]) == ("extra",)


def test_what_ends_soon_is_renewed(pki, monkeypatch):
    class Later(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + dt.timedelta(days=340)

    monkeypatch.setattr("provisioners.upstream.pki.dt.datetime", Later)
    made = pki.ensure(LEAVES)
    assert set(made) == {leaf.name for leaf in LEAVES}  # authorities last ten years


def test_kubeconfig_holds_what_a_client_needs(pki):
    config = json.loads(pki.kubeconfig("admin", "https://192.0.2.1:6443", "lab"))
    assert config["current-context"] == "lab"
    cluster = config["clusters"][0]["cluster"]
    assert cluster["server"] == "https://192.0.2.1:6443"
    assert "insecure-skip-tls-verify" not in cluster
    assert cluster["certificate-authority-data"]
    assert config["users"][0]["user"]["client-key-data"]


def test_leaves_name_their_authoritys_key_as_strict_clients_ask(pki):
    authority = load(pki, CLUSTER_CA).extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    found = load(pki, "apiserver").extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert found.key_identifier == authority.digest


def test_a_certificate_without_its_authoritys_key_is_made_anew(pki, monkeypatch):
    from provisioners.upstream import pki as module

    (pki.folder / "admin.crt").unlink()
    with monkeypatch.context() as old:
        unrelated = x509.AuthorityInformationAccess(
            [x509.AccessDescription(x509.OID_OCSP, x509.DNSName("unused.invalid"))]
        )
        old.setattr(module, "_issuer_key_id", lambda _: unrelated)
        old.setattr(module, "_fits", lambda *_: True)
        assert pki.ensure(LEAVES) == ("admin",)
    assert pki.ensure(LEAVES) == ("admin",)
