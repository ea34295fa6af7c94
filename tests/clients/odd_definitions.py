"""Definitions as large and as odd as those of well-known operators, made up: their shapes and sizes, not their text."""

from typing import Any

QUANTITY = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
    "x-kubernetes-int-or-string": True,
}
TEXT = (
    "A sentence about this field, as long as generated documentation has it, with `code` and <marks>.\n\nAnd another. "
)


def field(number: int, depth: int) -> dict[str, Any]:
    """One of the ten things that generated schemas are made of."""
    kinds: list[dict[str, Any]] = [
        {"type": "string", "maxLength": 253, "minLength": 1},
        {"type": "integer", "format": "int32", "minimum": 0, "maximum": 65535},
        {"type": "boolean", "default": False},
        QUANTITY,
        {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic", "maxItems": 16},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"type": "string", "enum": ["Always", "Never", "", "IfNotPresent"]},
        {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port", "protocol"],
            "maxItems": 8,
            "items": {
                "type": "object",
                "required": ["port"],
                "properties": {
                    "name": {"type": "string"},
                    "port": {"type": "integer", "format": "int32"},
                    "protocol": {"type": "string", "default": "TCP"},
                },
            },
        },
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "nullable": True},
        {"type": "string", "format": "date-time"},
    ]
    if depth and number % 4 == 3:
        return section(12, depth - 1)
    return {"description": TEXT, **kinds[number % len(kinds)]}


def section(count: int, depth: int) -> dict[str, Any]:
    properties = {f"field{i}": field(i, depth) for i in range(count)}
    return {"description": TEXT, "type": "object", "properties": properties}


def definition(kind: str, group: str, versions: list[dict[str, Any]], scope: str = "Namespaced", **names: Any) -> Any:
    plural = kind.lower() + "s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "annotations": {"made.example.com/by": "a generator"}},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": plural, "kind": kind, "singular": kind.lower(), **names},
            "versions": versions,
        },
    }


def version(name: str, spec: dict[str, Any], *, storage: bool = True, **more: Any) -> dict[str, Any]:
    conditions = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "maxItems": 8,
        "items": {
            "type": "object",
            "required": ["type", "status"],
            "properties": {
                "type": {"type": "string", "maxLength": 316},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
            },
        },
    }
    properties = {"spec": spec, "status": {"type": "object", "properties": {"conditions": conditions}}}
    return {
        "name": name,
        "served": True,
        "storage": storage,
        "schema": {"openAPIV3Schema": {"description": TEXT, "type": "object", "properties": properties}},
        "subresources": {"status": {}},
        **more,
    }


def workflows() -> Any:
    """Thousands of fields, a pod's schema inside many times over, templates of free form."""
    spec = section(24, 3)
    spec["properties"] |= {f"template{i}": section(20, 2) for i in range(4)}
    return definition("Flow", "flows.example.com", [version("v1alpha1", spec)], shortNames=["fl"], categories=["odd"])


def certificates() -> Any:
    """Selectable fields, columns with filters, either-or of sections."""
    spec = section(30, 1)
    spec["required"] = ["secretName", "issuer"]
    spec["properties"] |= {
        "secretName": {"type": "string"},
        "issuer": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
        "keystores": {
            "type": "object",
            "properties": {name: {"type": "object", "required": ["secret"], "properties": {"secret": {"type": "string"}}} for name in ("jks", "pem")},
            "oneOf": [{"required": ["jks"]}, {"required": ["pem"]}],
        },
    }  # fmt: skip
    ready = '.status.conditions[?(@.type=="Ready")].status'
    columns = [
        {"name": "Ready", "type": "string", "jsonPath": ready},
        {"name": "Secret", "type": "string", "jsonPath": ".spec.secretName"},
        {"name": "Issuer", "type": "string", "jsonPath": ".spec.issuer.name", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    selectable = [{"jsonPath": ".spec.issuer.name"}]
    made = version("v1", spec, additionalPrinterColumns=columns, selectableFields=selectable)
    return definition("Cert", "certs.example.com", [made], shortNames=["crt"], categories=["odd"])


def routes() -> Any:
    """Rules upon rules, and four versions of which one is deprecated."""
    listener = {
        "type": "object",
        "required": ["name", "port"],
        "properties": {
            "name": {"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "protocol": {"type": "string", "maxLength": 255, "default": "HTTP"},
            "hostname": {"type": "string", "maxLength": 253},
            "tls": {"type": "object", "properties": {"mode": {"type": "string", "enum": ["Terminate", "Passthrough"]}}},
        },
    }
    spec = {
        "type": "object",
        "properties": {
            "listeners": {
                "type": "array",
                "minItems": 1,
                "maxItems": 64,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": listener,
                "x-kubernetes-validations": [
                    {
                        "rule": "self.all(l, l.protocol in ['HTTP', 'TCP', 'UDP'] ? !has(l.tls) : true)",
                        "message": "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']",
                    },
                    {
                        "rule": "self.all(l1, self.exists_one(l2, l1.port == l2.port && l1.protocol == l2.protocol "
                        "&& (has(l1.hostname) && has(l2.hostname) ? l1.hostname == l2.hostname : !has(l1.hostname) "
                        "&& !has(l2.hostname))))",
                        "message": "Combination of port, protocol and hostname must be unique for each listener",
                    },
                ],
            },
            "addresses": {
                "type": "array",
                "maxItems": 16,
                "items": {
                    "type": "object",
                    "properties": {"type": {"type": "string", "default": "IPAddress"}, "value": {"type": "string", "maxLength": 253}},
                    "oneOf": [
                        {"properties": {"type": {"enum": ["IPAddress"]}, "value": {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}}},
                        {"properties": {"type": {"not": {"enum": ["IPAddress"]}}}},
                    ],
                },
            },
        },
    }  # fmt: skip
    versions = [
        version("v1", spec),
        version("v1beta1", spec, storage=False),
        version("v1alpha2", spec, storage=False, deprecated=True, deprecationWarning="v1alpha2 goes away soon"),
        version("v1alpha1", {"type": "object", "x-kubernetes-preserve-unknown-fields": True}, storage=False, deprecated=True),
    ]  # fmt: skip
    return definition("Portal", "portals.example.com", versions, categories=["odd"])


def monitors() -> Any:
    """A wide one with scale, and a free-form part in the middle."""
    spec = section(200, 1)
    spec["properties"]["replicas"] = {"type": "integer", "format": "int32"}
    made = version("v1", spec)
    made["subresources"]["scale"] = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    status = made["schema"]["openAPIV3Schema"]["properties"]["status"]
    status["properties"] |= {"replicas": {"type": "integer"}, "selector": {"type": "string"}}
    return definition("Monitor", "monitors.example.com", [made], categories=["odd"])


ALL = {"flows": workflows, "certs": certificates, "portals": routes, "monitors": monitors}
