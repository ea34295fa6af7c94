"""Random clusters for property tests: small domains, so that rules meet; valid objects, as the API server lets them in."""

from __future__ import annotations

from random import Random

from .reference import Cluster

ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
ZONES, APPS = ("a", "b", "c"), ("web", "db", "cache")
NAMESPACES = ("default", "other", "third")
KEYS = (ZONE, HOST, "rack")
MI = 1024 * 1024
DRIVER = "csi.example.com"


class Maker:
    """Draws from a ``random.Random`` [hypothesis has one that shrinks]."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self._count = 0

    def chance(self, percent: int) -> bool:
        return self.rng.randrange(100) < percent

    def some(self, options, most: int) -> list:
        return [self.rng.choice(options) for _ in range(self.rng.randint(1, most))]

    def number(self) -> int:
        self._count += 1
        return self._count

    # -- selectors -------------------------------------------------------------------------------------------------

    def label_selector(self) -> dict | None:
        kind = self.rng.randrange(10)
        if kind == 0:
            return {}
        if kind == 1:
            return None
        if kind < 7:
            return {"matchLabels": {"app": self.rng.choice(APPS)}}
        operator = self.rng.choice(("In", "NotIn", "Exists", "DoesNotExist"))
        requirement = {"key": self.rng.choice(("app", "tier")), "operator": operator}
        if operator in ("In", "NotIn"):
            requirement["values"] = self.some((*APPS, "1", "2"), 2)
        return {"matchExpressions": [requirement]}

    def node_requirement(self) -> dict:
        operator = self.rng.choice(("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"))
        if operator in ("Gt", "Lt"):
            return {
                "key": self.rng.choice(("size", "disk")),
                "operator": operator,
                "values": [str(self.rng.randint(0, 4))],
            }
        requirement = {"key": self.rng.choice((ZONE, "disk", "size", "rack")), "operator": operator}
        if operator in ("In", "NotIn"):
            requirement["values"] = self.some((*ZONES, "ssd", "hdd", "1", "3"), 3)
        return requirement

    def node_term(self, nodes: int) -> dict:
        term: dict = {}
        if self.chance(80):
            term["matchExpressions"] = [self.node_requirement() for _ in range(self.rng.randint(1, 2))]
        if self.chance(20):
            name = f"n{self.rng.randint(0, nodes)}"
            term["matchFields"] = [
                {"key": "metadata.name", "operator": self.rng.choice(("In", "In", "NotIn")), "values": [name]}
            ]
        return term

    # -- nodes -----------------------------------------------------------------------------------------------------

    def node(self, at: int) -> dict:
        name = f"n{at}"
        labels = {HOST: name}
        if self.chance(5):
            del labels[HOST]
        for key, values, percent in (
            (ZONE, ZONES, 85),
            ("rack", ("r1", "r2"), 60),
            ("disk", ("ssd", "hdd"), 60),
            ("size", ("1", "3", "x"), 50),
        ):
            if self.chance(percent):
                labels[key] = self.rng.choice(values)
        allocatable = {
            "cpu": self.rng.choice(("1", "2", "4", "1500m")),
            "memory": self.rng.choice(("1Gi", "2Gi", "4Gi", "900M")),
            "pods": str(self.rng.choice((1, 3, 5, 110))),
        }
        if self.chance(40):
            allocatable["example.com/gpu"] = str(self.rng.randint(0, 3))
        if self.chance(40):
            allocatable["ephemeral-storage"] = self.rng.choice(("1Gi", "10Gi"))
        spec: dict = {}
        if self.chance(35):
            spec["taints"] = [self.taint() for _ in range(self.rng.randint(1, 2))]
        if self.chance(8):
            spec["unschedulable"] = True
        images = [
            {"names": [f"registry.example.com/{n}:1"], "sizeBytes": size * MI}
            for n, size in (("big", 900), ("small", 100), ("tiny", 10))
            if self.chance(40)
        ]
        status = {"allocatable": allocatable, "images": images}
        if self.chance(50):
            status["declaredFeatures"] = ["RestartAllContainersOnContainerExits", "UserNamespacesHostNetworkSupport"]
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "spec": spec,
            "status": status,
        }

    def taint(self) -> dict:
        effect = self.rng.choice(("NoSchedule", "NoExecute", "PreferNoSchedule", "PreferNoSchedule"))
        taint = {"key": self.rng.choice(("dedicated", "gpu")), "effect": effect}
        if self.chance(60):
            taint["value"] = self.rng.choice(("x", "y"))
        return taint

    def toleration(self) -> dict:
        found: dict = {}
        if self.chance(85):
            found["key"] = self.rng.choice(("dedicated", "gpu", "node.kubernetes.io/unschedulable"))
        if "key" not in found or self.chance(50):
            found["operator"] = "Exists"
        elif self.chance(70):
            found["value"] = self.rng.choice(("x", "y"))
        if self.chance(50):
            found["effect"] = self.rng.choice(("NoSchedule", "NoExecute", "PreferNoSchedule"))
        return found

    # -- pods ------------------------------------------------------------------------------------------------------

    def requests(self, percent: int = 70) -> dict:
        asked: dict = {}
        if self.chance(percent):
            asked["cpu"] = self.rng.choice(("100m", "500m", "1", "2", "0", "1m"))
        if self.chance(percent):
            asked["memory"] = self.rng.choice(("100Mi", "512Mi", "1Gi", "3Gi", "0.5Gi", "100M"))
        if self.chance(15):
            asked["example.com/gpu"] = self.rng.choice(("1", "2", "0"))
        if self.chance(10):
            asked["ephemeral-storage"] = self.rng.choice(("500Mi", "2Gi"))
        return asked

    def container(self, at: int) -> dict:
        image = self.rng.choice(("big:1", "small:1", "tiny:1", "other"))
        found = {
            "name": f"c{at}",
            "image": f"registry.example.com/{image}",
            "resources": {"requests": self.requests()},
        }
        if self.chance(12):
            port = {
                "containerPort": 80,
                "hostPort": self.rng.choice((80, 81)),
                "protocol": self.rng.choice(("TCP", "UDP")),
            }
            if self.chance(40):
                port["hostIP"] = self.rng.choice(("0.0.0.0", "10.0.0.1", "10.0.0.2"))
            found["ports"] = [port]
        return found

    def pod(self, name: str, nodes: int) -> dict:
        labels = {"app": self.rng.choice(APPS)} if self.chance(85) else {}
        if self.chance(40):
            labels["tier"] = self.rng.choice(("1", "2"))
        spec: dict = {"containers": [self.container(at) for at in range(self.rng.randint(1, 2))]}
        if self.chance(20):
            spec["initContainers"] = [self.container(at + 5) for at in range(self.rng.randint(1, 2))]
            for container in spec["initContainers"]:
                if self.chance(40):
                    container["restartPolicy"] = "Always"
        if self.chance(10):
            spec["overhead"] = {"cpu": "50m", "memory": "10Mi"}
        if self.chance(10):
            spec["resources"] = {"requests": {"cpu": "3", "memory": "2Gi"}}
        affinity = self.affinity(nodes)
        if affinity:
            spec["affinity"] = affinity
        spec["priority"] = self.rng.choice((0, 0, 10, 100, -5))
        if self.chance(40):
            spec["tolerations"] = [self.toleration() for _ in range(self.rng.randint(1, 2))]
        meta = {"name": name, "namespace": self.rng.choice(("default", "default", "other")), "uid": f"uid-{name}"}
        if labels:
            meta["labels"] = labels
        if self.chance(30):
            kind = self.rng.choice(("ReplicaSet", "StatefulSet"))
            meta["ownerReferences"] = [
                {"apiVersion": "apps/v1", "kind": kind, "name": self.rng.choice(APPS), "uid": "u", "controller": True}
            ]
        return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": {}}

    def affinity(self, nodes: int) -> dict:
        found: dict = {}
        if self.chance(15):
            terms = [self.node_term(nodes) for _ in range(self.rng.randint(1, 2))]
            found.setdefault("nodeAffinity", {})["requiredDuringSchedulingIgnoredDuringExecution"] = {
                "nodeSelectorTerms": terms
            }
        if self.chance(20):
            found.setdefault("nodeAffinity", {})["preferredDuringSchedulingIgnoredDuringExecution"] = [
                {"weight": self.rng.choice((1, 5, 33)), "preference": self.node_term(nodes)}
                for _ in range(self.rng.randint(1, 3))
            ]
        for kind in ("podAffinity", "podAntiAffinity"):
            if self.chance(15):
                found.setdefault(kind, {})["requiredDuringSchedulingIgnoredDuringExecution"] = [
                    self.pod_term() for _ in range(self.rng.choice((1, 1, 2)))
                ]
            if self.chance(20):
                found.setdefault(kind, {})["preferredDuringSchedulingIgnoredDuringExecution"] = [
                    {"weight": self.rng.choice((1, 10, 50)), "podAffinityTerm": self.pod_term()}
                    for _ in range(self.rng.choice((1, 1, 2)))
                ]
        return found

    def pod_term(self) -> dict:
        term: dict = {"topologyKey": self.rng.choice(KEYS)}
        selector = self.label_selector()
        if selector is not None:
            term["labelSelector"] = selector
        if self.chance(20):
            term["namespaces"] = self.some(NAMESPACES, 2)
        if self.chance(20):
            term["namespaceSelector"] = self.rng.choice(
                ({}, {"matchLabels": {"team": "one"}}, {"matchLabels": {"team": "two"}})
            )
        return term

    def spread(self) -> dict:
        found: dict = {
            "maxSkew": self.rng.choice((1, 1, 2, 3)),
            "topologyKey": self.rng.choice(KEYS),
            "whenUnsatisfiable": self.rng.choice(("DoNotSchedule", "ScheduleAnyway")),
        }
        selector = self.label_selector()
        if selector is not None:
            found["labelSelector"] = selector
        if found["whenUnsatisfiable"] == "DoNotSchedule" and self.chance(25):
            found["minDomains"] = self.rng.randint(1, 4)
        if self.chance(25):
            found["nodeAffinityPolicy"] = self.rng.choice(("Honor", "Ignore"))
        if self.chance(25):
            found["nodeTaintsPolicy"] = self.rng.choice(("Honor", "Ignore"))
        if selector is not None and self.chance(20):
            found["matchLabelKeys"] = ["tier"]
        return found

    def pending(self, nodes: int, name: str = "asked") -> dict:
        pod = self.pod(name, nodes)
        spec = pod["spec"]
        if self.chance(15):
            spec["nodeSelector"] = {"disk": self.rng.choice(("ssd", "hdd"))}
        if self.chance(40):
            drawn = {
                (c["topologyKey"], c["whenUnsatisfiable"]): c for c in (self.spread(), self.spread(), self.spread())
            }
            spec["topologySpreadConstraints"] = list(drawn.values())[: self.rng.randint(1, 3)]
        if self.chance(2):
            spec["nodeName"] = "n0"
        if self.chance(6):
            spec["preemptionPolicy"] = "Never"
        if self.chance(6):
            spec["hostNetwork"], spec["hostUsers"] = True, self.chance(20)
        if self.chance(6):
            spec["containers"][0]["restartPolicyRules"] = [
                {"action": self.rng.choice(("Restart", "RestartAllContainers"))}
            ]
        return pod

    def placed(self, nodes: int, name: str) -> dict:
        pod = self.pod(name, nodes)
        pod["spec"]["nodeName"] = f"n{self.rng.randrange(nodes)}"
        # Distinct start times, for which of two equals goes first is nobody's promise.
        minute, second = divmod(self.number(), 60)
        pod["status"] = {"phase": "Running", "startTime": f"2026-01-01T00:{minute:02}:{second:02}Z"}
        if self.chance(8):
            pod["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
        if self.chance(4):
            pod["status"]["phase"] = "Succeeded"
        if self.chance(15):
            pod["status"]["resources"] = {"requests": {"cpu": self.rng.choice(("1", "3")), "memory": "3Gi"}}
            pod["status"]["allocatedResources"] = {"cpu": self.rng.choice(("2", "4"))}
        if self.chance(8):
            if self.chance(30):
                pod["status"]["conditions"] = [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]
            if "initContainers" in pod["spec"]:
                pod["status"]["initContainerStatuses"] = [
                    {"name": pod["spec"]["initContainers"][0]["name"], "resources": {"requests": {"cpu": "1"}}}
                ]
            pod["status"]["containerStatuses"] = [
                {
                    "name": "c0",
                    "resources": {"requests": {"cpu": "1200m", "memory": "64Mi"}},
                    "allocatedResources": {"cpu": "900m"},
                }
            ]
        return pod

    # -- clusters --------------------------------------------------------------------------------------------------

    def cluster(self) -> Cluster:
        count = self.rng.randint(1, 6)
        cluster = Cluster(nodes=[self.node(at) for at in range(count)])
        cluster.pods = [self.placed(count, f"p{at}") for at in range(self.rng.randint(0, 10))]
        cluster.namespaces = [
            _named(n, labels={"team": t}) for n, t in zip(NAMESPACES, ("one", "two", "one"), strict=True)
        ]
        if self.chance(30):
            cluster.services = [_named("svc", "default", spec={"selector": {"app": self.rng.choice(APPS)}})]
        owned = {"selector": {"matchLabels": {"app": self.rng.choice(APPS)}}}
        cluster.replica_sets = [_named(a, "default", spec=owned) for a in APPS]
        cluster.stateful_sets = [_named(a, "default", spec={"selector": {"matchLabels": {"app": a}}}) for a in APPS[:2]]
        if self.chance(40):
            cluster.disruption_budgets = [
                _named(
                    f"pdb{at}",
                    "default",
                    spec={"selector": self.label_selector()},
                    status={"disruptionsAllowed": self.rng.randint(0, 2)},
                )
                for at in range(self.rng.randint(1, 2))
            ]
        return cluster

    def nominate(self, cluster: Cluster) -> None:
        """Adds a pod that waits for its victims to go."""
        pod = self.pod(f"nominated{self.number()}", len(cluster.nodes))
        pod["spec"]["priority"] = self.rng.choice((0, 10, 100))
        pod["status"] = {"nominatedNodeName": f"n{self.rng.randrange(len(cluster.nodes))}"}
        cluster.pods.append(pod)

    # -- volumes ---------------------------------------------------------------------------------------------------

    def volumes(self, cluster: Cluster, *pods: dict) -> None:
        """Storage, and pods that use it."""
        cluster.storage_classes = [
            _named(
                "wait",
                provisioner=DRIVER,
                volumeBindingMode="WaitForFirstConsumer",
                allowedTopologies=self.topologies(),
            ),
            _named("local", provisioner="kubernetes.io/no-provisioner", volumeBindingMode="WaitForFirstConsumer"),
            _named("now", provisioner=DRIVER, volumeBindingMode="Immediate"),
        ]
        cluster.volumes = [
            self.persistent_volume(f"pv{at}", at, len(cluster.nodes)) for at in range(self.rng.randint(0, 5))
        ]
        cluster.claims = [self.claim(f"claim{at}", at) for at in range(self.rng.randint(1, 4))]
        if self.chance(50):
            cluster.csi_drivers = [_named(DRIVER, spec={"storageCapacity": self.chance(70)})]
            cluster.csi_capacities = [
                _named(
                    f"cap{zone}",
                    "default",
                    storageClassName="wait",
                    nodeTopology={"matchLabels": {ZONE: zone}},
                    capacity=self.rng.choice(("1Gi", "4Gi", "20Gi")),
                )
                for zone in self.some(ZONES, 3)
            ]
            cluster.csi_capacities = list({c["metadata"]["name"]: c for c in cluster.csi_capacities}.values())
        cluster.csi_nodes = [
            _named(
                n["metadata"]["name"],
                spec={"drivers": [{"name": DRIVER, "allocatable": {"count": self.rng.randint(0, 2)}}]},
            )
            for n in cluster.nodes
            if self.chance(50)
        ]
        cluster.attachments = [
            _named(
                f"va{at}",
                spec={
                    "attacher": DRIVER,
                    "nodeName": f"n{self.rng.randrange(len(cluster.nodes))}",
                    "source": {"persistentVolumeName": f"pv{at}"},
                },
            )
            for at in range(len(cluster.volumes))
            if self.chance(20)
        ]
        for pod in pods:
            if self.chance(80):
                pod["spec"]["volumes"] = [self.volume(at, cluster) for at in range(self.rng.choice((1, 1, 2)))]
        for pod in cluster.pods:
            if self.chance(40):
                pod["spec"]["volumes"] = [self.volume(0, cluster)]

    def topologies(self) -> list:
        return [{"matchLabelExpressions": [{"key": ZONE, "values": self.some(ZONES, 2)}]}] if self.chance(30) else []

    def persistent_volume(self, name: str, at: int, nodes: int) -> dict:
        spec: dict = {
            "capacity": {"storage": f"{at * 2 + 1}Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": self.rng.choice(("wait", "local")),
        }
        if self.chance(60):
            spec["csi"] = {"driver": DRIVER, "volumeHandle": name}
        if self.chance(50):
            key, values = self.rng.choice(((ZONE, self.some(ZONES, 2)), (HOST, [f"n{self.rng.randrange(nodes)}"])))
            terms = [{"matchExpressions": [{"key": key, "operator": "In", "values": values}]}]
            spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": terms}}
        if self.chance(25):
            spec["claimRef"] = {"name": f"claim{self.rng.randrange(4)}", "namespace": "default"}
            if self.chance(20):
                spec["volumeMode"] = "Block"
        labels = {}
        if self.chance(30):
            labels[self.rng.choice((ZONE, "failure-domain.beta.kubernetes.io/zone"))] = self.rng.choice(
                ("a", "a__b", "c")
            )
        found = _named(name, spec=spec, labels=labels, status={"phase": "Available" if self.chance(85) else "Released"})
        return found

    def claim(self, name: str, at: int) -> dict:
        # Sizes differ, for which of two equals is served first is nobody's promise.
        spec: dict = {
            "accessModes": [self.rng.choice(("ReadWriteOnce", "ReadWriteOnce", "ReadWriteOncePod"))],
            "resources": {"requests": {"storage": f"{at * 1024 + 400}Mi"}},
            "storageClassName": self.rng.choice(("wait", "wait", "local", "now")),
        }
        annotations = {}
        kind = self.rng.randrange(10)
        if kind < 4:
            spec["volumeName"] = f"pv{self.rng.randint(0, 4)}"
            if kind < 3:
                annotations["pv.kubernetes.io/bind-completed"] = "yes"
        elif kind == 4:
            annotations["volume.kubernetes.io/selected-node"] = "n0"
        elif self.chance(10):
            spec["selector"] = {"matchLabels": {ZONE: "a"}}
        found = _named(name, "default", spec=spec, status={"phase": "Lost" if self.chance(3) else "Pending"})
        found["metadata"]["annotations"] = annotations
        if self.chance(3):
            found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        return found

    def volume(self, at: int, cluster: Cluster) -> dict:
        kind = self.rng.randrange(12)
        name = f"v{at}"
        if kind < 8:
            claim = self.rng.choice(cluster.claims)["metadata"]["name"] if self.chance(97) else "missing"
            return {"name": name, "persistentVolumeClaim": {"claimName": claim}}
        read_only = self.chance(50)
        if kind == 8:
            return {"name": name, "gcePersistentDisk": {"pdName": "disk", "readOnly": read_only}}
        if kind == 9:
            return {"name": name, "awsElasticBlockStore": {"volumeID": "vol"}}
        if kind == 10:
            return {
                "name": name,
                "iscsi": {"iqn": "iqn.example", "targetPortal": "10.0.0.9", "lun": 0, "readOnly": read_only},
            }
        monitors = self.some(("m1", "m2"), 2)
        return {"name": name, "rbd": {"monitors": monitors, "image": "i", "pool": "rbd", "readOnly": read_only}}


def _named(name: str, namespace: str = "", labels: dict | None = None, **fields) -> dict:
    meta: dict = {"name": name, "uid": f"uid-{namespace}-{name}"}
    if namespace:
        meta["namespace"] = namespace
    if labels:
        meta["labels"] = labels
    return {"metadata": meta, **fields}
