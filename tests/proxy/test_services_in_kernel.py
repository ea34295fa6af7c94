"""Services as clients see them: real packets through the kernel, between namespaces."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pybernetes.concurrency import RealClock
from pybernetes.proxy.backend import NftablesBackend
from pybernetes.proxy.iptables import text
from pybernetes.proxy.iptables.backend import IptablesBackend, remove_leftovers
from pybernetes.proxy.iptables.backend import program as iptables_program
from pybernetes.proxy.iptables.rules import IptablesOptions, IptablesRules
from pybernetes.proxy.model import Choice, HostPort, PortName, ServicePort
from pybernetes.proxy.proxier import prepare_kernel
from pybernetes.proxy.service_rules import ServiceRules
from pybernetes.proxy.service_table import TableOptions

from .lab import Lab, missing

pytestmark = [pytest.mark.network, pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]

VIP = "10.96.0.50"


class Node:
    """A node with three pods, a neighbour outside, and rules that the test writes."""

    def __init__(self, lab: Lab, mode: str) -> None:
        self.lab, self.mode = lab, mode
        self.place = lab.node(0)
        self.outside = lab.outside
        self.pods = [lab.pod(self.place, f"10.244.0.{i}") for i in (2, 3, 4)]
        lab.outside.ip("route add 10.96.0.0/16 via 172.30.77.10", "route add 192.0.2.0/24 via 172.30.77.10")
        for pod in self.pods:
            pod.serve(8080)
            pod.serve(8080, "udp")
        with self.place.inside():
            prepare_kernel(Path("/proc/sys"))
            if mode == "nftables":
                self.rules = ServiceRules()
                self.backend = NftablesBackend(TableOptions("10.244.0.0/16", "10.96.0.0/16"))
            else:
                self.rules = IptablesRules(IptablesOptions("10.244.0.0/16", "10.96.0.0/16"))
                self.backend = IptablesBackend(RealClock(), mode.partition("-")[2])
        self.rules.set_node_ips([self.place.address])
        self.rebuild()

    def backend_present(self):
        with self.place.inside():
            return self.backend.present()

    def rebuild(self) -> None:
        with self.place.inside():
            asyncio.run(self.backend.rebuild(self.rules))

    def targets(self, *numbers: int) -> tuple[tuple[str, int], ...]:
        return tuple((self.pods[n].address, 8080) for n in numbers)

    def set(self, port: ServicePort, *cluster: int, local: tuple[int, ...] = (), some: bool | None = None) -> None:
        found = bool(cluster or local) if some is None else some
        choice = Choice(self.targets(*cluster), self.targets(*local), found, self.targets(*cluster))
        self.rules.set_service(f"{port.name.namespace}/{port.name.name}", [(port, choice)])
        self.write()

    def write(self) -> int:
        update = self.rules.take_update()
        if isinstance(self.rules, ServiceRules):
            self.rules.contents.validate_state()

        async def write() -> int:
            await self.backend.apply(self.rules, update)
            return await self.backend.forget_stale_flows(self.rules) if update.touches_udp else 0

        with self.place.inside():
            return asyncio.run(write())


@pytest.fixture(params=["nftables", "iptables-nft", "iptables-legacy"])
def node(request) -> Iterator[Node]:
    with Lab() as lab:
        node = Node(lab, request.param)
        yield node
        node.backend.close()


def port(**fields) -> ServicePort:
    return replace(ServicePort(PortName("default", "web", "http"), 6, 80, VIP), **fields)


def test_cluster_ip_reaches_every_endpoint_and_follows_changes(node):
    client = node.pods[0]
    node.set(port(), 0, 1, 2)
    found = Counter(client.who(VIP, 80) for _ in range(60))
    assert found.keys() == {p.name for p in node.pods}
    assert min(found.values()) > 5
    node.set(port(), 1)
    assert {client.who(VIP, 80) for _ in range(5)} == {node.pods[1].name}
    # Clients that are pods keep their address; others get the node's, else answers would pass the node by.
    assert client.ask(VIP, 80).split()[1] == client.address
    assert node.outside.ask(VIP, 80).split()[1] != node.outside.address
    assert node.place.who(VIP, 80) == node.pods[1].name


def test_an_endpoint_reaches_itself_through_its_service(node):
    node.set(port(), 0)
    name, peer = node.pods[0].ask(VIP, 80).split()
    assert name == node.pods[0].name
    assert peer != node.pods[0].address


def test_no_endpoints_refuse_and_no_local_ones_drop(node):
    node.set(port())
    for client in (node.pods[0], node.outside, node.place):
        assert client.ask(VIP, 80) == "refused"
    node.set(port(internal_local=True), some=True)
    assert node.pods[0].ask(VIP, 80, timeout=0.3) == "timeout"
    # A port that no Service has, and an address that none has. In iptables nothing knows an address as a Service's.
    expected = "refused" if node.mode == "nftables" else "timeout"
    assert node.pods[0].ask(VIP, 81, timeout=0.3) == expected
    assert node.pods[0].ask("10.96.0.99", 80, timeout=0.3) == "timeout"


def test_node_port_and_traffic_policies(node):
    cluster = port(node_port=30080)
    node.set(cluster, 0)
    name, peer = node.outside.ask(node.place.address, 30080).split()
    assert name == node.pods[0].name and peer != node.outside.address
    node.set(replace(cluster, external_local=True), 0, 1, local=(1,))
    assert {node.outside.ask(node.place.address, 30080) for _ in range(8)} == {
        f"{node.pods[1].name} {node.outside.address}"
    }
    # Pods and the node itself may use them all.
    assert {node.pods[2].who(node.place.address, 30080) for _ in range(30)} == {p.name for p in node.pods[:2]}
    assert {node.place.who(node.place.address, 30080) for _ in range(30)} == {p.name for p in node.pods[:2]}
    node.set(replace(cluster, external_local=True), 0, local=())
    assert node.outside.ask(node.place.address, 30080, timeout=0.3) == "timeout"
    assert node.pods[2].who(node.place.address, 30080) == node.pods[0].name
    node.set(cluster)
    assert node.outside.ask(node.place.address, 30080) == "refused"


def test_load_balancer_addresses_and_source_ranges(node):
    address = "192.0.2.7"
    open_to_all = port(load_balancer_ips=(address,), external_ips=("192.0.2.8",))
    node.set(open_to_all, 0)
    assert node.outside.who(address, 80) == node.pods[0].name
    assert node.outside.who("192.0.2.8", 80) == node.pods[0].name
    node.set(replace(open_to_all, source_ranges=("198.51.100.0/24", "198.51.0.0/16")), 0)
    assert node.outside.ask(address, 80, timeout=0.3) == "timeout"
    assert node.outside.who("192.0.2.8", 80) == node.pods[0].name
    node.set(replace(open_to_all, source_ranges=("198.51.0.0/16", "172.30.77.0/24")), 0)
    assert node.outside.who(address, 80) == node.pods[0].name


def test_session_affinity_stays_refreshes_and_moves_on(node):
    sticky = port(affinity_seconds=100, node_port=30080)
    node.set(sticky, 0, 1, 2)
    for client, address, number in ((node.pods[0], VIP, 80), (node.outside, node.place.address, 30080)):
        assert len({client.who(address, number) for _ in range(15)}) == 1
    bound = node.pods[0].who(VIP, 80)
    left = [i for i, p in enumerate(node.pods) if p.name != bound]
    node.set(sticky, *left)
    moved = {node.pods[0].who(VIP, 80) for _ in range(10)}
    assert len(moved) == 1 and moved != {bound}
    if node.mode == "nftables":
        listed = node.place.run("nft", "list", "map", "ip", "p8s_services", "affinity")
        assert "expires 1m" in listed
    # The agent comes back: who was where is still known.
    node.rebuild()
    assert {node.pods[0].who(VIP, 80) for _ in range(10)} == moved


def test_udp_flows_follow_the_endpoints(node):
    dns = port(protocol=17)
    node.set(dns, 0)
    with node.pods[2].inside():
        client = node.lab.socket("udp")
    with client:
        client.settimeout(1)
        client.connect((VIP, 80))
        for expected in (0, 1):
            node.set(dns, expected)
            client.send(b"?")
            assert client.recv(100).decode().split()[0] == node.pods[expected].name
    assert node.write() == 0


def test_host_ports(node):
    node.rules.set_host_ports("default/a", [HostPort("", 6, 9000, node.pods[0].address, 8080)])
    node.rules.set_host_ports(
        "default/b",
        [
            HostPort("127.0.0.1", 6, 9001, node.pods[1].address, 8080),
            HostPort(node.place.address, 6, 9001, node.pods[2].address, 8080),
            HostPort(node.place.address, 17, 9001, node.pods[0].address, 8080),
        ],
    )
    node.write()
    address = node.place.address
    assert node.outside.ask(address, 9000) == f"{node.pods[0].name} {node.outside.address}"
    assert node.pods[0].who(address, 9000) == node.pods[0].name
    assert node.pods[1].who(address, 9000) == node.pods[0].name
    assert node.place.who("127.0.0.1", 9000) == node.pods[0].name
    assert node.place.who("127.0.0.1", 9001) == node.pods[1].name
    assert node.place.who("127.0.0.1", 9001, source=address) == node.pods[1].name
    assert node.outside.who(address, 9001) == node.pods[2].name
    assert node.outside.who(address, 9001, "udp") == node.pods[0].name
    node.rules.set_host_ports("default/a", ())
    node.write()
    assert node.outside.ask(address, 9000) == "refused"


def test_pods_reach_the_world_with_the_nodes_address(node):
    node.outside.serve(7000)
    assert node.pods[0].ask("172.30.77.1", 7000).split()[1] == node.place.address


def test_sctp(node):
    for pod in node.pods[:2]:
        pod.serve(8080, "sctp")
    sctp = port(protocol=132, node_port=30082)
    node.set(sctp, 0)
    assert node.pods[2].ask(VIP, 80, "sctp") == f"{node.pods[0].name} {node.pods[2].address}"
    assert node.outside.who(node.place.address, 30082, "sctp") == node.pods[0].name
    node.set(sctp, 0, 1)
    assert {node.pods[2].who(VIP, 80, "sctp") for _ in range(24)} == {p.name for p in node.pods[:2]}
    node.set(sctp)
    assert node.pods[2].ask(VIP, 80, "sctp", timeout=0.5) != node.pods[0].name


def test_local_policies_inside_and_outside_still_have_the_short_cut(node):
    """Pods and the node may use all endpoints of an external address even where cluster addresses are local too."""
    both = port(node_port=30080, internal_local=True, external_local=True)
    node.set(both, 0, 1, local=(1,))
    assert {node.pods[2].who(node.place.address, 30080) for _ in range(30)} == {p.name for p in node.pods[:2]}
    assert {node.pods[2].who(VIP, 80) for _ in range(8)} == {node.pods[1].name}
    assert {node.outside.who(node.place.address, 30080) for _ in range(8)} == {node.pods[1].name}


def test_a_udp_flow_stays_with_an_endpoint_that_still_serves(node):
    dns = port(protocol=17)
    node.set(dns, 0)
    with node.pods[2].inside():
        client = node.lab.socket("udp")
    with client:
        client.settimeout(1)
        client.connect((VIP, 80))
        # It terminates but serves: new flows go elsewhere, this one stays; then it is gone.
        for chosen, serving, expected in ((0, (0,), 0), (1, (0, 1), 0), (1, (1,), 1)):
            node.rules.set_service(
                "default/web", [(dns, Choice(node.targets(chosen), (), True, node.targets(*serving)))]
            )
            node.write()
            client.send(b"?")
            assert client.recv(100).decode().split()[0] == node.pods[expected].name


def test_what_iptables_shows_is_what_was_written(node):
    """Read back and compared: a second look finds nothing to mend, and one changed rule is found."""
    if node.mode == "nftables":
        pytest.skip("elements are compared in test_proxier")
    node.set(port(node_port=30080, affinity_seconds=100, external_ips=("192.0.2.8",)), 0, 1, 2)
    node.set(
        port(
            name=PortName("default", "lb", ""),
            cluster_ip="10.96.0.51",
            protocol=17,
            load_balancer_ips=("192.0.2.7",),
            source_ranges=("198.51.100.0/24", "172.30.77.0/24"),
            external_local=True,
            health_check_node_port=30099,
        ),
        0,
        1,
        local=(1,),
    )
    node.set(port(name=PortName("default", "none", "x"), cluster_ip="10.96.0.52", protocol=132, node_port=30085))
    node.rules.set_host_ports("default/a", [HostPort("", 6, 9000, node.pods[0].address, 8080)])
    node.rules.set_host_ports("default/b", [HostPort("127.0.0.1", 17, 9000, node.pods[1].address, 8080)])
    node.write()
    with node.place.inside():
        assert text.differs(node.rules.chains(), node.backend.present()) == ""
        node.place.run(text_program(node, "iptables"), "-t", "nat", "-F", "KUBE-NODEPORTS")
        assert text.differs(node.rules.chains(), node.backend.present()) == "nat KUBE-NODEPORTS"
        node.rebuild()
        assert text.differs(node.rules.chains(), node.backend.present()) == ""
    saved = node.place.run(text_program(node, "iptables-save"))
    shown = [line for line in saved.splitlines() if "default/web" in line]
    assert any("-j KUBE-SVC-" in line for line in shown) and any("DNAT --to-destination" in line for line in shown)


def text_program(node, name):
    return iptables_program(name, node.mode.partition("-")[2])


def test_iptables_rules_of_others_stay_and_all_of_ours_goes(node):
    if node.mode == "nftables":
        pytest.skip("test_command has it")
    variant = node.mode.partition("-")[2]
    for rule in (("-t", "nat", "-A", "POSTROUTING", "-s", "192.0.2.1/32", "-j", "ACCEPT"), ("-N", "THEIRS")):
        node.place.run(text_program(node, "iptables"), *rule)
    before = theirs(node)
    node.set(port(node_port=30080), 0, 1)
    node.set(port(node_port=30080))
    assert not [c for _, c in node.backend_present() if c.startswith(("KUBE-SVC-", "KUBE-SEP-", "KUBE-EXT-"))]
    assert theirs(node) == before
    with node.place.inside():
        remove_leftovers((variant,))
    found = node.backend_present()
    assert theirs(node) == before and not [c for _, c in found if c.startswith(("KUBE", "P8S"))]
    assert not [rule for rules in found.values() for rule in rules if "KUBE" in rule or "P8S" in rule]


def theirs(node):
    found = node.backend_present()
    chains = {p: r for p, r in found.items() if not p[1].startswith(("KUBE", "P8S"))}
    return {place: [r for r in rules if "KUBE" not in r and "P8S" not in r] for place, rules in chains.items()}
