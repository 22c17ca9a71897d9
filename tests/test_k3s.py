"""K3s on hosts: the whole list of steps against local folders and a recording stand-in for the binary."""

import hashlib
import http.server
import json
import os
import stat
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioners import k3s_host, nvidia
from provisioners.base import Node
from provisioners.errors import InputError, NotReady, TargetRefused
from provisioners.k3s import K3sProvisioner
from provisioners.k3s_host import (
    CONFIG,
    KUBECONFIG,
    MARK,
    NODE_TOKEN,
    TOKEN,
    K3sOptions,
    config_text,
    kept_rules,
    parse_listeners,
    unit_text,
    wanted_ports,
)
from provisioners.k3s_release import VERSION, architecture, check_version, download, find_binary
from provisioners.shell import CommandResult, Ssh, run
from provisioners.steps import QuietProgress, check_graph, run_steps

# Logs its argv and the names of its environment, answers --version, and leaves what a server leaves.
STANDIN = f"""#!/bin/sh
root="$STANDIN_ROOT"
if [ "$1" = --version ]; then echo "k3s version {VERSION} (0000000)"; echo "go version go1.24"; exit 0; fi
{{ echo "argv $*"; env | sed -n 's/^/env /p'; }} >> "$root/standin.log"
if [ "$1" = server ]; then
  mkdir -p "$root{Path(KUBECONFIG).parent}" "$root{Path(NODE_TOKEN).parent}"
  echo K10abc::server:secret > "$root{NODE_TOKEN}"
  cat > "$root{KUBECONFIG}" <<END
apiVersion: v1
kind: Config
current-context: default
clusters: [{{name: default, cluster: {{server: "https://127.0.0.1:6443", certificate-authority-data: YQ==}}}}]
contexts: [{{name: default, context: {{cluster: default, user: default}}}}]
users: [{{name: default, user: {{token: t}}}}]
END
fi
"""
SS = 'tcp LISTEN 0 4096 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))\n'
_ROOTED = ("/etc/", "/usr/local/", "/var/lib/", "/run/")


@dataclass(frozen=True, slots=True)
class FolderSsh(Ssh):
    """A host that is a folder here: files are real, the unit manager and the kernel are played."""

    root: Path = Path("/nonexistent")
    asked: list[tuple[str, ...]] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)  # what the played commands answer
    states: dict[str, str] = field(default_factory=dict)

    def run(self, argv: Any, *, timeout_s: float = 60.0, stdin: Any = None, env: Any = None) -> CommandResult:
        self.asked.append(tuple(argv))
        words = [f"{self.root}{word}" if word.startswith(_ROOTED) else word for word in argv]
        played = getattr(self, f"_{argv[0].replace('-', '_')}", None)
        if played:
            return self._result(argv, played(*argv[1:]))
        if argv[0] in self.said:
            return self._result(argv, self.said[argv[0]])
        return run(words, timeout_s=timeout_s, stdin=stdin, env={"STANDIN_ROOT": str(self.root)})

    def _result(self, argv: Any, answer: str | int) -> CommandResult:
        code, text = (answer, "") if isinstance(answer, int) else (0, answer)
        return CommandResult(tuple(argv), self.host, code, text, "", 0.0)

    def _systemctl(self, *words: str) -> str | int:
        unit = words[-1]
        file = self.root / f"etc/systemd/system/{unit}.service"
        if words[0] in {"start", "restart"}:
            if words[0] == "restart" or self.states.get(unit) != "active":
                line = next(line for line in file.read_text().splitlines() if line.startswith("ExecStart="))
                program, *arguments = line.removeprefix("ExecStart=").split()
                run([f"{self.root}{program}", *arguments], env={"STANDIN_ROOT": str(self.root)}).check()
                self.states[unit] = self.said.get("state", "active")
                self.states["started"] = f"{file.stat().st_mtime_ns // 10**9}"
            return ""
        if words[0] == "show" and "ExecMainStartTimestamp" in words:
            return f"@{self.states['started']}" if "started" in self.states else ""
        if words[0] == "show":
            state, restarts = self.states.get(unit, "inactive"), self.said.get("restarts", "0")
            return f"ActiveState={state}\nNRestarts={restarts}\n"
        if words[0] == "is-active":
            return 0 if self.states.get(unit) == "active" else 3
        return ""


def make_node(tmp_path: Path, name: str, *, server: bool = False) -> Node:
    root = tmp_path / name
    root.mkdir()
    said = {
        "id": "0\n",
        "ss": SS,
        "uname": os.uname().machine + "\n",
        "journalctl": "the last words\n",
        "findmnt": "",
    }
    said |= dict.fromkeys(("ps", "umount", "ip", "iptables-save", "ip6tables-save"), "")
    number = 10 + len(list(tmp_path.iterdir()))
    ssh = FolderSsh(name, f"192.0.2.{number}", root=root, asked=[], said=said, states={})
    return Node(name, ssh, control_plane=server, labels={"instance-role": name})


@pytest.fixture
def standin(tmp_path):
    path = tmp_path / "k3s-standin"
    path.write_text(STANDIN)
    path.chmod(0o755)
    return path


@pytest.fixture
def nodes(tmp_path):
    return (make_node(tmp_path, "s1", server=True), make_node(tmp_path, "a1"), make_node(tmp_path, "a2"))


@pytest.fixture
def provisioner(tmp_path, nodes, standin, monkeypatch):
    monkeypatch.setenv("GONOGO_K3S_BIN", str(standin))
    monkeypatch.setenv("GONOGO_CACHE", str(tmp_path / "cache"))
    made = K3sProvisioner(nodes, kubeconfig=tmp_path / "state" / "kubeconfig")
    # the stand-in serves no API: that nodes become ready is asked of a real K3s only
    monkeypatch.setattr(made, "_node_states", lambda: {node.name: "ready" for node in nodes})
    return made


def root(node: Node) -> Path:
    ssh = node.ssh
    assert isinstance(ssh, FolderSsh)
    return ssh.root


def asked(node: Node) -> list[tuple[str, ...]]:
    ssh = node.ssh
    assert isinstance(ssh, FolderSsh)
    return ssh.asked


def file_of(node: Node, path: str) -> Path:
    return Path(f"{root(node)}{path}")


def starts(node: Node) -> list[str]:
    log = root(node) / "standin.log"
    return [line for line in log.read_text().splitlines() if line.startswith("argv ")] if log.exists() else []


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_servers_and_agents_are_started_with_nothing_on_their_command_lines(provisioner, nodes):
    run_steps(provisioner.steps(), progress=QuietProgress())
    assert [starts(node) for node in nodes] == [["argv server"], ["argv agent"], ["argv agent"]]
    for node in nodes:
        token = file_of(node, TOKEN).read_text().strip()
        assert mode(file_of(node, TOKEN)) == 0o600
        assert token not in (root(node) / "standin.log").read_text()
        assert not any(token in word for argv in asked(node) for word in argv)


def test_agents_join_by_the_token_that_the_server_made(provisioner, nodes):
    run_steps(provisioner.steps(), progress=QuietProgress())
    assert {file_of(node, TOKEN).read_text() for node in nodes[1:]} == {"K10abc::server:secret\n"}
    config = yaml.safe_load(file_of(nodes[1], CONFIG).read_text())
    assert config == {
        "node-name": "a1",
        "node-label": ["instance-role=a1"],
        "server": f"https://{nodes[0].address}:6443",
        "token-file": TOKEN,
    }


def test_the_servers_config_is_strict_and_names_its_addresses(provisioner, nodes):
    run_steps(provisioner.steps(), progress=QuietProgress())
    config = yaml.safe_load(file_of(nodes[0], CONFIG).read_text())
    assert config["write-kubeconfig-mode"] == "0600"
    assert config["tls-san"] == [nodes[0].address, "s1"]
    assert "server" not in config
    assert "cluster-init" not in config
    assert mode(file_of(nodes[0], CONFIG)) == 0o600


def test_the_kubeconfig_is_fetched_rewritten_and_private(provisioner, nodes):
    run_steps(provisioner.steps(), progress=QuietProgress())
    document = yaml.safe_load(provisioner.kubeconfig.read_text())
    assert document["clusters"][0]["cluster"]["server"] == f"https://{nodes[0].address}:6443"
    assert document["clusters"][0]["cluster"]["certificate-authority-data"] == "YQ=="
    assert mode(provisioner.kubeconfig) == 0o600


def test_a_second_run_changes_nothing_and_restarts_nothing(provisioner, nodes):
    run_steps(provisioner.steps(), progress=QuietProgress())
    before = [(root(node) / "standin.log").read_text() for node in nodes]
    run_steps(provisioner.steps(), progress=QuietProgress())
    assert [(root(node) / "standin.log").read_text() for node in nodes] == before


def test_a_file_written_after_the_start_restarts_even_when_its_writer_was_killed(provisioner, nodes):
    run_steps(provisioner.steps(), progress=QuietProgress())
    later = file_of(nodes[1], CONFIG).stat().st_mtime + 10
    os.utime(file_of(nodes[1], CONFIG), (later, later))
    run_steps(provisioner.steps(), progress=QuietProgress())
    assert [len(starts(node)) for node in nodes] == [1, 2, 1]


def test_a_unit_that_keeps_failing_ends_the_wait_with_its_journal(provisioner, nodes):
    nodes[0].ssh.said.update({"state": "activating", "restarts": "3"})
    with pytest.raises(NotReady, match="the last words"):
        run_steps(provisioner.steps(), progress=QuietProgress())
    assert starts(nodes[1]) == []


def test_ports_that_swarm_holds_are_refused_before_anything_is_installed(provisioner, nodes):
    web = 'tcp LISTEN 0 4096 *:80 *:* users:(("dockerd",pid=812,fd=30))'
    nodes[1].ssh.said["ss"] = f"{SS}{web}\nudp UNCONN 0 0 0.0.0.0:8472 0.0.0.0:*\n"
    with pytest.raises(TargetRefused) as refused:
        run_steps(provisioner.steps(), progress=QuietProgress())
    text = str(refused.value)
    assert "80/tcp is held by dockerd (pid 812)" in text
    assert "8472/udp is held by the kernel" in text
    assert "--disable traefik --disable servicelb" in text
    assert "--flannel-backend host-gw" in text
    assert not any((root(node) / "usr").exists() for node in nodes)


def test_options_free_the_ports_that_they_say():
    all_of_them = wanted_ports(K3sOptions(), server=True)
    assert set(all_of_them) == {80, 443, 6443, 8472, 10250}
    some = K3sOptions(disable=("traefik", "servicelb"), server={"flannel-backend": "host-gw"})
    assert set(wanted_ports(some, server=False)) == {10250}


def test_a_k3s_of_somebody_elses_is_refused(provisioner, nodes):
    path = file_of(nodes[2], CONFIG)
    path.parent.mkdir(parents=True)
    path.write_text("token: theirs\n")
    with pytest.raises(TargetRefused, match="a K3s that gonogo did not install"):
        run_steps(provisioner.steps(), progress=QuietProgress())
    assert path.read_text() == "token: theirs\n"


def test_a_host_without_root_is_refused(provisioner, nodes):
    nodes[0].ssh.said["id"] = "1000\n"
    with pytest.raises(TargetRefused, match="has uid 1000"):
        run_steps(provisioner.steps(), progress=QuietProgress())


def test_down_leaves_no_file_behind(provisioner, nodes):
    run_steps(provisioner.steps(), progress=QuietProgress())
    for node in nodes:
        (root(node) / "run" / "k3s").mkdir(parents=True)
    provisioner.down(lambda _: None)
    for node in nodes:
        left = {path.name for path in root(node).rglob("*") if path.is_file()}
        assert left == {"standin.log"}
    assert not provisioner.kubeconfig.exists()


def test_down_leaves_a_k3s_of_somebody_elses_alone(provisioner, nodes):
    path = file_of(nodes[2], CONFIG)
    path.parent.mkdir(parents=True)
    path.write_text("token: theirs\n")
    provisioner.down(lambda _: None)
    assert path.exists()


def test_only_k3s_rules_are_taken_out():
    theirs = ["*filter", "-A FORWARD -j DOCKER-USER", "COMMIT"]
    ours = [":KUBE-FORWARD - [0:0]", '-A FORWARD --comment "flanneld forward" -j X', "-A CNI-1 -j ACCEPT"]
    saved = "\n".join([theirs[0], *ours, *theirs[1:]]) + "\n"
    assert kept_rules(saved).splitlines() == theirs


def test_listeners_are_read_with_their_owners():
    (ssh,) = parse_listeners(SS)
    assert (ssh.port, ssh.protocol, ssh.process, ssh.pid) == (22, "tcp", "sshd", 1)
    assert parse_listeners("garbage\ntcp LISTEN 0 1 [::]:443 [::]:*\n")[0].process == "the kernel"


def test_an_even_number_of_servers_and_none_are_refused(tmp_path):
    pair = (make_node(tmp_path, "s1", server=True), make_node(tmp_path, "s2", server=True))
    with pytest.raises(InputError, match="quorum"):
        K3sProvisioner(pair)
    with pytest.raises(InputError, match="no host of the inventory is a K3s server"):
        K3sProvisioner((make_node(tmp_path, "a1"),))


def test_three_servers_share_one_database(tmp_path):
    node = make_node(tmp_path, "s1", server=True)
    assert yaml.safe_load(config_text(node, K3sOptions(), first=True, several=True))["cluster-init"] is True
    joining = yaml.safe_load(config_text(node, K3sOptions(), server_url="https://x:6443"))
    assert joining["server"] == "https://x:6443"
    assert "cluster-init" not in joining


def test_units_are_k3s_own():
    assert "Type=notify" in unit_text(server=True)
    assert "ExecStart=/usr/local/bin/k3s server\n" in unit_text(server=True)
    assert "ExecStart=/usr/local/bin/k3s agent\n" in unit_text(server=False)
    for server in (True, False):
        assert unit_text(server=server).startswith(MARK)
        for line in ("KillMode=process", "Delegate=yes", "Restart=always", "LimitNOFILE=1048576"):
            assert line in unit_text(server=server)


# -- the binary --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "version",
    ["latest", "stable", "1.34.3+k3s1", "v1.34.3", "v1.34+k3s1", "v1.34.3+k3s", "", "v1.34.3+k3s1 "],
)
def test_a_version_of_another_form_is_refused_and_the_form_is_shown(version):
    with pytest.raises(InputError, match=r"v1\.34\.3\+k3s1 \(v, three numbers"):
        check_version(version)


def test_full_versions_pass():
    assert check_version("v1.34.3+k3s1") == "v1.34.3+k3s1"
    assert check_version("v1.35.0-rc1+k3s1") == "v1.35.0-rc1+k3s1"


class Release:
    """A release's files on a local web server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / VERSION
        self.folder.mkdir(parents=True)
        self.asked: list[str] = []
        release = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=str(folder))

            def do_GET(self) -> None:
                release.asked.append(self.path)
                super().do_GET()

            def log_message(self, *_args: Any) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def publish(self, content: bytes, sha256: str = "", arch: str = "amd64", name: str = "k3s") -> None:
        (self.folder / name).write_bytes(content)
        digest = sha256 or hashlib.sha256(content).hexdigest()
        (self.folder / f"sha256sum-{arch}.txt").write_text(f"{'0' * 64}  k3s-images.txt\n{digest}  {name}\n")


@pytest.fixture
def release(tmp_path):
    made = Release(tmp_path / "release")
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_release_is_downloaded_checked_and_made_executable(release, tmp_path):
    release.publish(STANDIN.encode())
    to = tmp_path / "cache" / "k3s"
    download(to, VERSION, "amd64", base_url=release.url)
    assert to.read_text() == STANDIN
    assert os.access(to, os.X_OK)
    assert "%2B" in release.asked[0]
    assert [path.name for path in to.parent.iterdir() if path.name.startswith(".")] == []


def test_another_architecture_has_another_file(release, tmp_path):
    release.publish(b"arm", arch="arm64", name="k3s-arm64")
    download(tmp_path / "k3s", VERSION, "arm64", base_url=release.url)
    assert (tmp_path / "k3s").read_bytes() == b"arm"


@pytest.mark.parametrize("pinned", [False, True])
def test_a_download_with_another_hash_is_refused_and_leaves_nothing(release, tmp_path, pinned):
    wrong = "f" * 64
    release.publish(STANDIN.encode(), sha256="" if pinned else wrong)
    to = tmp_path / "cache" / "k3s"
    with pytest.raises(TargetRefused, match=f"expected {wrong}"):
        download(to, VERSION, "amd64", base_url=release.url, sha256=wrong if pinned else "")
    assert list(to.parent.iterdir()) == []


def test_a_release_without_hash_or_binary_is_refused(release, tmp_path):
    with pytest.raises(TargetRefused, match="cannot be downloaded"):
        download(tmp_path / "k3s", VERSION, "amd64", base_url=release.url)
    (release.folder / "sha256sum-amd64.txt").write_text("")
    with pytest.raises(TargetRefused, match="lists no hash"):
        download(tmp_path / "k3s", VERSION, "amd64", base_url=release.url)


def test_plain_http_elsewhere_is_refused(tmp_path):
    with pytest.raises(InputError, match="https only"):
        download(tmp_path / "k3s", VERSION, "amd64", base_url="http://192.0.2.1/releases")


def test_a_wrong_version_is_refused_before_anything_is_asked(release, tmp_path):
    with pytest.raises(InputError):
        download(tmp_path / "k3s", "latest", "amd64", base_url=release.url)
    assert release.asked == []


def test_a_given_binary_comes_before_the_environment_and_counts_with_its_own_version(
    standin, tmp_path, monkeypatch
):
    monkeypatch.setenv("GONOGO_K3S_BIN", "/nonexistent")
    found = find_binary(tmp_path, given=standin)
    assert (found.version, found.source) == (VERSION, "given")
    monkeypatch.setenv("GONOGO_K3S_BIN", str(standin))
    assert find_binary(tmp_path).source == "$GONOGO_K3S_BIN"


def test_a_given_binary_with_another_hash_is_refused(standin, tmp_path):
    with pytest.raises(TargetRefused, match=f"expected {'0' * 64}"):
        find_binary(tmp_path, given=standin, sha256="0" * 64)


def test_what_is_not_k3s_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("GONOGO_K3S_BIN", raising=False)
    with pytest.raises(TargetRefused, match="not an executable file"):
        find_binary(tmp_path, given=tmp_path / "missing")
    with pytest.raises(TargetRefused, match="not a K3s binary"):
        find_binary(tmp_path, given=Path("/bin/true"))


def test_without_any_binary_the_release_is_cached_and_a_changed_cache_is_refused(
    release, tmp_path, monkeypatch
):
    monkeypatch.delenv("GONOGO_K3S_BIN", raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    names = {"amd64": "k3s", "arm64": "k3s-arm64", "arm": "k3s-armhf"}
    release.publish(STANDIN.encode(), arch=architecture(), name=names[architecture()])
    assert find_binary(tmp_path / "cache", base_url=release.url).source == "release"
    cached = find_binary(tmp_path / "cache", base_url="http://127.0.0.1:1")
    assert cached.source == "cache"
    cached.path.write_text(STANDIN + "# changed\n")
    with pytest.raises(TargetRefused, match="not the expected one"):
        find_binary(tmp_path / "cache", base_url="http://127.0.0.1:1")


def test_a_machine_that_k3s_is_not_made_for_is_refused():
    assert architecture("aarch64") == "arm64"
    with pytest.raises(TargetRefused, match="no K3s for sparc"):
        architecture("sparc")


def test_a_file_that_arrives_changed_is_refused(nodes, monkeypatch):
    monkeypatch.setattr(k3s_host, "_sha256", lambda _content: "0" * 64)
    with pytest.raises(TargetRefused, match="is not what was sent"):
        k3s_host.put(nodes[0], CONFIG, json.dumps({}), mode="0600")


# -- hosts with GPUs -----------------------------------------------------------------------------

SMI = "0, GPU-a, NVIDIA A10, 23028, 0, 0, 550.90.07\n"


def test_the_toolkit_comes_before_k3s_and_the_plugin_after(nodes, standin):
    plain = [step.name for step in K3sProvisioner(nodes, binary=standin).steps()]
    assert not any("nvidia" in name for name in plain)
    given = K3sProvisioner((nodes[0], replace(nodes[1], gpus=1), nodes[2]), binary=standin)
    steps = {step.name: step.needs for step in given.steps()}
    assert [name for name in steps if "nvidia" in name] == [
        "nvidia driver", "nvidia toolkit", "nvidia runtime", "nvidia plugin",
    ]  # fmt: skip
    assert "nvidia toolkit" in steps["k3s server"]
    assert steps["nvidia runtime"] == ("k3s ready",)
    assert steps["nvidia plugin"] == ("nvidia runtime",)
    check_graph(given.steps())


def test_a_host_without_its_driver_is_refused(nodes):
    node = replace(nodes[1], gpus=2)
    node.ssh.said["nvidia-smi"] = SMI
    with pytest.raises(TargetRefused, match="the driver sees 1 of 2 GPUs"):
        nvidia.require_driver(node)
    nvidia.require_driver(replace(node, gpus=1))


def test_the_toolkit_is_installed_once_and_from_its_own_source(nodes, tmp_path):
    node = replace(nodes[1], gpus=1)
    said = {"sh": "/usr/bin/apt-get\n", "dpkg": "amd64\n", "apt-get": "", "curl": "", "chmod": ""}
    node.ssh.said.update(said, test=1)
    nvidia.install_toolkit(node, lambda _: None)
    words = [argv for argv in asked(node) if argv[0] in {"apt-get", "curl"}]
    assert words[-1] == ("apt-get", "install", "-y", "nvidia-container-toolkit")
    assert words[-2] == ("apt-get", "update")
    text = file_of(node, "/etc/apt/sources.list.d/nvidia-container-toolkit.list").read_text()
    assert text.startswith(
        "deb [signed-by=/usr/share/keyrings/nvidia-container-toolkit-keyring.asc] https://"
    )
    assert text.endswith("/stable/deb/amd64 /\n")
    asked(node).clear()
    node.ssh.said["test"] = ""
    nvidia.install_toolkit(node, lambda _: None)
    assert [argv[0] for argv in asked(node)] == ["test"]


def test_a_k3s_older_than_the_toolkit_is_restarted(nodes, monkeypatch):
    monkeypatch.setattr(nvidia, "_CONFIGURED_BOUND_S", 0.2)
    node = replace(nodes[1], gpus=1)
    path = file_of(node, nvidia.CONTAINERD_CONFIG)
    path.parent.mkdir(parents=True)
    path.write_text("[plugins]\n")
    node.ssh.said["state"] = "active"
    monkeypatch.setattr(type(node.ssh), "_systemctl", lambda self, *words: str(path.write_text("nvidia\n")))
    nvidia.await_runtime(node, "k3s-agent", lambda _: None)
    assert ("systemctl", "restart", "k3s-agent") in asked(node)
    asked(node).clear()
    nvidia.await_runtime(node, "k3s-agent", lambda _: None)
    assert not any(argv[0] == "systemctl" for argv in asked(node)), "one that knows it is left alone"
    path.write_text("[plugins]\n")
    monkeypatch.setattr(type(node.ssh), "_systemctl", lambda self, *words: "")
    with pytest.raises(NotReady, match="does not name nvidia"):
        nvidia.await_runtime(node, "k3s-agent", lambda _: None)


def test_the_plugin_runs_by_the_runtime_class_on_gpu_hosts_only():
    _, runtime, plugin = nvidia.plugin_objects()
    assert (runtime["kind"], runtime["handler"]) == ("RuntimeClass", "nvidia")
    spec = plugin["spec"]["template"]["spec"]
    assert spec["runtimeClassName"] == runtime["metadata"]["name"]
    assert spec["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert spec["volumes"][0]["hostPath"]["path"] == "/var/lib/kubelet/device-plugins"
