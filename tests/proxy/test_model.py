"""Which endpoints a node may use: Services and slices in, a choice out."""

from pybernetes.proxy.model import Choice, Endpoint, PortName, ServicePort, choose, endpoints_by_port, service_ports


def service(**spec):
    return {
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {"clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": 80}], **spec},
    }


def endpoint(address, node="", **fields):
    return Endpoint(address, 80, node, **fields)


def port(**fields):
    return ServicePort(PortName("default", "web", "http"), 6, 80, "10.96.0.9", **fields)


def test_ports_of_a_service():
    found = service_ports(
        service(
            ports=[{"name": "http", "port": 80, "nodePort": 30080}, {"name": "dns", "port": 53, "protocol": "UDP"}],
            sessionAffinity="ClientIP",
            externalTrafficPolicy="Local",
            externalIPs=["192.0.2.1", "2001:db8::1"],
        )
    )
    assert [(p.name.port, p.protocol, p.port, p.node_port) for p in found] == [
        ("http", 6, 80, 30080),
        ("dns", 17, 53, 0),
    ]
    assert found[0].external_ips == ("192.0.2.1",)
    assert found[0].affinity_seconds == 10800
    assert found[0].external_local and not found[0].internal_local


def test_services_without_an_address_are_not_proxied():
    assert service_ports(service(clusterIP="None")) == []
    assert service_ports(service(clusterIP="")) == []
    assert service_ports(service(type="ExternalName")) == []
    other = service()
    other["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "mine"}
    assert service_ports(other) == []


def test_load_balancer_addresses_in_proxy_mode_are_left_alone():
    obj = service(loadBalancerSourceRanges=["10.0.0.0/8", " 192.0.2.7/24 "])
    obj["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2", "ipMode": "Proxy"}]}}
    (found,) = service_ports(obj)
    assert found.load_balancer_ips == ("192.0.2.1",)
    assert found.source_ranges == ("10.0.0.0/8", "192.0.2.0/24")


def test_the_better_of_two_entries_for_one_endpoint_counts():
    def one(ready):
        entry = {"addresses": ["10.244.0.5"], "conditions": {"ready": ready}, "nodeName": "a"}
        return {"addressType": "IPv4", "ports": [{"name": "http", "port": 80}], "endpoints": [entry]}

    for pair in ([one(False), one(True)], [one(True), one(False)]):
        assert [e.ready for e in endpoints_by_port(pair)["http"]] == [True]


def test_terminating_endpoints_serve_only_where_none_is_ready():
    leaving = endpoint("10.244.0.6", ready=False, serving=True, terminating=True)
    assert choose(port(), [endpoint("10.244.0.5"), leaving], "a", "") == Choice((("10.244.0.5", 80),), (), True)
    assert choose(port(), [leaving], "a", "") == Choice((("10.244.0.6", 80),), (), True)
    assert choose(port(), [endpoint("10.244.0.7", ready=False, serving=False)], "a", "") == Choice((), (), False)


def test_local_policy_drops_where_only_others_have_endpoints():
    elsewhere = [endpoint("10.244.1.5", "b")]
    assert choose(port(internal_local=True), elsewhere, "a", "") == Choice((), (), True)
    external = port(external_local=True, node_port=30080)
    assert choose(external, [*elsewhere, endpoint("10.244.0.5", "a")], "a", "") == Choice(
        (("10.244.1.5", 80), ("10.244.0.5", 80)), (("10.244.0.5", 80),), True
    )


def test_hints_count_only_where_every_endpoint_has_one():
    near = endpoint("10.244.0.5", "a", zone_hints=frozenset({"z1"}))
    far = endpoint("10.244.1.5", "b", zone_hints=frozenset({"z2"}))
    plain = endpoint("10.244.2.5", "c")
    assert choose(port(), [near, far], "a", "z1").cluster == (("10.244.0.5", 80),)
    assert len(choose(port(), [near, far], "a", "z3").cluster) == 2
    assert len(choose(port(), [near, far, plain], "a", "z1").cluster) == 3
    here = endpoint("10.244.0.5", "a", node_hints=frozenset({"a"}))
    there = endpoint("10.244.1.5", "b", node_hints=frozenset({"b"}))
    assert choose(port(), [here, there], "b", "z1").cluster == (("10.244.1.5", 80),)
