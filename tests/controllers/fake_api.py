"""An API server of a few hundred lines for controllers' tests: an in-process transport over a dictionary.

It has what controllers lean on (resourceVersions, conflicts, finalizers, graceful deletion of pods, status subresources,
list and watch) and hooks for faults. It neither defaults nor validates: the real server's tests are elsewhere.
"""

import asyncio
import copy
import itertools
import json
from urllib.parse import parse_qsl, unquote, urlsplit

from pybernetes.api import errors
from pybernetes.api.errors import StatusError
from pybernetes.api.resources import GVR, PODS, builtin_by_gvr, builtin_resources
from pybernetes.api.selectors import parse_field_selector, parse_label_selector
from pybernetes.api.times import to_micro_time, to_time
from pybernetes.client.transport import TransportError

NAMESPACES = GVR("", "v1", "namespaces")
MERGE_KEYS = {
    "ownerReferences": "uid",
    "conditions": "type",
    "taints": "key",
    "containers": "name",
    "secrets": "name",
}


class _Response:
    def __init__(self, status, body=b"", stream=None, headers=None):
        self.status, self._body, self._stream = status, body, stream
        self.headers = {"content-type": "application/json", **(headers or {})}

    async def read(self):
        return self._body

    async def chunks(self):
        while True:
            item = await self._stream.get()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item

    def close(self):
        if self._stream is not None:
            self._stream.closed = True


class _Stream(asyncio.Queue):
    closed = False


class FakeAPI:
    """The transport. ``objects`` maps (gvr, namespace, name) to objects; ``log`` holds the writes as (verb, path)."""

    def __init__(self, clock, rng=None):
        self.clock, self.rng = clock, rng
        self.objects = {}
        self.revision = 100
        self.history = []
        self.watchers = []
        self.log = []
        self.latency = 0.0
        self.fault = None
        """(method, path) -> None, or an exception: StatusError, TransportError before (not sent) or after the work."""
        self.extra_resources = {}
        self._ids = itertools.count(1)
        self.window = 0
        """Watches from before this revision are answered with 410."""
        self.on_change = []

    # -- transport -------------------------------------------------------------------------------------------------

    def close(self):
        pass

    async def send(self, request):
        parts = urlsplit(request.target)
        query = dict(parse_qsl(parts.query))
        if self.latency:
            await self.clock.sleep(self.latency * (self.rng.random() if self.rng else 1.0))
        else:
            await asyncio.sleep(0)
        fault = self.fault(request.method, parts.path) if self.fault else None
        if isinstance(fault, TransportError) and not fault.sent:
            raise fault
        try:
            if isinstance(fault, StatusError):
                raise fault
            if query.get("watch"):
                return self._watch(parts.path, query, request)
            body = json.loads(request.body) if request.body else None
            answer = self._dispatch(request.method, parts.path, query, body, request)
        except StatusError as failure:
            headers = {"retry-after": str(failure.retry_after)} if failure.retry_after else {}
            return _Response(failure.code, json.dumps(failure.to_status()).encode(), headers=headers)
        if fault is not None:
            raise fault
        return _Response(200, json.dumps(answer).encode())

    def _dispatch(self, method, path, query, body, request):
        if path in ("/api", "/apis"):
            return self._discovery(path)
        gvr, namespace, name, sub = self.parse(path)
        if method != "GET":
            self.log.append((method, path))
        if method == "GET":
            return self._list(gvr, namespace, query, request) if not name else self.get(gvr, namespace, name)
        if method == "POST":
            return self._create(gvr, namespace, name, sub, body)
        if method == "PUT":
            return self._update(gvr, namespace, name, sub, body)
        if method == "PATCH":
            return self._patch(gvr, namespace, name, sub, body, request.headers.get("Content-Type"))
        if method == "DELETE":
            if not name:
                return self._delete_collection(gvr, namespace, query)
            return self.remove(gvr, namespace, name, body or {})
        raise errors.method_not_allowed()

    def parse(self, path):
        parts = [unquote(p) for p in path.strip("/").split("/")]
        if parts[0] == "api":
            group, version, rest = "", parts[1], parts[2:]
        else:
            group, version, rest = parts[1], parts[2], parts[3:]
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        gvr = GVR(group, version, rest[0])
        if gvr not in builtin_by_gvr() and gvr not in self.extra_resources:
            raise errors.path_not_found()
        return gvr, namespace, rest[1] if len(rest) > 1 else "", rest[2] if len(rest) > 2 else ""

    def kind(self, gvr):
        info = builtin_by_gvr().get(gvr) or self.extra_resources[gvr]
        return info.kind

    def _discovery(self, path):
        groups = {}
        for info in (*builtin_resources(), *self.extra_resources.values()):
            if (path == "/api") == (info.gvr.group == ""):
                versions = groups.setdefault(info.gvr.group, {})
                versions.setdefault(info.gvr.version, []).append(
                    {
                        "resource": info.gvr.resource,
                        "responseKind": {"group": info.gvr.group, "version": info.gvr.version, "kind": info.kind},
                        "scope": "Namespaced" if info.namespaced else "Cluster",
                        "singularResource": info.singular,
                        "verbs": list(info.verbs),
                    }
                )
        items = [
            {"metadata": {"name": g}, "versions": [{"version": v, "resources": r} for v, r in vs.items()]}
            for g, vs in groups.items()
        ]
        return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items}

    # -- storage ---------------------------------------------------------------------------------------------------

    def get(self, gvr, namespace, name):
        try:
            return self.objects[gvr, namespace, name]
        except KeyError:
            raise errors.not_found(gvr.group, gvr.resource, name) from None

    def all(self, gvr, namespace=""):
        return [o for (g, n, _), o in self.objects.items() if g == gvr and (not namespace or n == namespace)]

    def _commit(self, kind, gvr, namespace, name, obj):
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        if kind == "DELETED":
            del self.objects[gvr, namespace, name]
        else:
            self.objects[gvr, namespace, name] = obj
        event = (self.revision, kind, gvr, namespace, obj)
        self.history.append(event)
        for watcher in list(self.watchers):
            self._feed(watcher, event)
        for listener in self.on_change:
            listener(kind, gvr, obj)
        return obj

    def _feed(self, watcher, event):
        gvr, namespace, label, field, metadata_only, stream = watcher
        _, kind, event_gvr, event_namespace, obj = event
        if stream.closed:
            if watcher in self.watchers:
                self.watchers.remove(watcher)
            return
        if event_gvr != gvr or (namespace and namespace != event_namespace) or not _selected(obj, label, field):
            return
        shown = _metadata_only(obj) if metadata_only else obj
        stream.put_nowait(json.dumps({"type": kind, "object": shown}).encode() + b"\n")

    def _watch(self, path, query, request):
        gvr, namespace, _, _ = self.parse(path)
        since = int(query.get("resourceVersion") or self.revision)
        if since < self.window:
            raise errors.too_old_resource_version(since, self.window)
        stream = _Stream()
        watcher = (
            gvr,
            namespace,
            query.get("labelSelector", ""),
            query.get("fieldSelector", ""),
            "PartialObjectMetadata" in request.headers.get("Accept", ""),
            stream,
        )
        for event in self.history:
            if event[0] > since:
                self._feed(watcher, event)
        self.watchers.append(watcher)
        return _Response(200, stream=stream)

    def break_watches(self, *, forget=False):
        """Ends all watches; with ``forget`` they cannot be resumed (410)."""
        if forget:
            self.window, self.history = self.revision + 1, []
            self.revision += 1
        for watcher in self.watchers:
            watcher[-1].put_nowait(TransportError("connection reset", sent=True))
        self.watchers.clear()

    def _list(self, gvr, namespace, query, request):
        chosen = [
            o
            for o in self.all(gvr, namespace)
            if _selected(o, query.get("labelSelector", ""), query.get("fieldSelector", ""))
        ]
        chosen.sort(key=lambda o: (o["metadata"].get("namespace", ""), o["metadata"]["name"]))
        kind = self.kind(gvr)
        if "PartialObjectMetadata" in request.headers.get("Accept", ""):
            chosen, kind = [_metadata_only(o) for o in chosen], "PartialObjectMetadata"
        metadata = {"resourceVersion": str(self.revision)}
        limit, start = int(query.get("limit") or 0), int(query.get("continue") or 0)
        if limit and start + limit < len(chosen):
            metadata["continue"] = str(start + limit)
        chosen = chosen[start : start + limit] if limit else chosen[start:]
        return {"kind": kind + "List", "apiVersion": gvr.api_version, "metadata": metadata, "items": chosen}

    # -- writes ----------------------------------------------------------------------------------------------------

    def create(self, gvr, obj):
        """For tests: puts an object in as a client would."""
        return self._create(gvr, obj["metadata"].get("namespace", ""), "", "", obj)

    def _create(self, gvr, namespace, name, sub, body):
        if sub:
            return self._create_sub(gvr, namespace, name, sub, body)
        obj = copy.deepcopy(body)
        obj["kind"], obj["apiVersion"] = self.kind(gvr), gvr.api_version
        meta = obj["metadata"]
        if not meta.get("name"):
            meta["name"] = f"{meta.get('generateName', '')}{next(self._ids):05d}"
        name = meta["name"]
        if (gvr, namespace, name) in self.objects:
            raise errors.already_exists(gvr.group, gvr.resource, name)
        if namespace:
            meta["namespace"] = namespace
            home = self.objects.get((NAMESPACES, "", namespace))
            if home is not None and home["metadata"].get("deletionTimestamp"):
                failure = errors.forbidden(gvr.group, gvr.resource, name, "because it is being terminated")
                failure.details = {**failure.details, "causes": [{"reason": "NamespaceTerminating"}]}
                raise failure
        meta.setdefault("uid", f"uid-{next(self._ids):06d}")
        meta.setdefault("creationTimestamp", to_time(self.clock.now()))
        meta["generation"] = 1
        if gvr == PODS:
            obj.setdefault("status", {}).setdefault("phase", "Pending")
        if gvr == NAMESPACES:
            obj.setdefault("spec", {})["finalizers"] = ["kubernetes"]
            obj.setdefault("status", {})["phase"] = "Active"
        return self._commit("ADDED", gvr, namespace, name, obj)

    def _create_sub(self, gvr, namespace, name, sub, body):
        obj = copy.deepcopy(self.get(gvr, namespace, name))
        if sub == "binding":
            obj["spec"]["nodeName"] = body["target"]["name"]
            self._commit("MODIFIED", gvr, namespace, name, obj)
        elif sub == "eviction":
            return self.remove(gvr, namespace, name, {})
        elif sub == "token":
            return {"kind": "TokenRequest", "status": {"token": "t", "expirationTimestamp": to_time(self.clock.now())}}
        return {"kind": "Status", "status": "Success"}

    def update(self, gvr, obj, sub=""):
        return self._update(gvr, obj["metadata"].get("namespace", ""), obj["metadata"]["name"], sub, obj)

    def _update(self, gvr, namespace, name, sub, body):
        old = self.get(gvr, namespace, name)
        wanted = body["metadata"].get("resourceVersion")
        if wanted and wanted != old["metadata"]["resourceVersion"]:
            raise errors.conflict(gvr.group, gvr.resource, name)
        if body["metadata"].get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
            raise errors.conflict(gvr.group, gvr.resource, name, "Precondition failed: UID in precondition: other")
        return self._replace(gvr, namespace, name, sub, old, copy.deepcopy(body))

    def _replace(self, gvr, namespace, name, sub, old, new):
        new["kind"], new["apiVersion"] = self.kind(gvr), gvr.api_version
        meta, old_meta = new["metadata"], old["metadata"]
        for field in (
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "namespace",
            "generation",
        ):
            if field in old_meta:
                meta[field] = old_meta[field]
            else:
                meta.pop(field, None)
        meta["name"], meta["resourceVersion"] = name, old_meta["resourceVersion"]
        if sub == "status":
            status = new.get("status")
            annotations = meta.get("annotations")
            new = {**copy.deepcopy(old), "status": status}
            if annotations is not None:
                new["metadata"]["annotations"] = annotations
        elif sub != "finalize":
            if gvr == NAMESPACES:
                new["spec"] = old.get("spec")
            if "status" in old:
                new["status"] = old["status"]
            if new.get("spec") != old.get("spec"):
                meta["generation"] = old_meta.get("generation", 0) + 1
        if new == old:
            return old
        deleting = new["metadata"].get("deletionTimestamp")
        held = new["metadata"].get("finalizers") or (gvr == NAMESPACES and new["spec"].get("finalizers"))
        graceful = gvr == PODS and new["metadata"].get("deletionGracePeriodSeconds")
        kind = "DELETED" if deleting and not held and not graceful else "MODIFIED"
        return self._commit(kind, gvr, namespace, name, new)

    def _patch(self, gvr, namespace, name, sub, patch, content_type):
        old = self.get(gvr, namespace, name)
        new = copy.deepcopy(old)
        if content_type == "application/json-patch+json":
            for operation in patch:
                _json_patch(new, operation)
        else:
            new = _merge(new, patch, strategic="strategic" in content_type)
        if new["metadata"].get("uid") != old["metadata"]["uid"]:
            raise errors.conflict(gvr.group, gvr.resource, name, "uid mismatch")
        if new["metadata"].get("resourceVersion") != old["metadata"]["resourceVersion"]:
            raise errors.conflict(gvr.group, gvr.resource, name)
        return self._replace(gvr, namespace, name, sub, old, new)

    def remove(self, gvr, namespace, name, options=None):
        options = options or {}
        old = self.get(gvr, namespace, name)
        for field, value in (options.get("preconditions") or {}).items():
            if old["metadata"][field] != value:
                why = f"Precondition failed: {field.upper() if field == 'uid' else field} in precondition: {value}"
                raise errors.conflict(gvr.group, gvr.resource, name, why)
        new = copy.deepcopy(old)
        meta = new["metadata"]
        finalizers = list(meta.get("finalizers") or [])
        policy = options.get("propagationPolicy")
        if policy == "Foreground" and "foregroundDeletion" not in finalizers:
            finalizers.append("foregroundDeletion")
        if policy == "Orphan" and "orphan" not in finalizers:
            finalizers.append("orphan")
        if finalizers:
            meta["finalizers"] = finalizers
        grace = 0
        if gvr == PODS:
            grace = options.get("gracePeriodSeconds")
            grace = new["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace
            if not new["spec"].get("nodeName") or new["status"].get("phase") in ("Succeeded", "Failed"):
                grace = 0
            if meta.get("deletionTimestamp") and grace >= meta.get("deletionGracePeriodSeconds", 0) and grace:
                return old
            meta["deletionGracePeriodSeconds"] = grace
        if gvr == NAMESPACES:
            new["status"] = {**new.get("status", {}), "phase": "Terminating"}
            grace = 1 if new["spec"].get("finalizers") else 0
        meta.setdefault("deletionTimestamp", to_time(self.clock.now() + (grace if gvr == PODS else 0)))
        if finalizers or grace:
            return old if new == old else self._commit("MODIFIED", gvr, namespace, name, new)
        gone = self._commit("DELETED", gvr, namespace, name, new)
        return gone if gvr == PODS else {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def _delete_collection(self, gvr, namespace, query):
        for obj in self.all(gvr, namespace):
            if _selected(obj, query.get("labelSelector", ""), query.get("fieldSelector", "")):
                self.remove(gvr, namespace, obj["metadata"]["name"])
        return {"kind": "Status", "status": "Success"}

    def node(self, name, **spec):
        """A ready node with a lease."""
        stamp = to_time(self.clock.now())
        status = {
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": stamp, "lastTransitionTime": stamp}]
        }
        self.create(
            GVR("coordination.k8s.io", "v1", "leases"),
            {
                "metadata": {"name": name, "namespace": "kube-node-lease"},
                "spec": {"holderIdentity": name, "renewTime": to_micro_time(self.clock.now())},
            },
        )
        return self.create(GVR("", "v1", "nodes"), {"metadata": {"name": name}, "spec": spec, "status": status})


def _metadata_only(obj):
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def _selected(obj, label, field):
    if label and not parse_label_selector(label).matches(obj["metadata"].get("labels")):
        return False
    if field:

        def get(path):
            value = obj
            for part in path.split("."):
                value = (value or {}).get(part)
            return str(value or "")

        return parse_field_selector(field).matches(get)
    return True


def _json_patch(target, operation):
    *path, last = [p.replace("~1", "/").replace("~0", "~") for p in operation["path"].split("/")[1:]]
    for part in path:
        target = target[int(part)] if isinstance(target, list) else target.setdefault(part, {})
    verb = operation["op"]
    if verb == "test":
        if target.get(last) != operation["value"]:
            raise StatusError(422, "Invalid", "the server rejected our request due to an error in our request")
    elif verb == "remove":
        del target[int(last) if isinstance(target, list) else last]
    elif isinstance(target, list):
        target.insert(len(target) if last == "-" else int(last), operation["value"])
    else:
        target[last] = operation["value"]


def _merge(target, patch, *, strategic, field=""):
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.split("/", 1)[1]
            target[name] = [v for v in target.get(name, []) if v not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            target.pop(key, None)
        elif strategic and isinstance(value, list) and key in MERGE_KEYS:
            target[key] = _merge_list(target.get(key) or [], value, MERGE_KEYS[key])
        elif strategic and isinstance(value, list) and key == "finalizers":
            target[key] = list(dict.fromkeys([*(target.get(key) or []), *value]))
        else:
            target[key] = _merge(target.get(key), value, strategic=strategic)
    return target


def _merge_list(target, patch, merge_key):
    result = [dict(e) for e in target]
    for entry in patch:
        if entry.get("$patch") == "replace":
            result = [e for e in patch if "$patch" not in e]
            break
        at = next((i for i, e in enumerate(result) if e.get(merge_key) == entry.get(merge_key)), None)
        if entry.get("$patch") == "delete":
            if at is not None:
                del result[at]
        elif at is None:
            result.append(entry)
        else:
            result[at] = _merge(result[at], entry, strategic=True)
    return result
