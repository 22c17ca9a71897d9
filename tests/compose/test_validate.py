"""What the converter writes is what the API server takes; and what it would not take is told."""

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given

from provisioners.compose import Fit, Patch, Project, kubernetes_bundle, load_project, table
from provisioners.compose.emit import to_yaml
from provisioners.compose.lint import lint_folder
from provisioners.compose.losses import Loss, input_leaves
from provisioners.compose.schemas_k8s import FILE, load_schemas
from provisioners.compose.validate import Validation, check_objects, check_texts, object_problems
from provisioners.compose.validate_names import amount
from provisioners.errors import InputError, ProvisionError
from provisioners.tiers import Tiers
from tests.compose.test_convert import NONE, QUICK, projects

FIXTURES = Path(__file__).with_name("lint")
REAL = Path(__file__).with_name("files") / "real"
ENV = {
    "DOCKER_REGISTRY": "registry.example.com/shop",
    "IMAGE_TAG": "1.4.2",
    "POSTGRES_PASSWORD": "not-a-real-one",
}
SPECIMENS = list(table.specimens())


def objects(text: str) -> list[dict[str, Any]]:
    return [body for body in yaml.load_all(text, Loader=yaml.CSafeLoader) if body]


def unaccounted(project: Project, losses: Sequence[Loss]) -> list[str]:
    """Return the leaves of a project's files of which, and of whose tables, nothing was said."""
    said = {(loss.file, loss.path) for loss in losses}
    return [
        f"{leaf.file}:{leaf.line} {leaf.path}"
        for leaf in input_leaves(project)
        if not any((leaf.file, path) in said for path in above(leaf.path))
    ]


def above(path: str) -> Iterator[str]:
    """Yield a path and the paths of all tables and lists that hold it."""
    while path:
        yield path
        path = path[: max(path.rfind("."), path.rfind("["), 0)]


def deployment() -> dict[str, Any]:
    (body,) = objects((FIXTURES / "latest-image.sound.yaml").read_text())
    return body


# -- what the converter writes -------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted(REAL.glob("*.yml")), ids=lambda file: file.stem)
def test_the_real_files_are_accepted(file: Path, tiers: Tiers) -> None:
    project = load_project([file], env=ENV, duplicates="last")
    bundle, losses = kubernetes_bundle(project, tiers, Fit())
    assert check_texts(bundle.files) > 10
    assert unaccounted(project, losses) == []
    assert unaccounted(project, losses[:-3]) != []


def test_all_real_files_are_here() -> None:
    assert {file.stem.removeprefix("docker-compose-") for file in REAL.glob("*.yml")} == {
        "ai-core",
        "data-pipeline",
        "mcp-orchestrator",
        "production",
    }


@pytest.mark.parametrize("replicas", [None, 2])
def test_the_lab_input_is_accepted(sample: Project, tiers: Tiers, lab_fit: Fit, replicas: int | None) -> None:
    for fit in (
        lab_fit,
        Fit(replicas=replicas),
        Fit(replicas=replicas, policies=True, ingress_domain="example.com"),
    ):
        assert check_texts(kubernetes_bundle(sample, tiers, fit)[0].files) > 40


@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda one: f"{one.path}={json.dumps(one.value)[:40]}")
def test_every_key_gives_what_is_accepted(specimen: table.Specimen) -> None:
    try:
        bundle, _ = table.convert_specimen(specimen)
    except InputError:
        return
    assert check_texts(bundle.files) >= 2


@QUICK
@given(model=projects)
def test_random_projects_are_accepted(
    model: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("model") / "compose.yml"
    file.write_text(to_yaml(model).replace("$", "$$"), encoding="utf-8")
    try:
        bundle, _ = kubernetes_bundle(load_project([file], env={}), NONE, Fit())
    except InputError:
        return
    check_texts(bundle.files)


def test_what_convert_writes_is_linted_without_a_refusal(tmp_path: Path, tiers: Tiers) -> None:
    from provisioners.compose import convert

    convert([REAL / "docker-compose-mcp-orchestrator.yml"], tmp_path, ENV, tiers=tiers)
    found = lint_folder(tmp_path)
    assert found.objects > 20
    # the file gives no limits, and its images have the tag of the environment: that is all
    assert {one.rule for one in found.findings} <= {"missing-requests", "missing-memory-limit"}


def test_a_patch_that_breaks_a_manifest_is_refused(sample: Project, tiers: Tiers, lab_fit: Fit) -> None:
    bundle, _ = kubernetes_bundle(sample, tiers, lab_fit)
    check_texts(bundle.files)
    patch = Patch("Deployment", "github-v2", "spec.replicas", "two")
    broken, _ = kubernetes_bundle(sample, tiers, Fit(patches=(patch,)))
    with pytest.raises(InputError, match=r"github-v2: spec.replicas: a whole number is wanted, not 'two'"):
        check_texts(broken.files, patched=True)
    with pytest.raises(ProvisionError, match="an error of the converter"):
        check_texts(broken.files)


# -- what is told --------------------------------------------------------------------------------


def changed(path: str, value: object) -> dict[str, Any]:
    """A sound Deployment with one value set, or taken out when it is None."""
    body = deployment()
    node: Any = body
    steps: list[str | int] = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in steps[:-1]:
        node = node[step]
    if value is None:
        del node[steps[-1]]
    else:
        node[steps[-1]] = value
    return body


BOX = "spec.template.spec.containers.0"


@pytest.mark.parametrize(
    ("path", "value", "where", "words"),
    [
        ("spec.replica", 2, "spec.replica", "did you mean `replicas`?"),
        ("spec.replicas", "2", "spec.replicas", "a whole number is wanted, not '2'"),
        ("spec.replicas", True, "spec.replicas", "not true"),
        ("spec.replicas", 2**31, "spec.replicas", "maximum"),
        ("spec.replicas", -1, "spec.replicas", "less than 0"),
        ("spec.selector", None, "spec", "`selector` is missing"),
        ("spec.template.spec.restartPolicy", "Sometimes", "spec.template.spec.restartPolicy", "is none of"),
        ("spec.template.spec.restartPolicy", "Never", "spec.template.spec.restartPolicy", "Always alone"),
        (f"{BOX}.imagePullPolicy", "always", f"{BOX}.imagePullPolicy", "IfNotPresent"),
        (f"{BOX}.resources.limits.memory", "1GB", f"{BOX}.resources.limits.memory", "no quantity"),
        (f"{BOX}.resources.requests.cpu", 0.5, "", ""),
        (
            f"{BOX}.resources.requests.memory",
            "2Gi",
            f"{BOX}.resources.requests.memory",
            "over the limit 256Mi",
        ),
        (f"{BOX}.command", "serve", f"{BOX}.command", "a list is wanted"),
        (f"{BOX}.ports.0.name", "a-name-of-16-chr", f"{BOX}.ports.0.name", "15 are allowed"),
        (f"{BOX}.ports.0.containerPort", 70000, f"{BOX}.ports.0.containerPort", "1 to 65535"),
        (f"{BOX}.livenessProbe.httpGet.port", "https", f"{BOX}.livenessProbe.httpGet.port", "called 'https'"),
        (f"{BOX}.livenessProbe.tcpSocket", {"port": 1}, f"{BOX}.livenessProbe", "not 2"),
        (f"{BOX}.securityContext", None, "", ""),
        ("metadata.labels", {"a": "b c"}, "metadata.labels.a", "no value of a label"),
        ("metadata.labels", {"a": "x" * 64}, "metadata.labels.a", "63 are allowed"),
        ("metadata.name", "Web", "metadata.name", "no name"),
        ("apiVersion", "apps/v1beta1", "apiVersion", "it is in apps/v1"),
        ("apiVersion", "extensions/v1beta1", "apiVersion", "it is in apps/v1"),
        ("kind", "Deploymnt", "apiVersion", "did you mean Deployment?"),
        ("kind", None, "", "an `apiVersion` and a `kind`"),
    ],
)
def test_problems_say_where_and_what(path: str, value: object, where: str, words: str) -> None:
    assert not object_problems(deployment())
    body = deployment() if path.endswith("securityContext") else changed(path, value)
    found = object_problems(body)
    if not words:
        assert found == ()
        return
    assert any(".".join(map(str, one.steps)) == where and words in one.message for one in found), found


def test_kinds_of_others_are_checked_in_their_metadata_alone() -> None:
    body: dict[str, Any] = {"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor"}
    assert object_problems({**body, "metadata": {"name": "a"}, "spec": {"any": 1}}) == ()
    assert [one.rule for one in object_problems({**body, "metadata": {"name": "A_b"}})] == ["name"]
    assert object_problems({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "a"}}) == ()


def test_null_is_absent_as_for_the_api_server() -> None:
    assert object_problems(changed("spec.template.spec.nodeSelector", {})) == ()
    body = deployment()
    body["spec"]["template"]["spec"]["nodeSelector"] = None
    body["spec"]["strategy"] = None
    assert object_problems(body) == ()


@pytest.mark.parametrize("body", [{}, {"kind": 3}, {"apiVersion": "v1", "kind": "Pod", "spec": [1]}])
def test_no_shape_of_input_raises(body: dict[str, Any]) -> None:
    assert object_problems(body)
    for kind in load_schemas().kinds:
        version, _, name = kind.rpartition("/")
        for spec in (3, "x", [1], [{"a": [3]}], {"template": 4, "ports": 5, "rules": [{"http": 3}]}, None):
            object_problems(
                {"apiVersion": version, "kind": name, "metadata": spec, "spec": spec, "data": spec}
            )


def test_a_shape_is_judged_once_and_by_what_the_schema_sees() -> None:
    memory = Validation(set())
    assert not memory.problems(deployment())
    assert not memory.problems(changed(f"{BOX}.image", "registry.example.com/other:2"))
    assert not memory.problems(changed(f"{BOX}.resources.limits.memory", "512Mi"))
    assert len(memory.sound) == 1
    for path, value in (
        (f"{BOX}.resources.limits.memory", "1GB"),
        (f"{BOX}.ports.0.protocol", "HTTP"),
        (f"{BOX}.ports.0.containerPort", 2**40),
        (f"{BOX}.ports.0.containerPort", "9003"),
        (f"{BOX}.image", 3),
        ("spec.template.spec.dnsPolicy", "None of them"),
    ):
        assert memory.problems(changed(path, value)), path


def test_every_problem_of_a_bundle_is_told_at_once() -> None:
    files = {"a.yaml": [changed("spec.replica", 1)], "b.yaml": [changed("metadata.name", "B_"), deployment()]}
    with pytest.raises(ProvisionError) as caught:
        check_objects(files)
    assert "2 thing(s)" in caught.value.what
    assert "a.yaml: Deployment web: spec.replica" in caught.value.why
    assert "b.yaml: Deployment B_: metadata.name" in caught.value.why


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", 0.5),
        ("2", 2),
        ("1Gi", 2**30),
        ("1.5G", 1.5e9),
        ("1e3", 1000),
        ("100n", 1e-7),
        ("-1", -1),
        (".5", 0.5),
    ],
)
def test_quantities(text: str, value: float) -> None:
    found = amount(text)
    assert found is not None
    assert float(found) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "1GB", "Gi", "1 Gi", "0x1", "lots", "1e9999", True, None, []])
def test_what_is_no_quantity(text: object) -> None:
    assert amount(text) is None


# -- the data ------------------------------------------------------------------------------------


def test_the_data_is_small_and_holds_what_is_written() -> None:
    assert FILE.stat().st_size < 100_000
    kinds = load_schemas().kinds
    written = (
        "v1/Service",
        "apps/v1/Deployment",
        "batch/v1/CronJob",
        "networking.k8s.io/v1/Ingress",
        "v1/Secret",
    )
    for kind in (*written, "autoscaling/v2/HorizontalPodAutoscaler", "policy/v1/PodDisruptionBudget"):
        assert kinds[kind]["additionalProperties"] is False
    assert "Always" in kinds["v1/Pod"]["properties"]["spec"]["properties"]["restartPolicy"]["enum"]


def test_the_data_is_the_same_for_the_same_source() -> None:
    raw = FILE.read_bytes()
    text = gzip.decompress(raw)
    assert gzip.compress(text, mtime=0) == raw
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")).encode() == text
