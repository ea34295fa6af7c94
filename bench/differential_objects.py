"""Objects that are wrong in one way each, for ``differential_cases``: (name, path of creation, object)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

Wrong = dict[str, Any]
LABELS = {"app": "x"}
CONTAINER = {"name": "c", "image": "i"}
BASE: dict[str, tuple[str, dict[str, Any]]] = {
    "pod": ("/api/v1/namespaces/{}/pods", {"spec": {"containers": [CONTAINER], "automountServiceAccountToken": False}}),
    "service": ("/api/v1/namespaces/{}/services", {"spec": {"ports": [{"port": 80}]}}),
    "pvc": ("/api/v1/namespaces/{}/persistentvolumeclaims", {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    "pv": ("/api/v1/persistentvolumes", {
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}}),
    "deployment": ("/apis/apps/v1/namespaces/{}/deployments", {
        "spec": {"selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER]}}}}),
    "statefulset": ("/apis/apps/v1/namespaces/{}/statefulsets", {
        "spec": {"serviceName": "s", "selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER]}}}}),
    "daemonset": ("/apis/apps/v1/namespaces/{}/daemonsets", {
        "spec": {"selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER]}}}}),
    "job": ("/apis/batch/v1/namespaces/{}/jobs", {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}}}),
    "cronjob": ("/apis/batch/v1/namespaces/{}/cronjobs", {
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}}}}}),
    "ingress": ("/apis/networking.k8s.io/v1/namespaces/{}/ingresses", {
        "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}),
    "networkpolicy": ("/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies", {"spec": {"podSelector": {}}}),
    "hpa": ("/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers", {
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}),
    "pdb": ("/apis/policy/v1/namespaces/{}/poddisruptionbudgets", {"spec": {"minAvailable": 1, "selector": {}}}),
    "role": ("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles", {"rules": []}),
    "rolebinding": ("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings", {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}}),
    "storageclass": ("/apis/storage.k8s.io/v1/storageclasses", {"provisioner": "example.com/p"}),
    "secret": ("/api/v1/namespaces/{}/secrets", {}),
    "configmap": ("/api/v1/namespaces/{}/configmaps", {}),
    "quota": ("/api/v1/namespaces/{}/resourcequotas", {"spec": {}}),
    "limitrange": ("/api/v1/namespaces/{}/limitranges", {"spec": {"limits": []}}),
    "node": ("/api/v1/nodes", {}),
    "endpoints": ("/api/v1/namespaces/{}/endpoints", {}),
    "slice": ("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", {"addressType": "IPv4", "endpoints": []}),
    "lease": ("/apis/coordination.k8s.io/v1/namespaces/{}/leases", {"spec": {}}),
    "priorityclass": ("/apis/scheduling.k8s.io/v1/priorityclasses", {"value": 1}),
    "runtimeclass": ("/apis/node.k8s.io/v1/runtimeclasses", {"handler": "h"}),
    "csidriver": ("/apis/storage.k8s.io/v1/csidrivers", {"spec": {}}),
    "webhook": ("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", {"webhooks": [{
        "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://x/y"}}]}),
    "crd": ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {"metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}]}}),
    "csr": ("/apis/certificates.k8s.io/v1/certificatesigningrequests", {"spec": {"request": "eA==", "signerName": "example.com/s", "usages": ["client auth"]}}),
    "flowschema": ("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", {"spec": {"priorityLevelConfiguration": {"name": "x"}}}),
    "vap": ("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", {"spec": {"validations": [{"expression": "true"}]}}),
    "rc": ("/api/v1/namespaces/{}/replicationcontrollers", {"spec": {"selector": LABELS, "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER]}}}}),
    "event": ("/api/v1/namespaces/{}/events", {"involvedObject": {"kind": "Pod", "name": "x"}}),
}  # fmt: skip
# Each value is set at its path (numbers are list indexes) in a good object of the kind.
WRONG: dict[str, list[tuple[str, Any]]] = {
    "pod": [
        ("spec.containers", []), ("spec.containers", None), ("spec.containers.0.name", ""), ("spec.containers.0.name", "A b"), ("spec.containers.0.image", ""),
        ("spec.containers.0.image", " i "), ("spec.containers.0.imagePullPolicy", "Odd"), ("spec.containers.0.ports", [{"containerPort": 0}]),
        ("spec.containers.0.ports", [{"containerPort": 70000, "protocol": "ODD", "name": "Bad Name", "hostPort": 99999, "hostIP": "x"}]),
        ("spec.containers.0.ports", [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]), ("spec.containers.0.env", [{"name": ""}]),
        ("spec.containers.0.env", [{"name": "a=b", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "odd"}}}]),
        ("spec.containers.0.env", [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "spec.odd"}}}]), ("spec.containers.0.env", [{"name": "a", "valueFrom": {}}]),
        ("spec.containers.0.env", [{"name": "a", "valueFrom": {"secretKeyRef": {"name": "", "key": ""}}}]), ("spec.containers.0.envFrom", [{}]),
        ("spec.containers.0.resources", {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}), ("spec.containers.0.resources", {"requests": {"odd": "1"}}),
        ("spec.containers.0.resources", {"requests": {"cpu": "-1"}}), ("spec.containers.0.resources", {"requests": {"cpu": "x"}}),
        ("spec.containers.0.resources", {"requests": {"example.com/gpu": "1"}}), ("spec.containers.0.resources", {"limits": {"example.com/gpu": "1.5"}}),
        ("spec.containers.0.resources", {"limits": {"hugepages-2Mi": "1Mi"}}),
        ("spec.containers.0.volumeMounts", [{"name": "none", "mountPath": "/x"}]), ("spec.containers.0.volumeMounts", [{"name": "", "mountPath": ""}]),
        ("spec.containers.0.livenessProbe", {}), ("spec.containers.0.livenessProbe", {"httpGet": {"port": 0}, "exec": {"command": []}}),
        ("spec.containers.0.livenessProbe", {"tcpSocket": {"port": "bad name"}, "periodSeconds": -1}), ("spec.containers.0.livenessProbe", {"grpc": {"port": 0}}),
        ("spec.containers.0.livenessProbe", {"exec": {"command": ["a"]}, "successThreshold": 2}), ("spec.containers.0.lifecycle", {"preStop": {}}),
        ("spec.containers.0.lifecycle", {"postStart": {"sleep": {"seconds": -1}}}), ("spec.containers.0.securityContext", {"privileged": True, "allowPrivilegeEscalation": False}),
        ("spec.containers.0.securityContext", {"runAsUser": -1, "runAsGroup": -1}), ("spec.containers.0.securityContext", {"capabilities": {"add": ["ODD"]}, "procMount": "Odd"}),
        ("spec.containers.0.securityContext", {"seccompProfile": {"type": "Localhost"}}), ("spec.containers.0.securityContext", {"seccompProfile": {"type": "Odd"}}),
        ("spec.containers.0.terminationMessagePolicy", "Odd"), ("spec.containers.0.terminationMessagePath", ""), ("spec.containers.0.workingDir", 5), ("spec.containers.0.restartPolicy", "Always"),
        ("spec.containers.0.resizePolicy", [{"resourceName": "odd", "restartPolicy": "Odd"}]), ("spec.containers", [CONTAINER, CONTAINER]),
        ("spec.initContainers", [CONTAINER]), ("spec.initContainers", [{"name": "i", "image": "i", "restartPolicy": "Odd"}]), ("spec.initContainers", [{"name": "i", "image": "i", "livenessProbe": {"exec": {"command": ["a"]}}}]),
        ("spec.ephemeralContainers", [{"name": "e", "image": "i"}]), ("spec.restartPolicy", "Odd"), ("spec.dnsPolicy", "Odd"), ("spec.dnsPolicy", "None"),
        ("spec.dnsConfig", {"nameservers": ["x"], "searches": ["a b"], "options": [{}]}), ("spec.hostname", "Bad_"), ("spec.subdomain", "Bad_"), ("spec.nodeName", "Bad_"),
        ("spec.nodeSelector", {"a b": "c"}), ("spec.serviceAccountName", "Bad_"), ("spec.activeDeadlineSeconds", 0), ("spec.terminationGracePeriodSeconds", -1),
        ("spec.priority", 5), ("spec.priorityClassName", "none"), ("spec.schedulerName", "a b"), ("spec.runtimeClassName", "none"), ("spec.preemptionPolicy", "Odd"),
        ("spec.tolerations", [{"operator": "Odd"}]), ("spec.tolerations", [{"operator": "Exists", "value": "x"}]), ("spec.tolerations", [{"key": "a b"}]), ("spec.tolerations", [{"effect": "Odd"}]),
        ("spec.tolerations", [{"key": "a", "tolerationSeconds": 5, "effect": "NoSchedule"}]), ("spec.hostAliases", [{"ip": "x", "hostnames": ["Bad_"]}]),
        ("spec.volumes", [{"name": ""}]), ("spec.volumes", [{"name": "a"}, {"name": "a"}]), ("spec.volumes", [{"name": "A_"}]), ("spec.volumes", [{"name": "a", "hostPath": {"path": "", "type": "Odd"}}]),
        ("spec.volumes", [{"name": "a", "emptyDir": {"sizeLimit": "-1", "medium": "Odd"}}]), ("spec.volumes", [{"name": "a", "emptyDir": {}, "hostPath": {"path": "/"}}]), ("spec.volumes", [{"name": "a", "secret": {}}]),
        ("spec.volumes", [{"name": "a", "configMap": {"name": "", "defaultMode": 9999}}]), ("spec.volumes", [{"name": "a", "configMap": {"name": "c", "items": [{"key": "", "path": "../x"}]}}]),
        ("spec.volumes", [{"name": "a", "persistentVolumeClaim": {"claimName": ""}}]), ("spec.volumes", [{"name": "a", "projected": {"sources": [{}]}}]), ("spec.volumes", [{"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "", "expirationSeconds": 5}}]}}]),
        ("spec.volumes", [{"name": "a", "downwardAPI": {"items": [{"path": "/x", "fieldRef": {"fieldPath": "odd"}}]}}]), ("spec.volumes", [{"name": "a", "csi": {}}]), ("spec.volumes", [{"name": "a", "nfs": {}}]), ("spec.volumes", [{"name": "a", "iscsi": {}}]),
        ("spec.volumes", [{"name": "a", "ephemeral": {}}]), ("spec.volumes", [{"name": "a", "image": {}}]),
        ("spec.affinity", {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}), ("spec.affinity", {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Odd"}]}]}}}),
        ("spec.affinity", {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0, "preference": {}}]}}), ("spec.affinity", {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}),
        ("spec.affinity", {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 200, "podAffinityTerm": {"topologyKey": "a b", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}}}]}}),
        ("spec.topologySpreadConstraints", [{"maxSkew": 0, "topologyKey": "", "whenUnsatisfiable": "Odd"}]), ("spec.topologySpreadConstraints", [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 3}]),
        ("spec.readinessGates", [{"conditionType": "a b"}]), ("spec.schedulingGates", [{"name": "a b"}]), ("spec.os", {"name": "odd"}), ("spec.os", {"name": "windows"}), ("spec.hostPID", "x"), ("spec.shareProcessNamespace", 1),
        ("spec.securityContext", {"sysctls": [{"name": "A b", "value": "1"}]}), ("spec.securityContext", {"fsGroup": -1, "supplementalGroups": [-1]}), ("spec.securityContext", {"fsGroupChangePolicy": "Odd"}), ("spec.securityContext", {"windowsOptions": {}, "seLinuxOptions": {}}),
        ("spec.hostUsers", False), ("spec.resourceClaims", [{"name": "a"}]), ("spec.resourceClaims", [{"name": "a", "resourceClaimName": "x", "resourceClaimTemplateName": "y"}]), ("spec.overhead", {"cpu": "1"}), ("spec.setHostnameAsFQDN", "x"), ("spec.enableServiceLinks", None),
        ("spec.imagePullSecrets", [{}]), ("spec.hostNetwork", True), ("spec.resources", {"requests": {"odd": "1"}}), ("metadata.annotations", {"container.apparmor.security.beta.kubernetes.io/x": "odd"}), ("spec.nodeName", ""),
    ],
    "service": [
        ("spec.ports", []), ("spec.ports.0.port", 0), ("spec.ports.0.port", 70000), ("spec.ports.0.protocol", "ODD"), ("spec.ports.0.targetPort", "bad port"), ("spec.ports.0.targetPort", 0), ("spec.ports.0.name", "Bad_"), ("spec.ports.0.nodePort", 30000),
        ("spec.ports", [{"port": 80}, {"port": 81}]), ("spec.ports", [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]), ("spec.ports", [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]), ("spec.type", "Odd"), ("spec.type", "ExternalName"), ("spec.clusterIP", "x"),
        ("spec.clusterIP", "1.2.3.4"), ("spec.clusterIPs", ["None", "1.2.3.4"]), ("spec.clusterIPs", ["10.97.0.77", "10.97.0.78"]), ("spec.ipFamilies", ["IPv9"]), ("spec.ipFamilies", ["IPv6"]), ("spec.ipFamilies", ["IPv4", "IPv4"]), ("spec.ipFamilyPolicy", "Odd"),
        ("spec.ipFamilyPolicy", "RequireDualStack"), ("spec.sessionAffinity", "Odd"), ("spec.sessionAffinityConfig", {"clientIP": {"timeoutSeconds": 0}}), ("spec.externalIPs", ["x", "127.0.0.1", "0.0.0.0"]), ("spec.externalTrafficPolicy", "Odd"), ("spec.externalTrafficPolicy", "Local"),
        ("spec.internalTrafficPolicy", "Odd"), ("spec.loadBalancerSourceRanges", ["x"]), ("spec.loadBalancerIP", "1.2.3.4"), ("spec.loadBalancerClass", "Bad_"), ("spec.healthCheckNodePort", 30000), ("spec.allocateLoadBalancerNodePorts", True), ("spec.externalName", "a b"),
        ("spec.selector", {"a b": "c"}), ("spec.publishNotReadyAddresses", "x"), ("spec.trafficDistribution", "Odd"), ("metadata.name", "1a"), ("spec.ports.0.appProtocol", "a b"),
    ],
    "deployment": [
        ("spec.replicas", -1), ("spec.selector", None), ("spec.selector", {}), ("spec.selector", {"matchLabels": {"app": "y"}}), ("spec.selector", {"matchExpressions": [{"key": "a", "operator": "Odd"}]}), ("spec.strategy", {"type": "Odd"}), ("spec.strategy", {"type": "Recreate", "rollingUpdate": {}}),
        ("spec.strategy", {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}), ("spec.strategy", {"rollingUpdate": {"maxSurge": "x"}}), ("spec.strategy", {"rollingUpdate": {"maxUnavailable": "200%"}}), ("spec.minReadySeconds", -1), ("spec.revisionHistoryLimit", -1), ("spec.progressDeadlineSeconds", 0),
        ("spec.minReadySeconds", 700), ("spec.template.spec.restartPolicy", "Never"), ("spec.template.spec.activeDeadlineSeconds", 5), ("spec.template.metadata.labels", {}), ("spec.template", None), ("spec.template.spec.containers", []),
    ],
    "statefulset": [("spec.podManagementPolicy", "Odd"), ("spec.updateStrategy", {"type": "Odd"}), ("spec.updateStrategy", {"rollingUpdate": {"partition": -1}}), ("spec.updateStrategy", {"type": "OnDelete", "rollingUpdate": {}}), ("spec.replicas", -1), ("spec.persistentVolumeClaimRetentionPolicy", {"whenDeleted": "Odd"}), ("spec.ordinals", {"start": -1}), ("spec.serviceName", "Bad_"), ("spec.minReadySeconds", -1), ("spec.volumeClaimTemplates", [{"metadata": {"name": "Bad_"}, "spec": {}}]), ("spec.template.spec.restartPolicy", "Never")],
    "daemonset": [("spec.updateStrategy", {"type": "Odd"}), ("spec.updateStrategy", {"rollingUpdate": {"maxUnavailable": 0}}), ("spec.updateStrategy", {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}}), ("spec.minReadySeconds", -1), ("spec.selector", {"matchLabels": {"a": "b"}}), ("spec.template.spec.activeDeadlineSeconds", 1)],
    "rc": [("spec.replicas", -1), ("spec.selector", {}), ("spec.selector", {"a": "b"}), ("spec.template", None), ("spec.template.spec.restartPolicy", "Never")],
    "job": [("spec.parallelism", -1), ("spec.completions", -1), ("spec.backoffLimit", -1), ("spec.activeDeadlineSeconds", -1), ("spec.ttlSecondsAfterFinished", -1), ("spec.completionMode", "Odd"), ("spec.completionMode", "Indexed"), ("spec.template.spec.restartPolicy", "Always"), ("spec.template.spec.restartPolicy", ""), ("spec.selector", {"matchLabels": LABELS}), ("spec.manualSelector", True), ("spec.podFailurePolicy", {"rules": [{"action": "Odd"}]}), ("spec.podFailurePolicy", {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": []}}]}), ("spec.successPolicy", {"rules": []}), ("spec.backoffLimitPerIndex", 1), ("spec.podReplacementPolicy", "Odd"), ("spec.managedBy", "Bad"), ("spec.maxFailedIndexes", 1), ("spec.suspend", "x")],
    "cronjob": [("spec.schedule", ""), ("spec.schedule", "odd"), ("spec.schedule", "61 * * * *"), ("spec.schedule", "TZ=UTC * * * * *"), ("spec.timeZone", "Odd/Zone"), ("spec.timeZone", ""), ("spec.concurrencyPolicy", "Odd"), ("spec.startingDeadlineSeconds", -1), ("spec.successfulJobsHistoryLimit", -1), ("spec.failedJobsHistoryLimit", -1), ("spec.jobTemplate.spec.template.spec.restartPolicy", "Always"), ("metadata.name", "x" * 53), ("spec.schedule", "@every 5m")],
    "pvc": [("spec.accessModes", []), ("spec.accessModes", ["Odd"]), ("spec.accessModes", ["ReadWriteOncePod", "ReadWriteOnce"]), ("spec.resources", {}), ("spec.resources.requests.storage", "-1"), ("spec.resources.requests.storage", "0"), ("spec.volumeMode", "Odd"), ("spec.storageClassName", "Bad_"), ("spec.selector", {"matchExpressions": [{"key": "a", "operator": "In"}]}), ("spec.dataSource", {"kind": "Odd", "name": ""}), ("spec.volumeAttributesClassName", "x"), ("spec.volumeName", "x")],
    "pv": [("spec.accessModes", []), ("spec.accessModes", ["Odd"]), ("spec.capacity", {}), ("spec.capacity", {"cpu": "1"}), ("spec.hostPath", None), ("spec.hostPath", {"path": ""}), ("spec.hostPath", {"path": "/../x"}), ("spec.nfs", {"server": "s", "path": "/p"}), ("spec.persistentVolumeReclaimPolicy", "Odd"), ("spec.hostPath", {"path": "/"}), ("spec.storageClassName", "Bad_"), ("spec.mountOptions", [""]), ("spec.nodeAffinity", {}), ("spec.volumeMode", "Odd"), ("spec.claimRef", {}), ("spec.persistentVolumeReclaimPolicy", "Recycle")],
    "ingress": [("spec", {}), ("spec.rules", [{"host": "Bad_"}]), ("spec.rules", [{"host": "1.2.3.4"}]), ("spec.rules", [{"http": {"paths": []}}]), ("spec.rules", [{"http": {"paths": [{"path": "x", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]), ("spec.rules", [{"http": {"paths": [{"path": "/x", "backend": {}}]}}]), ("spec.rules", [{"http": {"paths": [{"path": "/x", "pathType": "Odd", "backend": {"service": {"name": "", "port": {}}}}]}}]), ("spec.rules", [{"http": {"paths": [{"path": "/a//b", "pathType": "Exact", "backend": {"service": {"name": "s", "port": {"number": 80, "name": "x"}}}}]}}]), ("spec.defaultBackend", {}), ("spec.defaultBackend.service.port", {"number": 0}), ("spec.defaultBackend", {"service": {"name": "s", "port": {"number": 1}}, "resource": {"kind": "K", "name": "n"}}), ("spec.tls", [{"hosts": ["*"]}]), ("spec.ingressClassName", "Bad_"), ("metadata.annotations", {"kubernetes.io/ingress.class": "x"})],
    "networkpolicy": [("spec.policyTypes", ["Odd"]), ("spec.policyTypes", ["Ingress", "Egress", "Ingress"]), ("spec.podSelector", {"matchLabels": {"a b": "c"}}), ("spec.ingress", [{"from": [{}]}]), ("spec.ingress", [{"from": [{"ipBlock": {"cidr": "x"}}]}]), ("spec.ingress", [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}]), ("spec.ingress", [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]), ("spec.ingress", [{"ports": [{"protocol": "ODD", "port": 0}]}]), ("spec.ingress", [{"ports": [{"port": 5, "endPort": 4}]}]), ("spec.ingress", [{"ports": [{"port": "x", "endPort": 4}]}]), ("spec.egress", [{"ports": [{"endPort": 4}]}])],
    "hpa": [("spec.maxReplicas", 0), ("spec.minReplicas", 0), ("spec.minReplicas", 9), ("spec.scaleTargetRef", {}), ("spec.scaleTargetRef", {"kind": "a/b", "name": "a/b"}), ("spec.metrics", [{"type": "Odd"}]), ("spec.metrics", [{"type": "Resource"}]), ("spec.metrics", [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}]), ("spec.metrics", [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": -1}}}]), ("spec.behavior", {"scaleUp": {"policies": []}}), ("spec.behavior", {"scaleUp": {"stabilizationWindowSeconds": -1, "selectPolicy": "Odd", "policies": [{"type": "Odd", "value": 0, "periodSeconds": 0}]}}), ("spec.metrics", [{"type": "Pods", "pods": {"metric": {"name": ""}, "target": {"type": "Value", "value": "1"}}}])],
    "pdb": [("spec", {"minAvailable": 1, "maxUnavailable": 1}), ("spec.minAvailable", -1), ("spec.minAvailable", "x"), ("spec.minAvailable", "200%"), ("spec.selector", {"matchLabels": {"a b": "c"}}), ("spec.unhealthyPodEvictionPolicy", "Odd")],
    "role": [("rules", [{}]), ("rules", [{"verbs": []}]), ("rules", [{"verbs": ["get"], "resources": ["pods"]}]), ("rules", [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]), ("rules", [{"verbs": ["get"], "apiGroups": [""], "resources": []}])],
    "rolebinding": [("roleRef", {}), ("roleRef.kind", "Odd"), ("roleRef.apiGroup", "odd"), ("roleRef.name", ""), ("subjects", [{"kind": "Odd", "name": "x"}]), ("subjects", [{"kind": "ServiceAccount", "name": "x"}]), ("subjects", [{"kind": "User", "name": "", "apiGroup": "odd"}]), ("subjects", [{"kind": "ServiceAccount", "name": "Bad_", "namespace": "n", "apiGroup": "rbac.authorization.k8s.io"}])],
    "storageclass": [("provisioner", ""), ("provisioner", "a b"), ("reclaimPolicy", "Odd"), ("volumeBindingMode", "Odd"), ("parameters", {"": "x"}), ("allowedTopologies", [{"matchLabelExpressions": [{"key": "a", "values": []}]}])],
    "secret": [("type", "kubernetes.io/tls"), ("type", "kubernetes.io/dockerconfigjson"), ("type", "kubernetes.io/basic-auth"), ("type", "kubernetes.io/ssh-auth"), ("type", "kubernetes.io/service-account-token"), ("data", {"a b": "eA=="}), ("data", {"a": "%"}), ("data", {"..": "eA=="}), ("stringData", {"a": 1}), ("type", "bootstrap.kubernetes.io/token")],
    "configmap": [("data", {"a b": "x"}), ("data", {"..": "x"}), ("data", {"": "x"}), ("data", {"x" * 254: "x"}), ("binaryData", {"a": "eA=="}), ("data", {"a": "x" * 1048577})],
    "quota": [("spec.hard", {"pods": "-1"}), ("spec.hard", {"odd": "1"}), ("spec.hard", {"pods": "1.5"}), ("spec.scopes", ["Odd"]), ("spec.scopes", ["Terminating", "NotTerminating"]), ("spec", {"hard": {"services": "1"}, "scopes": ["BestEffort"]}), ("spec.scopeSelector", {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Odd"}]})],
    "limitrange": [("spec.limits", [{"type": "Odd"}]), ("spec.limits", [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]), ("spec.limits", [{"type": "Pod", "default": {"cpu": "1"}}]), ("spec.limits", [{"type": "Container", "maxLimitRequestRatio": {"cpu": "0.5"}}]), ("spec.limits", [{"type": "PersistentVolumeClaim"}]), ("spec.limits", [{"type": "Container"}, {"type": "Container"}])],
    "node": [("spec", {"taints": [{"key": "a b", "effect": "Odd"}]}), ("spec", {"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}]}), ("spec", {"podCIDR": "x"}), ("spec", {"podCIDRs": ["10.0.0.0/24", "10.1.0.0/24"]}), ("spec", {"providerID": 1}), ("status", {"addresses": [{"type": "InternalIP", "address": ""}]}), ("metadata.labels", {"a b": "c"})],
    "endpoints": [("subsets", [{"addresses": [{"ip": "x"}], "ports": [{"port": 0}]}]), ("subsets", [{}]), ("subsets", [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 80, "protocol": "ODD", "name": "Bad_"}]}]), ("subsets", [{"addresses": [{"ip": "1.2.3.4", "nodeName": "Bad_", "hostname": "Bad_"}], "ports": [{"port": 1}, {"port": 2}]}])],
    "slice": [("addressType", ""), ("addressType", "Odd"), ("endpoints", [{"addresses": []}]), ("endpoints", [{"addresses": ["x"]}]), ("endpoints", [{"addresses": ["127.0.0.1"]}]), ("endpoints", [{"addresses": ["1.2.3.4"], "hostname": "Bad_", "nodeName": "Bad_"}]), ("ports", [{"name": "Bad_", "protocol": "ODD"}]), ("ports", [{"name": "a"}, {"name": "a"}]), ("endpoints", [{"addresses": ["1.2.3.4"], "deprecatedTopology": {"kubernetes.io/hostname": "x"}}]), ("endpoints", [{"addresses": ["1.2.3.4"], "hints": {"forZones": [{"name": ""}]}}])],
    "lease": [("spec", {"leaseDurationSeconds": 0}), ("spec", {"leaseTransitions": -1}), ("spec", {"holderIdentity": ""}), ("spec", {"renewTime": "x"}), ("spec", {"strategy": "Odd"}), ("spec", {"preferredHolder": "a"})],
    "priorityclass": [("value", 2000000000), ("metadata.name", "system-odd"), ("preemptionPolicy", "Odd"), ("value", "x")],
    "runtimeclass": [("handler", ""), ("handler", "Bad_"), ("overhead", {"podFixed": {"odd": "1"}}), ("scheduling", {"nodeSelector": {"a b": "c"}})],
    "csidriver": [("spec.volumeLifecycleModes", ["Odd"]), ("spec.fsGroupPolicy", "Odd"), ("spec.tokenRequests", [{"audience": "", "expirationSeconds": 5}]), ("metadata.name", "bad name")],
    "webhook": [("webhooks", [{}]), ("webhooks.0.name", "x"), ("webhooks.0.sideEffects", "Odd"), ("webhooks.0.sideEffects", "Some"), ("webhooks.0.admissionReviewVersions", []), ("webhooks.0.admissionReviewVersions", ["v9"]), ("webhooks.0.clientConfig", {}), ("webhooks.0.clientConfig", {"url": "http://x"}), ("webhooks.0.clientConfig", {"service": {}}), ("webhooks.0.timeoutSeconds", 99), ("webhooks.0.failurePolicy", "Odd"), ("webhooks.0.matchPolicy", "Odd"), ("webhooks.0.rules", [{"operations": ["ODD"], "apiGroups": [], "apiVersions": [], "resources": []}]), ("webhooks.0.rules", [{"operations": ["*", "CREATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*", "a"]}]), ("webhooks.0.matchConditions", [{"name": "a", "expression": "1 +"}]), ("webhooks.0.matchConditions", [{"name": "a b", "expression": ""}]), ("webhooks.0.namespaceSelector", {"matchLabels": {"a b": "c"}})],
    "crd": [("metadata.name", "odd.example.com"), ("spec.group", "x"), ("spec.scope", "Odd"), ("spec.names", {}), ("spec.names.plural", "Bad"), ("spec.versions", []), ("spec.versions.0.storage", False), ("spec.versions.0.name", "Bad"), ("spec.versions.0.schema", None), ("spec.versions.0.schema.openAPIV3Schema", {"type": "odd"}), ("spec.versions.0.schema.openAPIV3Schema", {"type": "object", "properties": {"a": {}}}), ("spec.versions.0.schema.openAPIV3Schema", {"type": "object", "properties": {"a": {"type": "array"}}}), ("spec.versions.0.schema.openAPIV3Schema", {"type": "object", "x-kubernetes-validations": [{"rule": "self.odd"}]}), ("spec.versions.0.additionalPrinterColumns", [{"name": "", "type": "odd", "jsonPath": "x"}]), ("spec.versions.0.subresources", {"scale": {}}), ("spec.conversion", {"strategy": "Webhook"}), ("spec.conversion", {"strategy": "Odd"}), ("spec.preserveUnknownFields", True), ("spec.versions.0.selectableFields", [{"jsonPath": ".odd"}])],
    "csr": [("spec.request", ""), ("spec.request", "eA=="), ("spec.signerName", "x"), ("spec.usages", []), ("spec.usages", ["odd"]), ("spec.expirationSeconds", 5)],
    "flowschema": [("spec.matchingPrecedence", 0), ("spec.matchingPrecedence", 10001), ("spec.priorityLevelConfiguration", {}), ("spec.distinguisherMethod", {"type": "Odd"}), ("spec.rules", [{}]), ("spec.rules", [{"subjects": [{"kind": "Odd"}], "resourceRules": [{"verbs": []}]}])],
    "vap": [("spec.validations", []), ("spec.validations", [{"expression": "1"}]), ("spec.validations", [{"expression": "odd"}]), ("spec.validations", [{"expression": "true", "reason": "Odd"}]), ("spec.failurePolicy", "Odd"), ("spec.matchConstraints", {"resourceRules": [{}]}), ("spec.paramKind", {}), ("spec.variables", [{"name": "a b", "expression": "1"}]), ("spec.auditAnnotations", [{"key": "a b", "valueExpression": "1"}]), ("spec.matchConstraints", {"resourceRules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]})],
    "event": [("involvedObject", {"namespace": "other"}), ("involvedObject", {}), ("series", {"count": 0}), ("eventTime", "2020-01-01T00:00:00.000000Z"), ("type", "Odd"), ("reason", "x" * 200)],
}  # fmt: skip


def wrong_objects(namespace: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for kind, changes in WRONG.items():
        path, base = BASE[kind]
        for number, (where, value) in enumerate((("", None), *changes)):
            obj = copy.deepcopy(base)
            obj.setdefault("metadata", {}).setdefault("name", "wrong")
            if where:
                _set(obj, where, value)
            yield f"{kind} {number} {where}", path.format(namespace), obj


def _set(obj: Any, where: str, value: Any) -> None:
    *parents, last = where.split(".")
    for part in parents:
        obj = obj[int(part)] if part.isdigit() else obj.setdefault(part, {})
    obj[int(last) if last.isdigit() else last] = copy.deepcopy(value)
