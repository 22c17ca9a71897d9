"""Existing clusters: what is wrong with kubeconfig, hosts or identities is said before anything is sent."""

import base64
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioners import existing
from provisioners.base import Cluster, Node, Side
from provisioners.errors import InputError, TargetRefused
from provisioners.existing import ExistingProvisioner, Identity, require_same, ssh_problem
from provisioners.inventory import write_inventory
from provisioners.kubeconfig import (
    kubeconfig_problems,
    pin_kubeconfig,
    read_kubeconfig,
    require_usable,
    rewrite_server,
    write_private,
)
from provisioners.shell import CommandResult, Ssh
from provisioners.steps import QuietProgress, run_steps

CA = b"-----BEGIN CERTIFICATE-----\nnot looked at\n"


def kubeconfig(tmp_path: Path, *, mode: int = 0o600, **changes: Any) -> Path:
    cluster = {
        "server": "https://192.0.2.1:6443",
        "certificate-authority-data": base64.b64encode(CA).decode(),
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u"}},
            {"name": "there", "context": {"cluster": "d", "user": "u"}},
        ],
        "clusters": [
            {"name": "c", "cluster": cluster | changes.get("cluster", {})},
            {"name": "d", "cluster": {"server": "https://192.0.2.9:6443"}},
        ],
        "users": [{"name": "u", "user": changes.get("user", {"token": "t"})}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(document | changes.get("document", {})))
    path.chmod(mode)
    return path


def certificate(ends: datetime) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "u")])
    built = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=ends - timedelta(days=9),
        not_valid_after=ends,
    ).sign(key, hashes.SHA256())
    return base64.b64encode(built.public_bytes(serialization.Encoding.PEM)).decode()


def problems(path: Path) -> str:
    return "; ".join(kubeconfig_problems(read_kubeconfig(path)))


def test_a_good_kubeconfig_has_no_problem(tmp_path):
    config = read_kubeconfig(kubeconfig(tmp_path))
    assert (config.context, config.server, config.ca) == ("here", "https://192.0.2.1:6443", CA)
    assert len(config.ca_hash) == 64
    assert kubeconfig_problems(config) == ()
    require_usable(config)


def test_a_named_context_is_taken_and_an_unknown_one_refused_with_the_names(tmp_path):
    path = kubeconfig(tmp_path)
    assert read_kubeconfig(path, "there").server == "https://192.0.2.9:6443"
    with pytest.raises(InputError, match=r"no context 'nowhere'[\s\S]*here, there"):
        read_kubeconfig(path, "nowhere")


@pytest.mark.parametrize("content", ["", "a: [b", "- a", "clusters: []"])
def test_what_is_no_kubeconfig_is_an_input_error(tmp_path, content):
    (tmp_path / "bad").write_text(content)
    with pytest.raises(InputError):
        read_kubeconfig(tmp_path / "bad")


def test_a_missing_kubeconfig_and_a_folder_are_input_errors(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_kubeconfig(path)


def test_a_kubeconfig_that_others_can_read_is_refused(tmp_path):
    path = kubeconfig(tmp_path, mode=0o644)
    assert "its mode is 0644" in problems(path)
    with pytest.raises(TargetRefused, match="chmod 0600"):
        require_usable(read_kubeconfig(path))


def test_an_expired_certificate_is_named_with_its_day(tmp_path):
    path = kubeconfig(
        tmp_path, user={"client-certificate-data": certificate(datetime(2020, 5, 6, tzinfo=UTC))}
    )
    assert "expired on 2020-05-06" in problems(path)


def test_a_certificate_that_is_still_good_is_no_problem(tmp_path):
    ends = datetime.now(UTC) + timedelta(days=1)
    assert problems(kubeconfig(tmp_path, user={"client-certificate-data": certificate(ends)})) == ""


def test_tls_turned_off_plain_http_and_a_missing_plugin_are_all_named_at_once(tmp_path):
    path = kubeconfig(
        tmp_path,
        cluster={"insecure-skip-tls-verify": True, "server": "http://192.0.2.1"},
        user={"exec": {"command": "no-such-plugin"}},
    )
    text = problems(path)
    assert "turns TLS verification off" in text
    assert "is not https" in text
    assert "'no-such-plugin' is not installed" in text


def test_a_pinned_copy_holds_one_context_and_is_private(tmp_path):
    path = kubeconfig(tmp_path, user={"client-key": "keys/u.key", "client-certificate-data": ""})
    pinned = pin_kubeconfig(read_kubeconfig(path, "there"), tmp_path / "state" / "pinned")
    document = yaml.safe_load(pinned.read_text())
    assert document["current-context"] == "there"
    assert [entry["name"] for entry in document["clusters"]] == ["d"]
    assert document["users"][0]["user"]["client-key"] == str(tmp_path / "keys" / "u.key")
    assert stat.S_IMODE(pinned.stat().st_mode) == 0o600


def test_only_a_loopback_server_is_rewritten():
    def server(before: str, address: str) -> str:
        text = yaml.safe_dump({"clusters": [{"name": "c", "cluster": {"server": before}}]})
        return str(yaml.safe_load(rewrite_server(text, address))["clusters"][0]["cluster"]["server"])

    assert server("https://127.0.0.1:6443", "192.0.2.7") == "https://192.0.2.7:6443"
    assert server("https://127.0.0.1:6443", "2001:db8::7") == "https://[2001:db8::7]:6443"
    assert server("https://k3s.example:6443", "192.0.2.7") == "https://k3s.example:6443"


def test_a_private_file_replaces_a_readable_one(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# -- hosts -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SaidSsh(Ssh):
    """A host that answers every command alike."""

    code: int | None = 0
    out: str = ""
    err: str = ""

    def run(self, argv: Any, *, timeout_s: float = 60.0, stdin: Any = None, env: Any = None) -> CommandResult:
        return CommandResult(tuple(argv), self.host, self.code, self.out, self.err, 0.0)


def host(code: int | None, out: str = "", err: str = "") -> Node:
    return Node("n1", SaidSsh("n1", "192.0.2.1", code=code, out=out, err=err))


def test_a_root_shell_is_no_problem_even_behind_a_banner():
    assert ssh_problem(host(0, "0\n")) == ("", "")
    assert ssh_problem(host(0, "Welcome to 22 users!\n0\n")) == ("", "")


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (host(0, "1000\n"), "has uid 1000"),
        (host(0, ""), "has uid unknown"),
        (host(None), "no answer over SSH"),
        (host(255, err="root@192.0.2.1: Permission denied (publickey)."), "refused the key"),
        (host(255, err="ssh: connect to host 192.0.2.1 port 22: No route to host"), "No route to host"),
    ],
)
def test_each_trouble_with_ssh_has_its_own_words_and_a_fix(node, text):
    detail, fix = ssh_problem(node)
    assert text in detail
    assert fix


def test_a_changed_host_key_shows_both_fingerprints(monkeypatch):
    said = {
        "-F": "# Host 192.0.2.1 found\n192.0.2.1 ED25519 SHA256:known",
        "-f": "256 SHA256:offered host (ED25519)",
    }

    def fake(argv: list[str], **_: Any) -> CommandResult:
        key = "-F" if "-F" in argv else "-f" if argv[0] == "ssh-keygen" else ""
        return CommandResult(tuple(argv), "localhost", 0, said.get(key, ""), "", 0.0)

    monkeypatch.setattr(existing, "run", fake)
    detail, fix = ssh_problem(host(255, err="Host key verification failed."))
    assert "expected SHA256:known, it offers SHA256:offered" in detail
    assert "known_hosts" in fix


# -- identities --------------------------------------------------------------------------------


def test_an_identity_must_be_named_and_be_the_same():
    assert Identity(Side.SWARM, "a", "a").problem == ""
    assert "names no swarm_id; the cluster that answers is b" in Identity(Side.SWARM, "", "b").problem
    assert "names kube_system_uid a, and b answers" in Identity(Side.KUBERNETES, "a", "b").problem


class SaidTarget:
    """A side that says who it is."""

    def __init__(self, identity: str) -> None:
        self.name = identity

    def identity(self) -> str:
        return self.name


@pytest.fixture
def provisioner(tmp_path, monkeypatch):
    monkeypatch.setenv("GONOGO_STATE", str(tmp_path / "state"))
    write_inventory(tmp_path / "inventory.yaml", [Node("n1", Ssh("n1", "192.0.2.1"), control_plane=True)])
    monkeypatch.setattr(existing, "ssh_problem", lambda _node: ("", ""))
    monkeypatch.setattr(
        Ssh, "run", lambda self, argv, **_: CommandResult(tuple(argv), self.host, 0, "26.1", "", 0.0)
    )
    said = {Side.SWARM: SaidTarget("swarm1"), Side.KUBERNETES: SaidTarget("uid1")}
    monkeypatch.setattr(existing, "open_targets", lambda _cluster, _workload: said)
    return ExistingProvisioner(
        kubeconfig=kubeconfig(tmp_path),
        inventory=tmp_path / "inventory.yaml",
        kube_system_uid="uid1",
        swarm_id="swarm1",
    )


def test_clusters_that_the_config_names_are_accepted(provisioner):
    results = run_steps(provisioner.steps(), progress=QuietProgress())
    assert {result.name for result in results} == {"kubeconfig", "hosts", "identities"}
    assert provisioner.is_up()
    assert all(check.ok for check in provisioner.preflight())


@pytest.mark.parametrize(
    ("side", "wanted"), [(Side.SWARM, "other"), (Side.KUBERNETES, "other"), (Side.SWARM, "")]
)
def test_another_cluster_or_one_that_is_not_named_is_refused_with_what_to_write(provisioner, side, wanted):
    provisioner.wanted[side] = wanted
    with pytest.raises(TargetRefused, match="does not name") as refused:
        run_steps(provisioner.steps(), progress=QuietProgress())
    assert refused.value.exit_code == 4
    assert f": {'swarm1' if side is Side.SWARM else 'uid1'}" in refused.value.next_step
    assert not provisioner.is_up()
    assert [check.ok for check in provisioner.preflight()].count(False) == 1


def test_every_host_that_cannot_be_used_is_named(provisioner, monkeypatch):
    monkeypatch.setattr(existing, "ssh_problem", lambda _node: ("no answer", "look at it"))
    with pytest.raises(TargetRefused, match=r"1 of 1 hosts cannot be used[\s\S]*host n1: no answer"):
        run_steps(provisioner.steps(), progress=QuietProgress())


def test_the_cluster_is_reached_through_a_copy_that_a_later_switch_does_not_change(provisioner, tmp_path):
    cluster = provisioner.cluster()
    kubeconfig(tmp_path, document={"current-context": "there"})
    again = provisioner.cluster()
    assert again == cluster
    assert cluster.kubeconfig != provisioner.kubeconfig
    assert read_kubeconfig(cluster.kubeconfig).server == "https://192.0.2.1:6443"
    assert (cluster.kind, cluster.level, cluster.kube_context) == ("existing", "existing", "here")
    assert stat.S_IMODE(cluster.kubeconfig.stat().st_mode) == 0o600


def test_a_cluster_that_was_rebuilt_behind_the_same_address_is_noticed(provisioner):
    same = {Side.SWARM: "swarm1", Side.KUBERNETES: "uid1"}
    require_same(Cluster("existing", "existing"), same)
    with pytest.raises(TargetRefused, match="kubernetes side is another cluster now"):
        require_same(Cluster("existing", "existing"), same | {Side.KUBERNETES: "uid0"})


def test_a_docker_context_reaches_the_manager(provisioner):
    provisioner.docker_context = "prod"
    assert provisioner.cluster().extra["docker_context"] == "prod"


def test_going_down_leaves_existing_clusters_alone(provisioner):
    said: list[str] = []
    provisioner.down(said.append)
    assert said == ["existing clusters stay; only what was deployed is removed"]
