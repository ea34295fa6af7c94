"""Which writes a webhook or policy is for: rules, selectors, equivalent resources. Pure but for the labels of a namespace.

Specified by ``admissionregistration.k8s.io/v1`` and ``apiserver/pkg/admission/plugin/webhook/predicates``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ...api.errors import not_found
from ...api.meta import Object, labels_of
from ...api.resources import GVK, GVR, NAMESPACES
from ...api.selectors import LabelSelector, selector_from_object
from ...hooks.admission import CREATE, UPDATE, AdmissionAttributes
from ...hooks.reading import ObjectReader

EXEMPT_KINDS = frozenset(
    {
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
    }
)
"""Nothing that is configured here can stop its own configuration from being mended."""
EXEMPT_RESOURCES = frozenset(
    {
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
    }
)
REGISTRATION_GROUP = "admissionregistration.k8s.io"


class Equivalent(NamedTuple):
    """Another way to see a resource: another version of it, or another group."""

    gvr: GVR
    gvk: GVK
    convert: Callable[[Object], Object]


Equivalents = Callable[[GVR, str], Sequence[Equivalent]]


def is_exempt(gvr: GVR) -> bool:
    return gvr.group == REGISTRATION_GROUP and gvr.resource in EXEMPT_RESOURCES


def _has(items: Iterable[str] | None, wanted: str) -> bool:
    return any(i in ("*", wanted) for i in items or ())


def rule_matches(rule: Mapping[str, Any], operation: str, gvr: GVR, subresource: str, namespace: str) -> bool:
    """Whether a RuleWithOperations names this write."""
    scope = rule.get("scope") or "*"
    if scope != "*":
        namespaced = gvr != NAMESPACES and bool(namespace)
        if namespaced != (scope == "Namespaced"):
            return False
    if not (_has(rule.get("operations"), operation) and _has(rule.get("apiGroups"), gvr.group)):
        return False
    if not _has(rule.get("apiVersions"), gvr.version):
        return False
    for entry in rule.get("resources") or ():
        resource, _, sub = entry.partition("/")
        if resource in ("*", gvr.resource) and sub in ("*", subresource):
            return True
    return False


class Matcher:
    """The namespace selector, object selector and rules of one webhook or policy."""

    def __init__(self, spec: Mapping[str, Any], rules: Sequence[Mapping[str, Any]]) -> None:
        self.rules = tuple(rules)
        self.namespace_selector = _selector(spec.get("namespaceSelector"))
        self.object_selector = _selector(spec.get("objectSelector"))
        self.equivalent = (spec.get("matchPolicy") or "Equivalent") == "Equivalent"

    def match_rules(
        self, operation: str, gvr: GVR, gvk: GVK, subresource: str, namespace: str, equivalents: Equivalents | None
    ) -> Equivalent | None:
        """As what the write is to be shown; None where no rule names it."""
        if any(rule_matches(r, operation, gvr, subresource, namespace) for r in self.rules):
            return Equivalent(gvr, gvk, _same)
        if not self.equivalent or equivalents is None:
            return None
        for rule in self.rules:
            for other in equivalents(gvr, subresource):
                if rule_matches(rule, operation, other.gvr, subresource, namespace):
                    return other
        return None

    def match_selectors(self, attributes: AdmissionAttributes, reader: ObjectReader) -> bool:
        """Raises StatusError 404 where the namespace is not there."""
        if self.object_selector is not None:
            selected = (
                o is not None and self.object_selector.matches(labels_of(o))
                for o in (attributes.object, attributes.old_object)
            )
            if not any(selected):
                return False
        if self.namespace_selector is None or (not attributes.namespace and attributes.gvr != NAMESPACES):
            return True
        return self.namespace_selector.matches(namespace_labels(attributes, reader))


def _same(obj: Object) -> Object:
    return obj


def _selector(selector: Mapping[str, Any] | None) -> LabelSelector | None:
    """None where it selects everything."""
    if not selector or not (selector.get("matchLabels") or selector.get("matchExpressions")):
        return None
    return selector_from_object(selector)


def namespace_labels(attributes: AdmissionAttributes, reader: ObjectReader) -> Mapping[str, str]:
    """Of the namespace that the write is in; of a namespace that is written, those that it will have."""
    if attributes.gvr == NAMESPACES and not attributes.subresource and attributes.operation in (CREATE, UPDATE):
        return labels_of(attributes.object or {})
    name = attributes.namespace or attributes.name
    namespace = reader.get(NAMESPACES, "", name)
    if namespace is None:
        raise not_found("", "namespaces", name)
    return labels_of(namespace)
