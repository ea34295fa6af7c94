"""The pod spec, in pods and in the templates of workloads. Specified by the Pod API reference and "Pods"."""

from __future__ import annotations

from typing import Any

from ..errors import duplicate, field_not_found, forbidden_field, invalid_value, not_supported, required, too_long
from ..pod_resources import aggregate_limits, aggregate_requests, is_hugepage
from .affinity import (
    PREFERRED,
    REQUIRED,
    has_invalid_values,
    match_label_keys,
    pod_term_selectors,
    qualified,
    validate_affinity,
    validate_spread,
    validate_tolerations,
)
from .amounts import (
    amount,
    container_resource_name,
    has_indivisible_hugepages,
    pod_resource_name,
    printed_amount,
    text,
    validate_requirements,
)
from .containers import PodFacts, validate_containers, validate_ephemeral_containers, validate_init_containers
from .errors import Errors, Obj, at, invalid_each
from .formats import (
    dns_label_problems,
    dns_subdomain_problems,
    dns_subdomain_underscore_problems,
    range_words,
    size,
)
from .ip_formats import legacy_ip
from .meta import validate_annotations, validate_label_selector, validate_labels
from .options import PodOptions
from .paths import local_not_reserved
from .pod_annotations import deletion_cost_problem, pod_annotations, profiles_match
from .security import containers_with_paths, host_process, host_sysctl, operating_system, pod_context
from .volumes import validate_volumes

_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PREEMPTION = ("PreemptLowerPriority", "Never")
MAX_INT32 = 2**31 - 1


def _one_of(value: str, path: str, known: tuple[str, ...]) -> Errors:
    if value in known:
        return []
    return [not_supported(path, value, known) if value else required(path)]


def validate_pod_spec(spec: Obj, metadata: Obj | None, path: str, options: PodOptions) -> Errors:
    """``metadata`` is the pod's; None for a template, whose pods' names are not known."""
    found: Errors = []
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is None:
        found.append(required(at(path, "terminationGracePeriodSeconds")))
    name = (metadata or {}).get("name") or ""
    volumes, errors = validate_volumes(spec.get("volumes") or [], name, at(path, "volumes"), options)
    found += errors
    claims = {c.get("name") for c in spec.get("resourceClaims") or () if c.get("name")}
    found += _resource_claims(spec, metadata, at(path, "resourceClaims"))
    pod = PodFacts(
        volumes,
        claims,
        spec.get("restartPolicy") or "",
        grace,
        spec.get("os"),
        spec.get("hostUsers") is not False,
        options,
    )
    found += _all_containers(spec, path, pod)
    if spec.get("resources") is not None:
        found += _pod_resources(spec, path, pod)
    found += _host_network_ports(spec, path, options)
    found += _one_of(spec.get("restartPolicy") or "", at(path, "restartPolicy"), _RESTART_POLICIES)
    found += _one_of(spec.get("dnsPolicy") or "", at(path, "dnsPolicy"), _DNS_POLICIES)
    found += validate_labels(spec.get("nodeSelector"), at(path, "nodeSelector"))
    found += pod_context(spec, at(path, "securityContext"), options)
    found += validate_affinity(spec.get("affinity"), at(path, "affinity"), options)
    found += _dns_config(spec, at(path, "dnsConfig"))
    found += _gates(spec, path)
    spread = spec.get("topologySpreadConstraints") or []
    found += validate_spread(spread, at(path, "topologySpreadConstraints"), options)
    found += host_process(spec, path) + _host_users(spec, path, options) + _hostname_override(spec, path)
    return found + _names_and_numbers(spec, path, options) + _last(spec, path, options)


def _all_containers(spec: Obj, path: str, pod: PodFacts) -> Errors:
    containers, initial = spec.get("containers") or [], spec.get("initContainers") or []
    names = [c.get("name") or "" for c in containers]
    found = validate_containers(containers, at(path, "containers"), pod)
    found += validate_init_containers(initial, at(path, "initContainers"), names, pod)
    others = [*names, *(c.get("name") or "" for c in initial)]
    ephemeral = spec.get("ephemeralContainers") or []
    return found + validate_ephemeral_containers(ephemeral, at(path, "ephemeralContainers"), others, pod)


def _resource_claims(spec: Obj, metadata: Obj | None, path: str) -> Errors:
    found: Errors = []
    names: set[str] = set()
    static = "kubernetes.io/config.mirror" in ((metadata or {}).get("annotations") or {})
    for i, claim in enumerate(spec.get("resourceClaims") or ()):
        if static:
            found.append(forbidden_field("", "static pods do not support resource claims"))
            continue
        here, name = f"{path}[{i}]", claim.get("name") or ""
        if not name:
            found.append(required(f"{here}.name"))
        elif name in names:
            found.append(duplicate(f"{here}.name", name))
        else:
            found += invalid_each(f"{here}.name", name, dns_label_problems(name))
            names.add(name)
        own, template = claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName")
        shown = {"Name": name, "ResourceClaimName": own, "ResourceClaimTemplateName": template}
        if own is not None and template is not None:
            words = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            found.append(invalid_value(here, shown, words))
        if own is None and template is None:
            words = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            found.append(invalid_value(here, shown, words))
        for field in ("resourceClaimName", "resourceClaimTemplateName"):
            if claim.get(field) is not None:
                found += invalid_each(f"{here}.{field}", claim[field], dns_subdomain_problems(claim[field]))
    return found


def _pod_resources(spec: Obj, path: str, pod: PodFacts) -> Errors:
    resources, here = spec["resources"], at(path, "resources")
    if (spec.get("os") or {}).get("name") == "windows":
        return [forbidden_field(here, "may not be set for a windows pod")]
    found: Errors = []
    if resources.get("claims") is not None:
        found.append(forbidden_field(at(here, "claims"), "claims may not be set for Resources at pod-level"))
    lax = pod.options.lax_hugepages
    found += validate_requirements(resources, here, pod.claims, pod_resource_name, lax_hugepages=lax)
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for name, total in aggregate_requests(spec).items():
        if name in requests and total > amount(requests[name]):
            words = "must be greater than or equal to aggregate container requests of "
            words += printed_amount(total, requests[name])
            found.append(invalid_value(f"{at(here, 'requests')}[{name}]", text(requests[name]), words))
    for name, total in aggregate_limits(spec).items():
        if is_hugepage(name) and name in limits and total > amount(limits[name]):
            words = (
                f"must be greater than or equal to aggregate container limits of {printed_amount(total, limits[name])}"
            )
            found.append(invalid_value(f"{at(here, 'limits')}[{name}]", text(limits[name]), words))
    for i, container in enumerate(spec.get("containers") or ()):
        for name, value in ((container.get("resources") or {}).get("limits") or {}).items():
            if name in limits and amount(value) > amount(limits[name]):
                words = f"must be less than or equal to pod limits of {text(limits[name])}"
                found.append(invalid_value(f"{at(here, 'containers')}[{i}][{name}].limits", text(value), words))
    return found


def _host_network_ports(spec: Obj, path: str, options: PodOptions) -> Errors:
    found: Errors = []
    if not spec.get("hostNetwork"):
        return found
    for i, container in enumerate(spec.get("containers") or ()):
        for j, port in enumerate(container.get("ports") or ()):
            host, own = port.get("hostPort") or 0, port.get("containerPort") or 0
            if (options.is_pod or host) and host != own:
                words = "must match `containerPort` when `hostNetwork` is true"
                found.append(invalid_value(f"{at(path, 'containers')}[{i}].ports[{j}].hostPort", host, words))
    return found


def _dns_config(spec: Obj, path: str) -> Errors:
    config, policy = spec.get("dnsConfig"), spec.get("dnsPolicy")
    servers: list[str] = (config or {}).get("nameservers") or []
    if policy == "None":
        if config is None:
            return [required(path, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not servers:
            words = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [required(at(path, "nameservers"), words)]
    if config is None:
        return []
    found: Errors = []
    if len(servers) > 3:
        found.append(invalid_value(at(path, "nameservers"), servers, "must not have more than 3 nameservers"))
    for i, server in enumerate(servers):
        found += legacy_ip(server, f"{at(path, 'nameservers')}[{i}]")
    searches: list[str] = config.get("searches") or []
    where = at(path, "searches")
    if len(searches) > 32:
        found.append(invalid_value(where, searches, "must not have more than 32 search paths"))
    if size(" ".join(searches)) > 2048:
        words = "must not have more than 2048 characters (including spaces) in the search list"
        found.append(invalid_value(where, searches, words))
    for i, search in enumerate(searches):
        if search != ".":
            name = search.removesuffix(".")
            found += invalid_each(f"{where}[{i}]", name, dns_subdomain_underscore_problems(name))
    for i, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            found.append(required(f"{at(path, 'options')}[{i}]", "must not be empty"))
    return found


def _gates(spec: Obj, path: str) -> Errors:
    found: Errors = []
    for i, gate in enumerate(spec.get("readinessGates") or ()):
        found += qualified(gate.get("conditionType") or "", f"{at(path, 'readinessGates')}[{i}].conditionType")
    seen: set[str] = set()
    for i, gate in enumerate(spec.get("schedulingGates") or ()):
        name, here = gate.get("name") or "", f"{at(path, 'schedulingGates')}[{i}]"
        found += qualified(name, here)
        if name in seen:
            found.append(duplicate(here, name))
        seen.add(name)
    return found


def _host_users(spec: Obj, path: str, options: PodOptions) -> Errors:
    if spec.get("hostUsers") is not False:
        return []
    words = "when `hostUsers` is false"
    found: Errors = []
    if spec.get("hostNetwork") and not options.host_network_users:
        found.append(forbidden_field(at(path, "hostNetwork"), words))
    if spec.get("hostPID"):
        found.append(forbidden_field(at(path, "HostPID"), words))
    if spec.get("hostIPC"):
        found.append(forbidden_field(at(path, "HostIPC"), words))
    if not options.lax_volume_devices:
        for container, here in containers_with_paths(spec, path):
            if container.get("volumeDevices"):
                found.append(forbidden_field(f"{here}.volumeDevices", words))
    return found


def _hostname_override(spec: Obj, path: str) -> Errors:
    name, where = spec.get("hostnameOverride"), at(path, "hostnameOverride")
    if name is None:
        return []
    found: Errors = []
    for field in ("setHostnameAsFQDN", "hostNetwork"):
        if spec.get(field):
            found.append(forbidden_field(where, f"may not be specified when {field} is true"))
    if size(name) > 64:
        found.append(too_long(where, 64))
    return found + invalid_each(where, name, dns_subdomain_problems(name))


_NAMES = (
    ("serviceAccountName", dns_subdomain_problems),
    ("nodeName", dns_subdomain_problems),
)
_LABELS = ("hostname", "subdomain")


def _names_and_numbers(spec: Obj, path: str, options: PodOptions) -> Errors:
    found: Errors = []
    for field, check in _NAMES:
        if spec.get(field):
            found += invalid_each(at(path, field), spec[field], check(spec[field]))
    seconds = spec.get("activeDeadlineSeconds")
    if seconds is not None and not 1 <= seconds <= MAX_INT32:
        found.append(invalid_value(at(path, "activeDeadlineSeconds"), seconds, range_words(1, MAX_INT32)))
    for field in _LABELS:
        if spec.get(field):
            found += invalid_each(at(path, field), spec[field], dns_label_problems(spec[field]))
    tolerations = spec.get("tolerations") or []
    found += validate_tolerations(tolerations, at(path, "tolerations"), options.comparing_tolerations)
    for i, alias in enumerate(spec.get("hostAliases") or ()):
        here = f"{at(path, 'hostAliases')}[{i}]"
        found += legacy_ip(alias.get("ip") or "", f"{here}.ip")
        for j, name in enumerate(alias.get("hostnames") or ()):
            found += invalid_each(f"{here}.hostnames[{j}]", name, dns_subdomain_problems(name))
    if spec.get("priorityClassName"):
        name = spec["priorityClassName"]
        found += invalid_each(at(path, "priorityClassName"), name, dns_subdomain_problems(name))
    if spec.get("runtimeClassName") is not None:
        name = spec["runtimeClassName"]
        found += invalid_each(at(path, "runtimeClassName"), name, dns_subdomain_problems(name))
    return found


def _last(spec: Obj, path: str, options: PodOptions) -> Errors:
    found: Errors = []
    if spec.get("preemptionPolicy") is not None:
        found += _one_of(spec["preemptionPolicy"], at(path, "preemptionPolicy"), _PREEMPTION)
    if spec.get("overhead") is not None:
        found += validate_requirements(
            {"limits": spec["overhead"]},
            at(path, "overhead"),
            (),
            container_resource_name,
            lax_hugepages=options.lax_hugepages,
        )
    found += operating_system(spec, path)
    volumes = {v.get("name") or "": v for v in spec.get("volumes") or ()}
    for container, here in containers_with_paths(spec, path):
        for i, variable in enumerate(container.get("env") or ()):
            reference = (variable.get("valueFrom") or {}).get("fileKeyRef")
            if reference is None:
                continue
            where, name = f"{here}.env[{i}].valueFrom.fileKeyRef.volumeName", reference.get("volumeName") or ""
            if name not in volumes:
                found.append(field_not_found(where, name))
            elif volumes[name].get("emptyDir") is None:
                found.append(invalid_value(where, name, "referenced volume must be of type emptyDir"))
    return found


def validate_pod_template(template: Obj, path: str, options: PodOptions) -> Errors:
    """A PodTemplateSpec."""
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    found = validate_labels(metadata.get("labels"), at(path, "labels"))
    found += validate_annotations(annotations, at(path, "annotations"))
    found += pod_annotations(annotations, spec, at(path, "annotations"), options)
    found += validate_pod_spec(spec, None, at(path, "spec"), options)
    found += profiles_match(annotations, spec, at(path, "spec"))
    if spec.get("ephemeralContainers"):
        words = "ephemeral containers not allowed in pod template"
        found.append(forbidden_field(at(path, "spec", "ephemeralContainers"), words))
    return found


def options_for(spec: Obj, old: Obj | None, old_annotations: Obj | None, *, is_pod: bool) -> PodOptions:
    """The faults that the stored spec has already and an update may keep."""
    if old is None:
        return PodOptions(is_pod=is_pod)
    affinity = old.get("affinity") or {}
    required_nodes = (affinity.get("nodeAffinity") or {}).get(REQUIRED)
    spread = old.get("topologySpreadConstraints") or ()
    context = old.get("securityContext") or {}
    return PodOptions(
        is_pod=is_pod,
        lax_deletion_cost=deletion_cost_problem(old_annotations or {}),
        lax_hugepages=_has_bad_hugepages(old),
        lax_selectors=_has_bad_pod_terms(affinity),
        lax_spread_selectors=any(validate_label_selector(c.get("labelSelector"), "") for c in spread),
        lax_node_affinity=has_invalid_values(required_nodes),
        lax_token_paths=_has_bad_token_paths(old),
        lax_host_sysctls=any(host_sysctl(s.get("name") or "", old, "") for s in context.get("sysctls") or ()),
        lax_match_label_keys=any(
            match_label_keys("", c.get("matchLabelKeys") or [], [], c.get("labelSelector")) for c in spread
        ),
        lax_init_resize=any(
            c.get("restartPolicy") != "Always"
            and any(p.get("restartPolicy") == "RestartContainer" for p in c.get("resizePolicy") or ())
            for c in old.get("initContainers") or ()
        ),
        lax_volume_devices=old.get("hostUsers") is False
        and any(c.get("volumeDevices") for c, _ in containers_with_paths(old, "")),
        any_selinux_change_policy=context.get("seLinuxChangePolicy") is not None,
        comparing_tolerations=any(t.get("operator") in ("Lt", "Gt") for t in old.get("tolerations") or ()),
        host_network_users=old.get("hostUsers") is False and bool(old.get("hostNetwork")),
    )


def _has_bad_hugepages(spec: Obj) -> bool:
    lists: list[Any] = [spec.get("overhead")]
    for container, _ in containers_with_paths(spec, ""):
        resources = container.get("resources") or {}
        lists += [resources.get("limits"), resources.get("requests")]
    return any(has_indivisible_hugepages(resources) for resources in lists)


def _has_bad_pod_terms(affinity: Obj) -> bool:
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms = [*(rules.get(REQUIRED) or ())]
        terms += [w.get("podAffinityTerm") or {} for w in rules.get(PREFERRED) or ()]
        if any(pod_term_selectors(term, "", False) for term in terms):
            return True
    return False


def _has_bad_token_paths(spec: Obj) -> bool:
    for volume in spec.get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            token = source.get("serviceAccountToken")
            if token is not None and local_not_reserved(token.get("path") or "", ""):
                return True
    return False


def template_options(template: Obj, old: Obj | None) -> PodOptions:
    """Options for the update of a workload's template."""
    before = None if old is None else old.get("spec") or {}
    annotations = ((old or {}).get("metadata") or {}).get("annotations")
    return options_for(template.get("spec") or {}, before, annotations, is_pod=False)
