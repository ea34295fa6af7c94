"""The iptables mode's rules as text: names and layout that kube-proxy's users know, and what a change writes."""

from __future__ import annotations

import random
from dataclasses import replace

from pybernetes.proxy.iptables import text
from pybernetes.proxy.iptables.layout import NAT, probability
from pybernetes.proxy.iptables.rules import IptablesOptions, IptablesRules
from pybernetes.proxy.model import Choice, Endpoint, PortName, ServicePort, choose

KUBERNETES = ServicePort(PortName("default", "kubernetes", "https"), 6, 443, "10.96.0.1")
HOSTNAMES = ServicePort(PortName("default", "hostnames", "default"), 6, 80, "10.0.1.175")
PODS = (("10.244.0.5", 9376), ("10.244.0.6", 9376), ("10.244.0.7", 9376))


def rules_with(*services, **options) -> IptablesRules:
    rules = IptablesRules(IptablesOptions("10.244.0.0/16", **options))
    rules.set_node_ips(["192.0.2.10"])
    for port, choice in services:
        rules.set_service(f"{port.name.namespace}/{port.name.name}", [(port, choice)])
    return rules


def test_chains_have_kube_proxys_names():
    rules = rules_with((KUBERNETES, Choice((("192.168.0.2", 6443),), (), True)))
    services = rules.chains()[NAT, "KUBE-SERVICES"]
    # The chain that `iptables-save` of every cluster of kubeadm's shows.
    expected = (
        '-m comment --comment "default/kubernetes:https cluster IP" -m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y'
    )
    assert services[0] == f"-d 10.96.0.1/32 -p tcp {expected}"
    assert services[-1].endswith("-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS")


def test_the_walk_of_debug_services():
    """ "Debugging Services" has its readers follow KUBE-SERVICES to KUBE-SVC to three KUBE-SEP."""
    chains = rules_with((HOSTNAMES, Choice(PODS, (), True))).chains()
    svc = next(r for r in chains[NAT, "KUBE-SERVICES"] if "hostnames" in r).split()[-1]
    dice = [r for r in chains[NAT, svc] if "KUBE-SEP" in r]
    assert [r.partition("--probability ")[2].split(" ")[0] for r in dice] == ["0.33333333349", "0.50000000000", ""]
    for rule, (address, port) in zip(dice, PODS, strict=True):
        mark, translate = chains[NAT, rule.split()[-1]]
        assert mark.startswith(f"-s {address}/32 ") and mark.endswith("-j KUBE-MARK-MASQ")
        assert translate.endswith(f"-j DNAT --to-destination {address}:{port}")


def test_probabilities_are_what_the_kernel_holds():
    assert [probability(n) for n in (2, 3, 4, 7)] == [
        "0.50000000000",
        "0.33333333349",
        "0.25000000000",
        "0.14285714272",
    ]


def test_a_changed_endpoint_touches_its_services_chains_alone():
    services = [(replace(HOSTNAMES, name=PortName("a", f"s{i}", ""), cluster_ip=f"10.0.2.{i}"), i) for i in range(50)]
    rules = rules_with(*((port, Choice(PODS, (), True)) for port, _ in services))
    assert rules.take_update().shared
    rules.set_service("a/s7", [(services[7][0], Choice((*PODS[:2], ("10.244.0.9", 9376)), (), True))])
    update = rules.take_update()
    assert not update.shared
    assert len(update.removed) == 1 and update.removed[0].startswith("KUBE-SEP-")
    assert sorted(c[:9] for c in update.chains) == ["KUBE-SEP-", "KUBE-SVC-"]
    written = text.partial(update)
    assert "*filter" not in written and written.count("KUBE-SERVICES") == 0


def test_no_endpoints_move_the_service_to_the_filter():
    rules = rules_with((replace(HOSTNAMES, node_port=30080), Choice()))
    chains = rules.chains()
    reject = "-j REJECT --reject-with icmp-port-unreachable"
    assert any(
        "hostnames:default has no endpoints" in r and r.endswith(reject) for r in chains["filter", "KUBE-SERVICES"]
    )
    assert any("--dport 30080" in r and r.endswith(reject) for r in chains["filter", "KUBE-EXTERNAL-SERVICES"])
    assert not [chain for _, chain in chains if chain.startswith(("KUBE-SVC-", "KUBE-EXT-"))]


def test_updates_add_up_to_the_whole():
    """However Services come and go, what the updates wrote is what a fresh start would write."""
    rng = random.Random(4)
    rules, kernel = rules_with(), dict(rules_with().chains())
    for _ in range(300):
        number = rng.randrange(8)
        port = replace(
            HOSTNAMES,
            name=PortName("a", f"s{number}", ""),
            cluster_ip=f"10.0.2.{number}",
            protocol=rng.choice([6, 17]),
            node_port=rng.choice([0, 30000 + number]),
            load_balancer_ips=rng.choice([(), (f"192.0.2.{number}",)]),
            source_ranges=rng.choice([(), ("192.0.2.0/24",)]),
            affinity_seconds=rng.choice([0, 10]),
            internal_local=rng.random() < 0.3,
            external_local=rng.random() < 0.3,
        )
        endpoints = [
            Endpoint(*target, node=rng.choice("ab"), ready=rng.random() < 0.7, terminating=rng.random() < 0.5)
            for target in rng.sample(PODS, rng.randrange(4))
        ]
        choice = choose(port, endpoints, "a", "")
        gone = rng.random() < 0.2
        rules.set_service(f"a/s{number}", () if gone else [(port, choice)])
        if rng.random() < 0.6:
            apply(kernel, text.partial(update)) if (update := rules.take_update()) else None
    apply(kernel, text.partial(rules.take_update()))
    assert {p: list(r) for p, r in kernel.items()} == {p: list(r) for p, r in rules.chains().items()}


def apply(kernel, lines):
    """What ``iptables-restore --noflush`` does."""
    table = ""
    for line in lines.splitlines():
        word, _, rest = line.partition(" ")
        if word.startswith("*"):
            table = word[1:]
        elif word.startswith(":"):
            kernel[table, word[1:]] = []
        elif word == "-A":
            chain, _, rule = rest.partition(" ")
            kernel[table, chain].append(rule)
            target = rule.rpartition("-j ")[2].split(" ")[0]
            assert not target.startswith("KUBE-S") or (table, target) in kernel, f"{target} does not exist yet"
        elif word == "-X":
            assert not kernel.pop((table, rest))
            used = [p for p, rules in kernel.items() for r in rules if r.endswith(f"-j {rest}")]
            assert not used, f"{rest} is still in use"


def test_rules_are_counted_as_they_come_and_go():
    rules = rules_with((HOSTNAMES, Choice(PODS, (), True)), (replace(KUBERNETES, node_port=30001), Choice()))
    shared = rules.chains()
    count = sum(
        len(r) for (table, chain), r in shared.items() if table == NAT and chain[:9] in ("KUBE-SVC-", "KUBE-SEP-")
    )
    assert rules.count() == {"filter": 2, "nat": count + 2}
    assert rules.take_update().count() == {"filter": 2, "nat": count + 2}
    for key in ("default/hostnames", "default/kubernetes"):
        rules.set_service(key, ())
    assert rules.count() == {"filter": 0, "nat": 1}
