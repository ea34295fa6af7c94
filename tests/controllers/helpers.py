"""Objects and shortcuts for controllers' tests."""

from pybernetes.api.resources import DEPLOYMENTS, NODES, PODS, REPLICA_SETS


def template(labels, image="app:1", **spec):
    return {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": image}], **spec}}


def replica_set(name, replicas, namespace="default", **spec):
    labels = {"app": name}
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template(labels), **spec},
    }


def deployment(name, replicas, image="app:1", namespace="default", surge="25%", unavailable="25%", **spec):
    labels = {"app": name}
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": template(labels, image),
            "strategy": strategy,
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            **spec,
        },
    }


def change_spec(api, gvr, name, namespace="default", **spec):
    obj = api.get(gvr, namespace, name)
    return api.update(gvr, {**obj, "spec": {**obj["spec"], **spec}})


def condition(obj, kind):
    found = next((c for c in obj.get("status", {}).get("conditions", []) if c["type"] == kind), None)
    return None if found is None else (found["status"], found.get("reason"))


def assign_everything(world, node="n1"):
    """Plays the scheduler: new pods go to the node at once."""

    def bind(kind, gvr, pod):
        if gvr == PODS and kind == "ADDED" and not pod["spec"].get("nodeName"):
            name = node(pod) if callable(node) else node
            world.clock.call_later(0, lambda: _bind(world.api, pod, name))

    world.api.on_change.append(bind)


def _bind(api, pod, node):
    meta = pod["metadata"]
    current = api.objects.get((PODS, meta["namespace"], meta["name"]))
    if current is not None and current["metadata"]["uid"] == meta["uid"]:
        api._create_sub(PODS, meta["namespace"], meta["name"], "binding", {"target": {"name": node}})


__all__ = ["DEPLOYMENTS", "NODES", "PODS", "REPLICA_SETS"]
