"""Each trap has a broken manifest that the lint reports by rule and line, and a sound one that passes."""

from pathlib import Path

import pytest

from provisioners.compose.lint import lint, lint_texts


def deployment(container: str, *, spec: str = "", labels: str = "app: web", replicas: int = 1) -> str:
    """A Deployment whose pods leave a dead node soon; `container` are lines of its container."""
    body = "".join(f"          {line}\n" for line in container.strip("\n").split("\n"))
    return f"""apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{{labels}}}}}
    spec:
      tolerations:
        - {{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 30}}
        - {{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 30}}
{spec}      containers:
        - name: web
{body}"""


SERVICE = """---
apiVersion: v1
kind: Service
metadata: {{name: web, labels: {{{labels}}}}}
spec:
  selector: {{app: web}}
  {more}
  ports: [{{name: {port}, port: 80}}]
"""
MONITOR = """---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: mcp}
spec:
  selector: {matchLabels: {tier: mcp}}
  endpoints: [{port: http}]
"""
POLICY = """apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: {name}}}
spec:
  podSelector: {{}}
  policyTypes: [Ingress, Egress]
{rules}---
"""
CLAIM = """apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data}}
spec:
  storageClassName: {storage_class}
  resources: {{requests: {{storage: {size}}}}}
"""
VELERO = """apiVersion: velero.io/v1
kind: {kind}
metadata: {{name: nightly}}
spec: {spec}
"""

CASES = [
    (
        "network-policy-denies-dns",
        POLICY.format(name="deny", rules=""),
        POLICY.format(name="deny", rules="")
        + POLICY.format(name="dns", rules="  egress:\n    - ports: [{port: 53, protocol: UDP}]\n"),
    ),
    (
        "service-monitor-selects-nothing",
        MONITOR + SERVICE.format(labels="app: web", more="", port="http"),
        MONITOR + SERVICE.format(labels="tier: mcp", more="", port="http"),
    ),
    (
        "service-monitor-selects-nothing",
        MONITOR + SERVICE.format(labels="tier: mcp", more="", port="metrics"),
        MONITOR + SERVICE.format(labels="tier: mcp", more="", port="http"),
    ),
    (
        "unexpanded-variable",
        deployment("image: a:${IMAGE_TAG}"),
        deployment("image: a:1\nargs: ['echo ${HOME}']"),
    ),
    (
        "port-env-differs",
        deployment("env: [{name: PORT, value: '9006'}]\nports: [{containerPort: 9003}]"),
        deployment("env: [{name: PORT, value: '9006'}]\nports: [{containerPort: 9006}, {containerPort: 1}]"),
    ),
    (
        "duplicate-env",
        deployment("env:\n  - {name: A, value: '1'}\n  - {name: A, value: '2'}"),
        deployment("env:\n  - {name: A, value: '1'}\n  - {name: B, value: '2'}"),
    ),
    (
        "gpu-fraction",
        deployment("resources: {limits: {nvidia.com/gpu: 0.5}}"),
        deployment("resources: {limits: {nvidia.com/gpu: 1}}"),
    ),
    (
        "gpu-request-differs",
        deployment("resources: {limits: {nvidia.com/gpu: 2}, requests: {nvidia.com/gpu: 1}}"),
        deployment("resources: {limits: {nvidia.com/gpu: 2}, requests: {nvidia.com/gpu: 2}}"),
    ),
    (
        "gpu-without-limit",
        deployment("resources: {requests: {nvidia.com/gpu: 1}}"),
        deployment("resources: {limits: {nvidia.com/gpu: 1}, requests: {nvidia.com/gpu: 1}}"),
    ),
    (
        "readable-kubeconfig",
        "write-kubeconfig-mode: '0644'\ncluster-init: true\n",
        "write-kubeconfig-mode: '0600'\ncluster-init: true\n",
    ),
    (
        "sessions-without-affinity",
        deployment("image: a", labels="app: web, tier: mcp", replicas=2)
        + SERVICE.format(labels="a: b", more="", port="http"),
        deployment("image: a", labels="app: web, tier: mcp", replicas=2)
        + SERVICE.format(labels="a: b", more="sessionAffinity: ClientIP", port="http"),
    ),
    (
        "slow-eviction",
        deployment("image: a").replace("tolerationSeconds: 30", "tolerationSeconds: 300"),
        deployment("image: a"),
    ),
    (
        "takes-host-ports",
        SERVICE.format(labels="a: b", more="type: LoadBalancer", port="http"),
        SERVICE.format(labels="a: b", more="type: ClusterIP", port="http"),
    ),
    (
        "takes-host-ports",
        deployment("ports: [{containerPort: 80, hostPort: 80}]"),
        deployment("ports: [{containerPort: 80}]"),
    ),
    (
        "large-local-volume",
        CLAIM.format(storage_class="local-path", size="100Gi"),
        CLAIM.format(storage_class="local-path", size="5Gi")
        + "---\n"
        + CLAIM.format(storage_class="ceph", size="100Gi"),
    ),
    (
        "bgsave-not-waited-for",
        deployment("args: ['redis-cli BGSAVE && cp /data/dump.rdb /backup']"),
        deployment("args: ['redis-cli BGSAVE; until [ $(redis-cli LASTSAVE) -gt $t ]; do sleep 1; done']"),
    ),
    (
        "pg-dump-redirected",
        deployment("args: ['pg_dump sophia > /backup/x.sql']"),
        deployment("args: ['pg_dump -Fc -f /backup/x.dump sophia', 'set -o pipefail; pg_dump x | gzip > y']"),
    ),
    (
        "curl-loop",
        deployment("args: ['for i in $(seq 100); do curl -s http://web; done']"),
        deployment("args: ['curl -s http://web']"),
    ),
    (
        "gpu-by-grep",
        deployment("args: ['kubectl describe nodes | grep nvidia']"),
        deployment("args: ['kubectl get nodes -o jsonpath={.items[*].status.allocatable}']"),
    ),
    (
        "velero-without-bucket",
        VELERO.format(kind="BackupStorageLocation", spec="{provider: aws}"),
        VELERO.format(kind="BackupStorageLocation", spec="{provider: aws, objectStorage: {bucket: b}}"),
    ),
    (
        "velero-without-volume-data",
        VELERO.format(kind="Schedule", spec="{schedule: '@daily', template: {}}"),
        VELERO.format(
            kind="Schedule", spec="{schedule: '@daily', template: {defaultVolumesToFsBackup: true}}"
        ),
    ),
    ("sqlite-control-plane", "tls-san: [a]\n", "tls-san: [a]\ndatastore-endpoint: postgres://x\n"),
    ("duplicate-key", "kind: A\nkind: B\n", "kind: A\n"),
    ("unreadable", "a: [\n", "a: []\n"),
]


@pytest.mark.parametrize(("rule", "broken", "sound"), CASES, ids=[case[0] for case in CASES])
def test_each_trap(rule: str, broken: str, sound: str) -> None:
    found = lint_texts({"m.yaml": broken})
    assert {item.rule for item in found} == {rule}
    assert all(item.file == "m.yaml" and item.line >= 1 and item.message for item in found)
    assert not lint_texts({"m.yaml": sound})


def test_lines() -> None:
    (found,) = lint_texts({"m.yaml": deployment("image: a:${TAG}")})
    assert found.line == 16
    assert found.path == "spec.template.spec.containers[0].image"
    assert str(found).startswith("m.yaml:16: unexpanded-variable: ${TAG}")


def test_a_folder_is_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "monitor.yaml").write_text(MONITOR)
    assert [item.rule for item in lint(tmp_path)] == ["service-monitor-selects-nothing"]
    (tmp_path / "service.yml").write_text(SERVICE.format(labels="tier: mcp", more="", port="http"))
    assert not lint(tmp_path)


def test_lists_and_several_documents() -> None:
    inner = "\n".join(f"    {line}" for line in deployment("image: a:${X}").strip().split("\n"))
    text = "apiVersion: v1\nkind: List\nitems:\n  -\n" + inner + "\n---\n" + deployment("image: b:${Y}")
    assert [item.message.split()[0] for item in lint_texts({"m.yaml": text})] == ["${X}", "${Y}"]
