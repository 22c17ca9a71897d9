"""The controller that keeps a service's pods: Deployment, StatefulSet, DaemonSet or Job, by its nature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provisioners.compose.autoscale import is_autoscale_label
from provisioners.compose.naming import annotation_key
from provisioners.compose.secrecy import is_secret, mentions
from provisioners.compose.traefik import is_traefik
from provisioners.compose.volumes import checksum

if TYPE_CHECKING:
    from provisioners.compose.context import Context
    from provisioners.compose.fit import Shape
    from provisioners.compose.losses import Ledger
    from provisioners.compose.model import ChangePolicy, EnvVar, Given, Service
    from provisioners.compose.volumes import Volumes
    from provisioners.tiers import Autoscale

Object = dict[str, object]

_MAX_ANNOTATIONS_BYTES = 255 * 1024  # 256 KiB, less what the project itself annotates
_FOREVER = "the kubelet tries again for ever, with pauses from 10 s that double up to 5 min"


def controller_of(
    service: Service,
    name: str,
    shape: Shape,
    labels: Object,
    selector: Object,
    pod: Object,
    volumes: Volumes,
    context: Context,
    *,
    joined: Object,
    scale: Autoscale | None,
) -> Object:
    """Return the controller around a finished pod, and account for all of `deploy` but its resources.

    `joined` are labels of the pods alone; a workload that scales by load names no number of replicas,
    so that applying it again does not undo what the autoscaler did.
    """
    ledger = context.ledger
    _note_deploy(service, shape, ledger, stateful=bool(volumes.claims))
    annotations: Object = {}
    if volumes.objects:
        annotations["gonogo.dev/config-hash"] = checksum(volumes.objects)
    annotations |= _annotations(
        service.labels, "an annotation of the pods, where any text is allowed", context
    )
    template: Object = {
        "metadata": {"labels": {**labels, **joined}, **({"annotations": annotations} if annotations else {})},
        "spec": pod,
    }
    metadata: Object = {"name": name, "namespace": context.namespace, "labels": labels}
    own = _annotations(service.deploy.labels, "an annotation of the workload", context)
    if own:
        metadata["annotations"] = own
    if service.is_job:
        return _job(service, shape, metadata, template, pod)
    spec: Object = {"selector": {"matchLabels": selector}, "template": template}
    if service.is_global:
        strategy = {"type": "RollingUpdate", "rollingUpdate": _change(service.deploy.update, surge=True)}
        return {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": metadata,
            "spec": {**spec, "updateStrategy": strategy},
        }
    if scale is None:
        spec = {"replicas": shape.replicas, **spec}
    _delay(service, shape, spec)
    if volumes.claims:
        stateful: Object = {
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "volumeClaimTemplates": volumes.claims,
        }
        return {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": metadata,
            "spec": {**spec, **stateful},
        }
    strategy = {"type": "RollingUpdate", "rollingUpdate": _change(service.deploy.update, surge=True)}
    deployment: Object = {"strategy": strategy, "revisionHistoryLimit": 3}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {**spec, **deployment},
    }


def _job(service: Service, shape: Shape, metadata: Object, template: Object, pod: Object) -> Object:
    condition = service.deploy.restart.condition
    attempts = service.deploy.restart.max_attempts
    once = condition is not None and condition.value == "none"
    pod["restartPolicy"] = "Never" if once else "OnFailure"
    spec: Object = {
        "completions": shape.replicas,
        "parallelism": shape.replicas,
        "backoffLimit": 0 if once else attempts.value if attempts else 6,
        "template": template,
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _change(policy: ChangePolicy, *, surge: bool) -> Object:
    """Return a rolling update: as many at once as Swarm takes, old ones first unless told otherwise."""
    parallelism = policy.parallelism.value if policy.parallelism else 1
    amount: object = parallelism or "100%"
    start_first = policy.order is not None and policy.order.value == "start-first"
    if start_first and surge:
        return {"maxSurge": amount, "maxUnavailable": 0}
    return {"maxSurge": 0, "maxUnavailable": amount}


def _delay(service: Service, shape: Shape, spec: Object) -> None:
    delay = service.deploy.update.delay_s
    if delay is not None and shape.replicas > 1:
        spec["minReadySeconds"] = round(delay.value)


def _annotations(labels: tuple[EnvVar, ...], detail: str, context: Context) -> Object:
    """Labels as annotations, but for those that other objects are made of and those that show a secret."""
    ledger = context.ledger
    found: Object = {}
    size = 0
    for var in labels:
        if is_traefik(var) or is_autoscale_label(var.name):
            continue
        if is_secret(var.name, var.value or "") or mentions(var.value or "", context.secrets):
            ledger.dropped(var.at, "it shows a secret, which whoever may list pods would read")
            continue
        key, value = annotation_key(var.name, found), var.value or ""
        size += len(key) + len(value.encode(errors="backslashreplace"))
        if size > _MAX_ANNOTATIONS_BYTES:
            ledger.refused(var.at, "annotations of an object hold 256 KiB together: mount it as a config")
            continue
        found[key] = value
        renamed = "" if key == var.name else f"; its key is written {key}"
        ledger.approximated(var.at, f"{detail}{renamed}", f"annotation {key}")
    return found


def _note_deploy(service: Service, shape: Shape, ledger: Ledger, *, stateful: bool) -> None:
    deploy = service.deploy
    if deploy.mode and deploy.mode.value == "global-job":
        ledger.refused(
            deploy.mode.at, "a Job runs once, not on every node: make one Job a node, or a DaemonSet"
        )
    elif deploy.mode:
        ledger.converted(deploy.mode.at, "kind of the workload")
    if deploy.replicas:
        if service.is_global:
            ledger.dropped(deploy.replicas.at, "a global service runs on every node")
        elif deploy.replicas.value == shape.replicas:
            ledger.converted(deploy.replicas.at, "spec.completions" if service.is_job else "spec.replicas")
        else:
            ledger.approximated(
                deploy.replicas.at, f"fitted to {shape.replicas}, on both sides", "spec.replicas"
            )
    if deploy.endpoint_mode:
        ledger.approximated(deploy.endpoint_mode.at, "the Service has one virtual address", "Service")
    _note_restart(service, ledger)
    _note_update(service, shape, ledger, stateful=stateful)
    for given in (
        deploy.rollback.parallelism, deploy.rollback.delay_s, deploy.rollback.failure_action,
        deploy.rollback.monitor_s, deploy.rollback.max_failure_ratio, deploy.rollback.order,
    ):  # fmt: skip
        if given is not None:
            ledger.approximated(
                given.at, "a rollback is an update to the old revision, at the same pace", "strategy"
            )


def _note_restart(service: Service, ledger: Ledger) -> None:
    restart = service.deploy.restart
    if restart.condition:
        if service.is_job:
            ledger.converted(restart.condition.at, "restartPolicy of a Job")
        elif restart.condition.value in {"any", "unless-stopped"}:
            ledger.converted(restart.condition.at, "restartPolicy Always")
        else:
            ledger.approximated(
                restart.condition.at, "started again after status 0 too", "restartPolicy Always"
            )
    for timing in (restart.delay_s, restart.window_s):
        if timing is not None:
            ledger.approximated(timing.at, _FOREVER, "restartPolicy")
    attempts = restart.max_attempts
    if attempts is not None and service.is_job:
        ledger.converted(attempts.at, "backoffLimit")
    elif attempts is not None:
        ledger.approximated(attempts.at, _FOREVER, "restartPolicy")


def _note_update(service: Service, shape: Shape, ledger: Ledger, *, stateful: bool) -> None:
    update = service.deploy.update
    strategy = "updateStrategy" if service.is_global or stateful else "strategy.rollingUpdate"
    for given, kept in ((update.parallelism, 1), (update.order, "stop-first")):
        if given is not None:
            _note_pace(service, given, strategy, ledger, special=stateful and given.value != kept)
    if update.delay_s:
        if service.is_job or service.is_global:
            ledger.dropped(update.delay_s.at, "pods are replaced as soon as the ones before them are ready")
        elif shape.replicas > 1:
            ledger.approximated(
                update.delay_s.at, "a new pod counts as available after that time", "minReadySeconds"
            )
        else:
            ledger.dropped(update.delay_s.at, "one copy: there is no second batch to wait for")
    if update.failure_action:
        ledger.approximated(
            update.failure_action.at,
            "a failing rollout stops and old pods go on serving; going back is `kubectl rollout undo`",
            strategy,
        )
    for ratio in (update.monitor_s, update.max_failure_ratio):
        if ratio is not None:
            ledger.approximated(
                ratio.at, "the readiness of each new pod decides whether the rollout goes on", strategy
            )


def _note_pace(
    service: Service, given: Given[int] | Given[str], strategy: str, ledger: Ledger, *, special: bool
) -> None:
    if service.is_job:
        ledger.dropped(given.at, "a Job is not updated: delete it, and apply the new one")
    elif special:
        detail = "a StatefulSet replaces one pod at a time, the old one first: its volume has one place"
        ledger.approximated(given.at, detail, strategy)
    else:
        ledger.converted(given.at, strategy)
