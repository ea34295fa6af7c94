"""Static pods: pods from files of the node, and the mirrors by which the API shows them.

Rules of upstream's ``pkg/kubelet/config`` (names, UIDs by content, defaults) and ``pkg/kubelet/pod/mirror_client.go``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from ..api.meta import Object, name_of, namespace_of, uid_of
from ..api.times import to_micro_time
from ..concurrency import Clock, logger
from .pod.model import CONFIG_HASH, CONFIG_MIRROR, CONFIG_SEEN, CONFIG_SOURCE
from .settings import KubeletSettings

log = logger("kubelet.static")


class StaticPodError(ValueError):
    """A manifest that cannot be a pod; the message says why."""


def parse_manifest(data: bytes, node_name: str, now: float) -> Object:
    """A pod out of a manifest (YAML or JSON), named for the node and with the defaults that the API would set."""
    import yaml

    try:
        document = yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as failure:
        raise StaticPodError(f"not YAML: {failure}") from failure
    if not isinstance(document, dict) or document.get("kind") != "Pod" or document.get("apiVersion") != "v1":
        raise StaticPodError("not a v1 Pod")
    meta = dict(document.get("metadata") or {})
    if not meta.get("name") or not (document.get("spec") or {}).get("containers"):
        raise StaticPodError("a pod needs a name and containers")
    digest = hashlib.md5(data + node_name.encode(), usedforsecurity=False).hexdigest()
    meta["name"] = f"{meta['name']}-{node_name.lower()}"
    meta.setdefault("namespace", "default")
    uid = meta.setdefault("uid", f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}")
    annotations = dict(meta.get("annotations") or {})
    annotations |= {CONFIG_HASH: uid.replace("-", ""), CONFIG_SOURCE: "file", CONFIG_SEEN: to_micro_time(now)}
    meta["annotations"] = annotations
    spec = _defaulted({**document["spec"], "nodeName": node_name})
    # A static pod is meant to run whatever the node's taints say.
    spec["tolerations"] = [*(spec.get("tolerations") or ()), {"operator": "Exists", "effect": "NoExecute"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": {"phase": "Pending"}}


def _defaulted(spec: Object) -> Object:
    defaults: dict[str, Any] = {
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "terminationGracePeriodSeconds": 30,
        "securityContext": {},
        "enableServiceLinks": True,
        "schedulerName": "default-scheduler",
    }
    spec = {**defaults, **spec}
    for key in ("containers", "initContainers"):
        if spec.get(key):
            spec[key] = [_container(c) for c in spec[key]]
    return spec


def _container(container: Object) -> Object:
    image = container.get("image", "")
    latest = ":" not in image.rpartition("/")[2] and "@" not in image or image.endswith(":latest")
    found: Object = {
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "Always" if latest else "IfNotPresent",
        **container,
    }
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        if found.get(kind):
            found[kind] = {
                "timeoutSeconds": 1,
                "periodSeconds": 10,
                "successThreshold": 1,
                "failureThreshold": 3,
                **found[kind],
            }
    return found


def mirror_of(pod: Object, node_uid: str, node_name: str) -> Object:
    """What is created in the API to show a static pod."""
    meta = pod["metadata"]
    annotations = {**meta["annotations"], CONFIG_MIRROR: meta["annotations"][CONFIG_HASH]}
    owner = {"apiVersion": "v1", "kind": "Node", "name": node_name, "uid": node_uid, "controller": True}
    shown = {k: meta[k] for k in ("name", "namespace", "labels") if meta.get(k)}
    shown |= {"annotations": annotations, "ownerReferences": [owner]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": shown, "spec": pod["spec"]}


class StaticPods:
    """Watches a directory (or one file) by looking at it; ``changed`` and ``gone`` are told."""

    def __init__(
        self,
        settings: KubeletSettings,
        clock: Clock,
        changed: Callable[[Object], None],
        gone: Callable[[Object], None],
    ) -> None:
        self._settings, self._clock = settings, clock
        self._changed, self._gone = changed, gone
        self._seen: dict[str, bytes] = {}
        self.pods: dict[str, Object] = {}
        """Static pods by UID."""

    async def run(self) -> None:
        path = self._settings.static_pod_path
        if path is None:
            return
        while True:
            self.look(path)
            # Faster than upstream's poll of 20 s, which is only its second net below inotify.
            await self._clock.sleep(min(1.0, self._settings.file_check_frequency))

    def look(self, path: Path) -> None:
        files = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []
        found: dict[str, Object] = {}
        contents: dict[str, bytes] = {}
        for file in files:
            if file.name.startswith(".") or not file.is_file():
                continue
            try:
                contents[str(file)] = file.read_bytes()
            except OSError as failure:
                log.warning("manifest not read", file=str(file), error=str(failure))
        if contents == self._seen:
            return
        for name, data in contents.items():
            try:
                pod = parse_manifest(data, self._settings.node_name, self._clock.now())
            except StaticPodError as failure:
                if self._seen.get(name) != data:
                    log.error("manifest is no pod", file=name, error=str(failure))
                continue
            found[uid_of(pod)] = pod
        self._seen = contents
        for uid, pod in list(self.pods.items()):
            if uid not in found:
                del self.pods[uid]
                self._gone(pod)
        for uid, pod in found.items():
            before = self.pods.get(uid)
            if before is None or orjson.dumps(before["spec"]) != orjson.dumps(pod["spec"]):
                self.pods[uid] = pod
                self._changed(pod)

    def by_name(self, namespace: str, name: str) -> Object | None:
        return next((p for p in self.pods.values() if (namespace_of(p), name_of(p)) == (namespace, name)), None)
