"""``p8s why`` against a cluster of ``p8s up``."""

import json

POD = """
apiVersion: v1
kind: Pod
metadata: {name: huge}
spec:
  containers:
  - name: c
    image: registry.example.com/none
    resources: {requests: {cpu: "4000"}}
"""


def test_why_a_pod_waits(cluster):
    cluster.kubectl("apply", "-f", "-", stdin=POD)
    cluster.kubectl("wait", "--for=condition=PodScheduled=false", "pod/huge", "--timeout=60s")
    text = cluster.p8s("why", "huge").stdout
    assert text.startswith("default/huge fits on no node.")
    # The words are those of the scheduler in the cluster.
    condition = "jsonpath={.status.conditions[?(@.type=='PodScheduled')].message}"
    message = cluster.kubectl("get", "pod", "huge", "-o", condition)
    assert text.splitlines()[1] in message
    assert "asks 4000 cpu" in text and "in place of 4000" in text
    told = json.loads(cluster.p8s("why", "-f", "-", "-o", "json", stdin=POD.replace("4000", "1m")).stdout)
    assert told["hypothetical"] and any(n["fits"] for n in told["nodes"])
    cluster.kubectl("delete", "pod", "huge", "--wait=false")
