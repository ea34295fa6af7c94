"""Names by the DNS-Based Service Discovery specification 1.1.0."""

import pytest

from pybernetes.dns.records import AAAA, CNAME, PTR, SRV, TXT, A, Record, Zone


def service(name, namespace="default", **spec):
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


def endpoint_slice(name, owner, endpoints, ports=(), namespace="default"):
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": owner}},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": list(ports),
    }


@pytest.fixture
def zone():
    return Zone("cluster.local")


def data(zone, name, kind):
    answer = zone.lookup(name, kind)
    return sorted(r.data for r in answer.records) if answer.exists else None


def test_a_service_with_an_address(zone):
    zone.set_service(service("web", clusterIP="10.96.0.5", ports=[{"name": "http", "port": 80, "protocol": "TCP"}]))
    assert data(zone, "web.default.svc.cluster.local", A) == ["10.96.0.5"]
    assert data(zone, "web.default.svc.cluster.local", AAAA) == []
    assert data(zone, "_http._tcp.web.default.svc.cluster.local", SRV) == ["0 100 80 web.default.svc.cluster.local"]
    assert data(zone, "5.0.96.10.in-addr.arpa", PTR) == ["web.default.svc.cluster.local"]
    assert data(zone, "other.default.svc.cluster.local", A) is None


def test_names_between_exist_without_records(zone):
    zone.set_service(service("web", clusterIP="10.96.0.5", ports=[{"name": "http", "port": 80}]))
    for name in ("default.svc.cluster.local", "_tcp.web.default.svc.cluster.local", "svc.cluster.local"):
        assert data(zone, name, A) == []
    zone.remove_service("default", "web")
    assert data(zone, "default.svc.cluster.local", A) is None


def test_a_headless_service_gives_its_ready_endpoints(zone):
    zone.set_service(service("db", clusterIP="None"))
    zone.set_slice(
        endpoint_slice(
            "db-1",
            "db",
            [
                {"addresses": ["10.244.0.2"], "hostname": "db-0", "conditions": {"ready": True}},
                {"addresses": ["10.244.0.3"], "conditions": {}},
                {"addresses": ["10.244.0.4"], "conditions": {"ready": False}},
            ],
            [{"name": "sql", "port": 5432, "protocol": "TCP"}],
        )
    )
    assert data(zone, "db.default.svc.cluster.local", A) == ["10.244.0.2", "10.244.0.3"]
    assert data(zone, "db-0.db.default.svc.cluster.local", A) == ["10.244.0.2"]
    assert data(zone, "10-244-0-3.db.default.svc.cluster.local", A) == ["10.244.0.3"]
    assert data(zone, "_sql._tcp.db.default.svc.cluster.local", SRV) == [
        "0 100 5432 10-244-0-3.db.default.svc.cluster.local",
        "0 100 5432 db-0.db.default.svc.cluster.local",
    ]
    assert data(zone, "2.0.244.10.in-addr.arpa", PTR) == ["db-0.db.default.svc.cluster.local"]


def test_not_ready_endpoints_are_published_on_demand(zone):
    zone.set_service(service("db", clusterIP="None", publishNotReadyAddresses=True))
    zone.set_slice(endpoint_slice("x", "db", [{"addresses": ["10.1.1.1"], "conditions": {"ready": False}}]))
    assert data(zone, "db.default.svc.cluster.local", A) == ["10.1.1.1"]


def test_an_external_name_is_an_alias(zone):
    zone.set_service(service("ext", type="ExternalName", externalName="Example.COM."))
    assert zone.lookup("ext.default.svc.cluster.local", A).records == (Record(CNAME, "example.com"),)


def test_pods_are_named_by_their_address(zone):
    assert data(zone, "10-244-0-7.default.pod.cluster.local", A) == ["10.244.0.7"]
    assert data(zone, "nonsense.default.pod.cluster.local", A) is None
    assert data(zone, "default.pod.cluster.local", A) == []


def test_the_specification_version(zone):
    assert data(zone, "dns-version.cluster.local", TXT) == ["1.1.0"]


def test_only_real_changes_move_the_generation(zone):
    zone.set_service(service("web", clusterIP="10.96.0.5"))
    before = zone.generation
    zone.set_service(service("web", clusterIP="10.96.0.5", selector={"a": "b"}))
    zone.set_slice(endpoint_slice("web-1", "web", [{"addresses": ["10.1.1.1"]}]))
    assert zone.generation == before


def test_a_slice_may_come_before_its_service(zone):
    zone.set_slice(endpoint_slice("db-1", "db", [{"addresses": ["10.1.1.1"]}]))
    assert data(zone, "db.default.svc.cluster.local", A) is None
    zone.set_service(service("db", clusterIP="None"))
    assert data(zone, "db.default.svc.cluster.local", A) == ["10.1.1.1"]


def test_everything_goes_with_its_service(zone):
    for _ in range(2):
        zone.set_service(service("db", clusterIP="None"))
        slice_ = endpoint_slice("db-1", "db", [{"addresses": ["10.1.1.1"]}])
        zone.set_slice(slice_)
        zone.remove_slice(slice_)
        zone.remove_service("default", "db")
    assert not zone._names and not zone._reverse and not zone._parents and not zone._entries
