"""Which links and routes lead to other nodes' pods."""

from pybernetes.proxy.podnetwork import Peer, hardware_address, peer_of, plan, pod_mtu, withdrawal

ME = Peer("a", "172.30.0.10", ("10.244.0.0/24",))
OTHER = Peer("b", "172.30.0.11", ("10.244.1.0/24",))


def test_a_node_counts_when_it_has_address_and_pod_cidr():
    node = {"metadata": {"name": "b"}, "spec": {"podCIDR": "10.244.1.0/24"}}
    assert peer_of(node) is None
    node["status"] = {"addresses": [{"type": "InternalIP", "address": "172.30.0.11"}]}
    assert peer_of(node) == OTHER


def test_vxlan_needs_no_learning():
    assert hardware_address("172.30.0.11") == "0a:58:ac:1e:00:0b"
    assert plan("vxlan", ME, [OTHER])["10.244.1.0/24"] == [
        "neigh replace 10.244.1.0 lladdr 0a:58:ac:1e:00:0b dev p8s-vxlan nud permanent",
        "fdb replace 0a:58:ac:1e:00:0b dev p8s-vxlan dst 172.30.0.11 self permanent",
        "route replace 10.244.1.0/24 via 10.244.1.0 dev p8s-vxlan src 10.244.0.0 onlink proto 136",
    ]


def test_what_was_planned_can_be_taken_back():
    assert withdrawal(plan("vxlan", ME, [OTHER])["10.244.1.0/24"]) == [
        "route del 10.244.1.0/24 proto 136",
        "fdb del 0a:58:ac:1e:00:0b dev p8s-vxlan dst 172.30.0.11 self",
        "neigh del 10.244.1.0 lladdr 0a:58:ac:1e:00:0b dev p8s-vxlan",
    ]
    assert withdrawal(plan("routes", ME, [OTHER])["10.244.1.0/24"]) == ["route del 10.244.1.0/24 proto 136"]


def test_pods_leave_room_for_the_header():
    assert pod_mtu("vxlan", 1500) == 1450
    assert pod_mtu("routes", 1500) == 1500
