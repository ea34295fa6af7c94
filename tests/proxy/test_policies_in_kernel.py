"""NetworkPolicies as a connectivity matrix: every pod to every other, against what an oracle says."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest

from pybernetes.proxy.nft.kernel import Netfilter
from pybernetes.proxy.nft.writer import TableWriter
from pybernetes.proxy.policy_model import policy_of, policy_pod
from pybernetes.proxy.policy_rules import PolicyRules
from pybernetes.proxy.policy_table import policy_table

from .lab import Lab, Place, missing
from .policy_oracle import allowed
from .probing import Probe, measured, wrong

pytestmark = [pytest.mark.network, pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]

PORTS = (8080, 8081)
PROTOCOLS = ("TCP", "UDP", "SCTP")
NAMESPACES = {"x": {"team": "x", "kubernetes.io/metadata.name": "x"}, "y": {"team": "y"}}
PODS = [
    # name, namespace, labels, node, address
    ("a", "x", {"app": "web", "tier": "front"}, 0, "10.244.0.2"),
    ("b", "x", {"app": "db"}, 0, "10.244.0.3"),
    ("c", "y", {"app": "web"}, 0, "10.244.0.4"),
    ("d", "x", {"app": "web"}, 1, "10.244.1.2"),
    ("e", "y", {"app": "db", "tier": "back"}, 1, "10.244.1.3"),
]
NAMED = {"8080": ("TCP", 8080), "http": ("TCP", 8081)}


def pod_object(name, namespace, labels, node, address):
    port_name = "http" if name in "ad" else "other"
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "nodeName": f"node{node}",
            "containers": [{"ports": [{"name": port_name, "containerPort": 8081, "protocol": "TCP"}]}],
        },
        "status": {"phase": "Running", "podIP": address},
    }


def oracle_pod(name, namespace, labels, node, address):
    named = {"http" if name in "ad" else "other": ("TCP", 8081)}
    return {"namespace": namespace, "labels": labels, "address": address, "named": named}


class Matrix:
    """Two nodes, five pods in two namespaces, and a machine outside."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.nodes = [lab.node(0), lab.node(1)]
        self.nodes[0].ip("route add 10.244.1.0/24 via 172.30.77.11")
        self.nodes[1].ip("route add 10.244.0.0/24 via 172.30.77.10")
        lab.outside.ip("route add 10.244.0.0/24 via 172.30.77.10", "route add 10.244.1.0/24 via 172.30.77.11")
        self.places: dict[str, Place] = {p[0]: lab.pod(self.nodes[p[3]], p[4]) for p in PODS}
        self.places["outside"] = lab.outside
        self.ends: dict[str, object] = {p[0]: oracle_pod(*p) for p in PODS}
        self.ends["outside"] = lab.outside.address
        for place in self.places.values():
            for port in PORTS:
                for protocol in PROTOCOLS:
                    place.serve(port, protocol.lower())
        self.rules, self.writers = [], []
        for number, node in enumerate(self.nodes):
            rules = PolicyRules(f"node{number}")
            for name, labels in NAMESPACES.items():
                rules.set_namespace(name, labels)
            for pod in map(lambda p: pod_object(*p), PODS):
                rules.set_pod(f"{pod['metadata']['namespace']}/{pod['metadata']['name']}", policy_pod(pod))
            self.rules.append(rules)
            with node.inside():
                self.writers.append(TableWriter(Netfilter(), policy_table()))
        self.policies: list[dict] = []
        self.write()

    def close(self) -> None:
        for writer in self.writers:
            writer.close()

    def write(self) -> None:
        for rules, writer in zip(self.rules, self.writers, strict=True):
            update = rules.take_update()
            rules.contents.validate_state()
            if update.whole or not self.policies:
                writer.rebuild(rules.contents, rules.sets, rules.chains)
            else:
                writer.apply(update.changes, chains=update.chains)

    def set(self, *policies: dict) -> None:
        for number, policy in enumerate(policies):
            policy.setdefault("metadata", {}).setdefault("name", f"p{number}")
        keys = {f"{p['metadata']['namespace']}/{p['metadata']['name']}": p for p in policies}
        gone = {f"{p['metadata']['namespace']}/{p['metadata']['name']}" for p in self.policies} - keys.keys()
        for rules in self.rules:
            for key in gone:
                rules.set_policy(key, None)
            for key, policy in keys.items():
                rules.set_policy(key, policy_of(policy))
        self.policies = list(policies)
        self.write()

    def expected(self) -> dict[Probe, bool]:
        return {
            (a, b, protocol, port): allowed(self.policies, NAMESPACES, self.ends[a], self.ends[b], protocol, port)
            for a in self.places
            for b in self.places
            for protocol in PROTOCOLS
            for port in PORTS
            if not (a == b == "outside")
        }

    def check(self) -> None:
        expected = self.expected()
        assert not wrong(expected, measured(expected, self.places.__getitem__))


@pytest.fixture(scope="module")
def shared() -> Iterator[Matrix]:
    with Lab(f"p8sq{random.Random().randrange(10**6)}") as lab:
        matrix = Matrix(lab)
        yield matrix
        matrix.close()


@pytest.fixture
def matrix(shared: Matrix) -> Iterator[Matrix]:
    yield shared
    shared.set()


def policy(namespace, selector=None, name="p", **spec):
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"podSelector": selector or {}, **spec}}


WEB, DB = {"matchLabels": {"app": "web"}}, {"matchLabels": {"app": "db"}}
CASES = {
    "no policies": [],
    "default deny ingress": [policy("x", policyTypes=["Ingress"])],
    "default deny egress": [policy("x", policyTypes=["Egress"])],
    "default deny both": [
        policy("x", policyTypes=["Ingress", "Egress"]),
        policy("y", policyTypes=["Ingress", "Egress"]),
    ],
    "allow all ingress": [policy("x", ingress=[{}])],
    "from pods of the same namespace": [policy("x", DB, ingress=[{"from": [{"podSelector": WEB}]}])],
    "from a namespace": [policy("x", ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"team": "y"}}}]}])],
    "from pods of a namespace": [
        policy("x", ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"team": "y"}}, "podSelector": WEB}]}])
    ],
    "from either": [
        policy("x", ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"team": "y"}}}, {"podSelector": DB}]}])
    ],
    "one port": [policy("x", ingress=[{"ports": [{"port": 8080}]}])],
    "a port of another protocol": [policy("x", ingress=[{"ports": [{"port": 8080, "protocol": "UDP"}]}])],
    "all ports of a protocol": [policy("x", ingress=[{"ports": [{"protocol": "TCP"}]}])],
    "a range of ports": [policy("x", ingress=[{"ports": [{"port": 8081, "endPort": 9000}]}])],
    "SCTP alone": [policy("x", ingress=[{"ports": [{"port": 8080, "protocol": "SCTP"}]}])],
    "egress by SCTP to some pods": [
        policy(
            "x",
            policyTypes=["Egress"],
            egress=[{"to": [{"podSelector": DB}], "ports": [{"protocol": "SCTP", "port": 8081, "endPort": 8082}]}],
        )
    ],
    "egress to a named port of pods in a block": [
        policy(
            "x",
            policyTypes=["Egress"],
            egress=[{"to": [{"ipBlock": {"cidr": "10.244.0.0/16"}}], "ports": [{"port": "http"}]}],
        )
    ],
    "a named port": [policy("x", ingress=[{"ports": [{"port": "http"}]}])],
    "egress to a named port": [policy("x", policyTypes=["Egress"], egress=[{"ports": [{"port": "http"}]}])],
    "egress to a named port of some pods": [
        policy("x", policyTypes=["Egress"], egress=[{"to": [{"podSelector": WEB}], "ports": [{"port": "http"}]}])
    ],
    "a block": [policy("x", ingress=[{"from": [{"ipBlock": {"cidr": "172.30.77.0/24"}}]}])],
    "a block with exceptions": [
        policy("x", ingress=[{"from": [{"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.0.0/30"]}}]}])
    ],
    "egress to the world but not to pods": [
        policy(
            "x", policyTypes=["Egress"], egress=[{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}]
        )
    ],
    "two policies add up": [
        policy("x", DB, "one", ingress=[{"from": [{"podSelector": WEB}], "ports": [{"port": 8080}]}]),
        policy(
            "x", DB, "two", ingress=[{"from": [{"ipBlock": {"cidr": "172.30.77.1/32"}}], "ports": [{"port": 8081}]}]
        ),
    ],
    "both ends must agree": [
        policy("x", WEB, "out", policyTypes=["Egress"], egress=[{"to": [{"podSelector": DB}]}]),
        policy("x", DB, "in", ingress=[{"ports": [{"port": 8081}]}]),
    ],
    "expressions": [
        policy(
            "x",
            {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]},
            ingress=[
                {
                    "from": [
                        {
                            "namespaceSelector": {},
                            "podSelector": {
                                "matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["db"]}]
                            },
                        }
                    ]
                }
            ],
        )
    ],
}


@pytest.mark.parametrize("case", CASES)
def test_matrix(matrix: Matrix, case: str) -> None:
    matrix.set(*CASES[case])
    matrix.check()


def some_policies(rng: random.Random) -> list[dict]:
    def selector():
        return rng.choice([{}, WEB, DB, {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}])

    def peer():
        kind = rng.randrange(4)
        if kind == 0:
            return {"podSelector": selector()}
        if kind == 1:
            return {"namespaceSelector": rng.choice([{}, {"matchLabels": {"team": rng.choice("xy")}}])}
        if kind == 2:
            return {"namespaceSelector": {"matchLabels": {"team": rng.choice("xy")}}, "podSelector": selector()}
        block = rng.choice(["0.0.0.0/0", "10.244.0.0/24", "172.30.77.0/24", "10.244.1.2/31"])
        holes = [h for h in ("10.244.0.2/31", "10.244.1.3/32") if block == "0.0.0.0/0" and rng.random() < 0.5]
        return {"ipBlock": {"cidr": block, "except": holes}}

    def port():
        return rng.choice(
            [
                {"port": 8080},
                {"port": 8081},
                {"port": "http"},
                {"port": 8000, "endPort": 8080},
                {"protocol": "UDP"},
                {"protocol": "SCTP", "port": 8081},
            ]
        )

    def rules(word):
        found = []
        for _ in range(rng.randrange(3)):
            rule = {}
            if rng.random() < 0.8:
                rule[word] = [peer() for _ in range(rng.randrange(1, 3))]
            if rng.random() < 0.5:
                rule["ports"] = [port() for _ in range(rng.randrange(1, 3))]
            found.append(rule)
        return found

    policies = []
    for number in range(rng.randrange(1, 5)):
        types = rng.choice([["Ingress"], ["Egress"], ["Ingress", "Egress"]])
        spec = {"policyTypes": types}
        if "Ingress" in types:
            spec["ingress"] = rules("from")
        if "Egress" in types:
            spec["egress"] = rules("to")
        policies.append(policy(rng.choice("xy"), selector(), f"p{number}", **spec))
    return policies


@pytest.mark.parametrize("seed", range(12))
def test_any_policies(matrix: Matrix, seed: int) -> None:
    matrix.set(*some_policies(random.Random(seed)))
    matrix.check()


def test_pods_come_change_and_go_without_a_change_of_rules(matrix: Matrix) -> None:
    matrix.set(policy("x", DB, ingress=[{"from": [{"podSelector": WEB}]}]))
    matrix.check()
    changed = pod_object("a", "x", {"app": "cron"}, 0, "10.244.0.2")
    matrix.ends["a"]["labels"] = {"app": "cron"}
    for rules in matrix.rules:
        rules.set_pod("x/a", policy_pod(changed))
    matrix.write()
    matrix.check()
    matrix.ends["a"]["labels"] = dict(PODS[0][2])
    for rules in matrix.rules:
        rules.set_pod("x/a", policy_pod(pod_object(*PODS[0])))
    matrix.write()
    matrix.check()


def test_a_node_reaches_its_own_pods_whatever_policies_say(matrix: Matrix) -> None:
    matrix.nodes[0].serve(8090)
    matrix.set(policy("x", policyTypes=["Ingress", "Egress"]))
    assert matrix.nodes[0].who(PODS[0][4], 8080) == matrix.places["a"].name
    assert matrix.places["a"].who(matrix.nodes[0].address, 8090) == "node0"
    assert matrix.nodes[0].ask(PODS[3][4], 8080, timeout=0.3) == "timeout"


def test_connections_that_exist_go_on(matrix: Matrix) -> None:
    with matrix.places["a"].inside():
        connection = socket.create_connection((PODS[1][4], 8080), timeout=1)
    with connection:
        matrix.set(policy("x", policyTypes=["Ingress", "Egress"]))
        connection.sendall(b"?")
        assert connection.recv(100).startswith(matrix.places["b"].name.encode())
    assert matrix.places["a"].ask(PODS[1][4], 8080, timeout=0.3) == "timeout"
