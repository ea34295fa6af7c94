"""PodSecurity admission: enforce, audit and warn by the namespace's policy, with exemptions.

Specified by "Pod Security Admission" and ``k8s.io/pod-security-admission/admission``; the messages are upstream's.
Settings: ``pod-security`` is the ``PodSecurityConfiguration`` (defaults and exemptions).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from .... import KUBERNETES_VERSION
from ....api.errors import forbidden, invalid
from ....api.meta import Object, annotations_of, controller_of, labels_of, name_of
from ....api.resources import GVR, NAMESPACES, PODS
from ....hooks.admission import CREATE, UPDATE, AdmissionAttributes, AdmissionContext
from ...metrics import Labels
from ..base import WRITES, Plugin, is_pod
from ..metrics import AdmissionMetrics
from .checks import Finding, evaluate
from .policy import LATEST, MODES, PREFIX, LevelVersion, Policy, policy_of, stricter

_IGNORED_SUBRESOURCES = frozenset(
    {"exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status", "token"}
)
_CONTROLLERS = frozenset(
    {
        ("", "replicationcontrollers"),
        ("", "podtemplates"),
        ("apps", "replicasets"),
        ("apps", "deployments"),
        ("apps", "statefulsets"),
        ("apps", "daemonsets"),
        ("batch", "jobs"),
        ("batch", "cronjobs"),
    }
)
MAX_PODS_TO_CHECK = 3000
OURS = int(KUBERNETES_VERSION.split(".")[1])
_NOTHING: Mapping[str, Any] = {}


def pod_template(gvr: GVR, obj: Object) -> Mapping[str, Any] | None:
    """The pod (or its template) in an object."""
    if gvr.resource == "podtemplates":
        return obj.get("template")
    spec = obj.get("spec") or _NOTHING
    if gvr.resource == "cronjobs":
        spec = (spec.get("jobTemplate") or _NOTHING).get("spec") or _NOTHING
    return spec.get("template")


def significant(new: Object, old: Object) -> bool:
    """Whether an update changes anything that the checks could object to."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    for field in ("containers", "initContainers"):
        mine, theirs = after.get(field) or (), before.get(field) or ()
        if [c.get("image") for c in mine] != [c.get("image") for c in theirs]:
            return True
    known = {c.get("name"): c.get("image") for c in before.get("ephemeralContainers") or ()}
    return any(
        c.get("name") not in known or known[c.get("name")] != c.get("image")
        for c in after.get("ephemeralContainers") or ()
    )


def detail(findings: Iterable[Finding]) -> str:
    return ", ".join(f"{reason} ({words})" if words else reason for reason, words in findings)


def _where(a: AdmissionAttributes) -> Labels:
    """A write as metrics name it."""
    kind = "pod" if is_pod(a.gvr) else "namespace" if a.gvr == NAMESPACES else "controller"
    return (("request_operation", a.operation.lower()), ("resource", kind), ("subresource", a.subresource))


class PodSecurity(Plugin):
    name = "PodSecurity"

    def __init__(self, context: AdmissionContext) -> None:
        super().__init__(context)
        configuration: Mapping[str, Any] = context.settings.get("pod-security") or {}
        defaults = configuration.get("defaults") or {}
        modes = {
            m: LevelVersion(defaults.get(m) or "privileged", defaults.get(f"{m}-version") or "latest") for m in MODES
        }
        self._defaults = Policy(**modes)
        self._metrics: AdmissionMetrics = context.settings.get("metrics") or AdmissionMetrics()
        exemptions = configuration.get("exemptions") or {}
        self._users = frozenset(exemptions.get("usernames") or ())
        self._namespaces = frozenset(exemptions.get("namespaces") or ())
        self._runtime_classes = frozenset(exemptions.get("runtimeClasses") or ())

    def handles(self, operation: str, gvr: GVR, subresource: str) -> bool:
        if operation not in WRITES:
            return False
        if is_pod(gvr):
            return subresource not in _IGNORED_SUBRESOURCES
        return not subresource and (gvr == NAMESPACES or (gvr.group, gvr.resource) in _CONTROLLERS)

    async def validate(self, attributes: AdmissionAttributes) -> None:
        if attributes.gvr == NAMESPACES:
            self._namespace(attributes)
        else:
            self._pod(attributes)

    # -- pods and what makes them --------------------------------------------------------------------------------------

    def _exempt(self, attributes: AdmissionAttributes) -> bool:
        reason = "namespace" if attributes.namespace in self._namespaces else ""
        if not reason and attributes.user.name in self._users:
            reason = "user"
        if reason:
            attributes.audit_annotations[PREFIX + "exempt"] = reason
            self._metrics.exempted(_where(attributes))
        return bool(reason)

    def _pod(self, attributes: AdmissionAttributes) -> None:
        obj = attributes.object
        if obj is None or self._exempt(attributes):
            return
        namespace = self.reader.get(NAMESPACES, "", attributes.namespace)
        policy, errors = policy_of(labels_of(namespace) if namespace else {}, self._defaults)
        enforce = is_pod(attributes.gvr)
        if not errors:
            if policy.is_privileged:
                if enforce:
                    attributes.audit_annotations[PREFIX + "enforce-policy"] = str(LevelVersion())
                    self._note(attributes, "enforce", policy.enforce, denied=False)
                return
            if not enforce and policy.warn.level == policy.audit.level == "privileged":
                return
        if enforce:
            if attributes.operation == UPDATE and not significant(obj, attributes.old_object or {}):
                return
            template: Mapping[str, Any] | None = obj
        else:
            template = pod_template(attributes.gvr, obj)
        if template is not None:
            problem = ", ".join(str(e) for e in errors)
            self._evaluate(attributes, policy, problem, template, enforce)

    def _evaluate(
        self, a: AdmissionAttributes, policy: Policy, problem: str, template: Mapping[str, Any], enforce: bool
    ) -> None:
        spec, annotations = template.get("spec") or _NOTHING, annotations_of(template)
        if spec.get("runtimeClassName") in self._runtime_classes:
            a.audit_annotations[PREFIX + "exempt"] = "runtimeClass"
            self._metrics.exempted(_where(a))
            return
        if problem:
            a.audit_annotations[PREFIX + "error"] = f"Failed to parse policy: {problem}"
        known: dict[LevelVersion, list[Finding]] = {}

        def findings(of: LevelVersion) -> list[Finding]:
            if of not in known:
                known[of] = evaluate(of.level, of.minor, annotations, spec)
            return known[of]

        if enforce:
            a.audit_annotations[PREFIX + "enforce-policy"] = str(policy.enforce)
        if found := findings(policy.audit):
            self._note(a, "audit", policy.audit, denied=True)
            words = f'would violate PodSecurity "{policy.audit}": {detail(found)}'
            a.audit_annotations[PREFIX + "audit-violations"] = words
        if enforce:
            self._note(a, "enforce", policy.enforce, denied=bool(findings(policy.enforce)))
        if enforce and (found := findings(policy.enforce)):
            words = f'violates PodSecurity "{policy.enforce}": {detail(found)}'
            raise forbidden(a.gvr.group, a.gvr.resource, a.name, words)
        if found := findings(policy.warn):
            self._note(a, "warn", policy.warn, denied=True)
            a.warnings.append(f'would violate PodSecurity "{policy.warn}": {detail(found)}')

    def _note(self, a: AdmissionAttributes, mode: str, of: LevelVersion, *, denied: bool) -> None:
        version = of.version
        if of.level == "privileged":
            version = LATEST
        elif version != LATEST and of.minor > OURS:
            version = "future"
        self._metrics.evaluated(mode, of.level, version, denied, _where(a))

    # -- namespaces ----------------------------------------------------------------------------------------------------

    def _namespace(self, a: AdmissionAttributes) -> None:
        labels = labels_of(a.object or {})
        new, errors = policy_of(labels, self._defaults)
        name = name_of(a.object or {})
        if a.operation == CREATE:
            if errors:
                raise invalid("", "Namespace", a.name, errors)
            if name in self._namespaces:
                self._warn_exempt(a, name, new, labels)
            return
        old, old_errors = policy_of(labels_of(a.old_object or {}), self._defaults)
        if errors and errors != old_errors:
            raise invalid("", "Namespace", a.name, errors)
        if new.enforce == old.enforce or new.enforce.level == "privileged":
            return
        if new.enforce.version == old.enforce.version and not stricter(new.enforce.level, old.enforce.level):
            return
        if name in self._namespaces:
            self._warn_exempt(a, name, new, labels)
            return
        a.warnings.extend(self._existing_pods(name, new.enforce))

    def _warn_exempt(self, a: AdmissionAttributes, name: str, policy: Policy, labels: Mapping[str, str]) -> None:
        if policy.is_privileged or policy.equals(self._defaults):
            return
        parts = []
        for mode in MODES:
            of: LevelVersion = getattr(policy, mode)
            if of.level != "privileged" and (PREFIX + mode in labels or f"{PREFIX}{mode}-version" in labels):
                parts.append(f"{mode}={of}")
        words = f'namespace "{name}" is exempt from Pod Security, and the policy ({", ".join(parts)}) will be ignored'
        a.warnings.append(words)

    def _existing_pods(self, namespace: str, enforce: LevelVersion) -> list[str]:
        """Warnings of pods that are there already and would not be let in any more."""
        ordered = self._prioritized(self.reader.list(PODS, namespace))
        checked = ordered[:MAX_PODS_TO_CHECK]
        names: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for pod in checked:
            found = evaluate(enforce.level, enforce.minor, annotations_of(pod), pod.get("spec") or _NOTHING)
            if found:
                reason = ", ".join(r for r, _ in found)
                names[reason] = min(names.get(reason, name_of(pod)), name_of(pod))
                counts[reason] += 1
        warnings = []
        if len(checked) < len(ordered):
            warnings.append(
                f"new PodSecurity enforce level only checked against the first {len(checked)} of {len(ordered)} existing pods"
            )
        if counts:
            warnings.append(
                f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{enforce}"'
            )
        return warnings + sorted(_decorated(reason, names[reason], n) for reason, n in counts.items())

    def _prioritized(self, pods: Iterable[Object]) -> list[Object]:
        """One pod of each controller first: its others are like it."""
        first: list[Object] = []
        others: list[Object] = []
        seen: set[str] = set()
        for pod in pods:
            if (pod.get("spec") or _NOTHING).get("runtimeClassName") in self._runtime_classes:
                continue
            owner = controller_of(pod)
            if owner is not None and owner.get("uid") in seen:
                others.append(pod)
                continue
            first.append(pod)
            if owner is not None:
                seen.add(owner.get("uid") or "")
        return first + others


def _decorated(reason: str, name: str, count: int) -> str:
    if count == 1:
        return f"{name}: {reason}"
    rest = "1 other pod" if count == 2 else f"{count - 1} other pods"
    return f"{name} (and {rest}): {reason}"
