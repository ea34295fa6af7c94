"""Availability, registration, merging: with plain data."""

from pybernetes.apiserver.aggregation import decide, merging

TARGET = ("ns", "api", 443)


def service(**spec):
    return {"spec": {"ports": [{"port": 443, "name": "https"}], **spec}}


def piece(name="https", ready=True, port=8443):
    return {"ports": [{"name": name, "port": port}], "endpoints": [{"conditions": {"ready": ready}}]}


def test_what_stands_in_the_way_is_told_in_upstreams_words():
    assert decide.obstacle(TARGET, None, []) == (
        "False",
        "ServiceNotFound",
        'service/api in "ns" is not present',
    )
    found = decide.obstacle(TARGET, service(ports=[{"port": 80}]), [])
    assert found == ("False", "ServicePortError", 'service/api in "ns" is not listening on port 443')
    found = decide.obstacle(TARGET, service(), [])
    assert found == ("False", "EndpointsNotFound", 'cannot find endpointslices for service/api in "ns"')
    words = 'endpointslices for service/api in "ns" have no addresses with port name "https"'
    for pieces in ([piece(ready=False)], [piece(name="http")], [piece(port=None)]):
        assert decide.obstacle(TARGET, service(), pieces) == ("False", "MissingEndpoints", words)
    assert decide.obstacle(TARGET, service(), [piece(ready=False), piece(ready=None)]) is None
    assert decide.obstacle(TARGET, service(type="ExternalName", ports=[]), []) is None


def test_a_condition_changes_its_time_with_its_status_only():
    one = decide.with_condition({"metadata": {}}, decide.Verdict("False", "A", "a"), "1")
    assert one["status"]["conditions"][0]["lastTransitionTime"] == "1"
    assert decide.with_condition(one, decide.Verdict("False", "A", "a"), "2") is None
    two = decide.with_condition(one, decide.Verdict("False", "B", "b"), "2")
    assert two["status"]["conditions"][0]["lastTransitionTime"] == "1"
    three = decide.with_condition(two, decide.PASSED, "3")
    assert three["status"]["conditions"][0]["lastTransitionTime"] == "3"


def definition(*versions, established="True", **meta):
    return {
        "metadata": {"name": "x", **meta},
        "spec": {"group": "g.io", "versions": [{"name": n, "served": s} for n, s in versions]},
        "status": {"conditions": [{"type": "Established", "status": established}]},
    }


def test_custom_resources_register_their_served_versions():
    found = decide.wanted_for([definition(("v1", True), ("v2", False)), definition(("v3", True), established="False")])
    assert list(found) == ["v1.g.io"]
    assert found["v1.g.io"]["spec"] == {
        "group": "g.io",
        "version": "v1",
        "groupPriorityMinimum": 1000,
        "versionPriority": 100,
    }
    assert decide.wanted_for([definition(("v1", True), deletionTimestamp="now")]) == {}


def test_only_what_is_ours_is_changed():
    wanted = decide.wanted_for([definition(("v1", True), ("v2", True), ("v3", True))])
    ours = {"metadata": {"name": "v2.g.io", "labels": {decide.AUTOMANAGED: "true"}}, "spec": {"versionPriority": 1}}
    foreign = {"metadata": {"name": "v3.g.io"}, "spec": {"service": {}}}
    old = {"metadata": {"name": "v9.g.io", "labels": {decide.AUTOMANAGED: "true"}}, "spec": {}}
    builtin = {"metadata": {"name": "v1.apps", "labels": {decide.AUTOMANAGED: "onstart"}}, "spec": {}}
    create, update, delete = decide.changes(wanted, [ours, foreign, old, builtin])
    assert [o["metadata"]["name"] for o in create] == ["v1.g.io"]
    assert [o["spec"]["versionPriority"] for o in update] == [100]
    assert delete == [old]


def test_the_order_of_groups_and_versions():
    def priority(group, version, minimum, number):
        return {
            "spec": {"group": group, "version": version, "groupPriorityMinimum": minimum, "versionPriority": number}
        }

    ranks = decide.Ranks([priority("a", "v1", 10, 1), priority("a", "v2", 30, 9), priority("b", "v1", 20, 5)])
    assert ranks.groups(["c", "b", "a"]) == ["c", "a", "b"]  # what has none counts as a custom one
    assert ranks.versions("a", ["v1", "v2", "v3beta1"]) == ["v3beta1", "v2", "v1"]


def test_old_discovery_becomes_an_entry():
    found = merging.version_from_old(
        "v1",
        {
            "resources": [
                {"name": "cats", "namespaced": True, "kind": "Cat", "verbs": ["get"], "shortNames": ["c"]},
                {"name": "cats/status", "kind": "Cat", "verbs": ["get"]},
                {"name": "orphan/status", "kind": "X", "verbs": []},
                "garbage",
            ]
        },
    )
    (row,) = found["resources"]
    assert row["subresources"][0]["subresource"] == "status" and row["shortNames"] == ["c"]
    assert merging.version_from_old("v1", ["nonsense"])["resources"] == []


def test_garbage_discovery_is_nothing():
    for garbage in (None, [], {"items": 3}, {"items": [None, {"versions": "x"}, {"versions": [{"version": 1}]}]}):
        assert merging.versions_of(garbage) == {}


def test_openapi_takes_what_is_needed_and_renames_what_clashes():
    document = {
        "paths": {"/apis/g/v1/x": {"$ref": "#/definitions/A"}, "/apis/apps/v1/x": {}},
        "definitions": {"A": {"b": {"$ref": "#/definitions/B"}}, "B": {"type": "string"}, "C": {}},
    }
    paths, definitions = merging.openapi_v2_parts(document, ["/apis/g/v1/"])
    assert list(paths) == ["/apis/g/v1/x"] and set(definitions) == {"A", "B"}
    assert merging.renamed(paths, definitions, {"B": {"type": "string"}}) == (paths, {"A": definitions["A"]})
    paths, definitions = merging.renamed(paths, definitions, {"B": {"type": "integer"}})
    assert definitions == {"A": {"b": {"$ref": "#/definitions/B_v2"}}, "B_v2": {"type": "string"}} or definitions == {
        "B_v2": {"type": "string"}
    }
