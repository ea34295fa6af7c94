"""Jobs and CronJobs, apart from a Job's status."""

from __future__ import annotations

import re
from typing import Any

from .. import cron
from ..errors import duplicate, go_quote, invalid_value, not_supported, required, too_long, too_many
from .errors import Errors, Obj, bare_invalid, shown_selector, sorted_map
from .formats import IMMUTABLE_WORDS, dns_label_problems, qualified_name_problems, size
from .index_ranges import BadIndexes, count_indexes
from .job_status import validate_job_status
from .kube_meta import validate_meta, validate_meta_update
from .meta import (
    has_invalid_label_value,
    immutable,
    nonnegative,
    subdomain_name,
    validate_label_selector,
)
from .options import PodOptions
from .pod_spec import template_options, validate_pod_template
from .prefixed import domain_prefixed_path
from .workloads import readable_selector, selector_matches

MAX_INDEXED_PARALLELISM = 100_000
MAX_FAILED_INDEXES = 100_000
MANY_COMPLETIONS = 100_000
LIMIT_FOR_MANY = 10_000
MAX_RULES = 20
MAX_EXIT_CODES = 255
MAX_INDEXES_TEXT = 64 * 1024
_NUMBERS = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_EXIT_OPERATORS = ("In", "NotIn")
_STATUSES = ("False", "True", "Unknown")
_MODES = ("NonIndexed", "Indexed")


def _valid_values(values: tuple[str, ...]) -> str:
    return "valid values: [" + " ".join(map(go_quote, values)) + "]"


# The spec, as Jobs and CronJobs' templates have it


def job_spec(spec: Obj, path: str, options: PodOptions) -> Errors:
    found: Errors = []
    for field in _NUMBERS:
        if spec.get(field) is not None:
            found += nonnegative(spec[field], f"{path}.{field}")
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        found.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if spec.get("managedBy") is not None:
        found += domain_prefixed_path(spec["managedBy"], f"{path}.managedBy")
        if size(spec["managedBy"]) > 63:
            found.append(too_long(f"{path}.managedBy", 63))
    found += _completion_mode(spec, path)
    if spec.get("podFailurePolicy") is not None:
        found += _failure_policy(spec, f"{path}.podFailurePolicy")
    success = spec.get("successPolicy")
    if success is not None and spec.get("completionMode") != "Indexed":
        words = "requires indexed completion mode"
        found.append(invalid_value(f"{path}.successPolicy", _go_success(success), words))
    elif success is not None:
        found += _success_policy(success, spec.get("completions") or 0, f"{path}.successPolicy")
    found += _replacement(spec, f"{path}.podReplacementPolicy")
    found += validate_pod_template(spec.get("template") or {}, f"{path}.template", options)
    return found + _restart_policy(spec, f"{path}.template.spec.restartPolicy")


def _restart_policy(spec: Obj, path: str) -> Errors:
    policy = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy") or ""
    if policy in ("Always", ""):
        return [required(path, 'valid values: "OnFailure", "Never"')]
    if policy not in ("OnFailure", "Never"):
        return [not_supported(path, policy, ["OnFailure", "Never"])]
    if spec.get("podFailurePolicy") is not None and policy != "Never":
        return [invalid_value(path, policy, 'only "Never" is supported when podFailurePolicy is specified')]
    return []


def _completion_mode(spec: Obj, path: str) -> Errors:
    mode, found = spec.get("completionMode"), Errors()
    if mode is not None and mode not in _MODES:
        found.append(not_supported(f"{path}.completionMode", mode, _MODES))
    if mode == "Indexed":
        return found + _indexed(spec, path)
    if mode in (None, "NonIndexed"):
        for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(field) is not None:
                found.append(invalid_value(f"{path}.{field}", spec[field], "requires indexed completion mode"))
    return found


def _indexed(spec: Obj, path: str) -> Errors:
    found: Errors = []
    completions, parallelism = spec.get("completions"), spec.get("parallelism") or 0
    failed, failed_path = spec.get("maxFailedIndexes"), f"{path}.maxFailedIndexes"
    if completions is None:
        found.append(required(f"{path}.completions", "when completion mode is Indexed"))
    if parallelism > MAX_INDEXED_PARALLELISM:
        words = f"must be less than or equal to {MAX_INDEXED_PARALLELISM} when completion mode is Indexed"
        found.append(invalid_value(f"{path}.parallelism", parallelism, words))
    if completions is not None and failed is not None and failed > completions:
        found.append(invalid_value(failed_path, failed, "must be less than or equal to completions"))
    if failed is not None and failed > MAX_FAILED_INDEXES:
        found.append(invalid_value(failed_path, failed, f"must be less than or equal to {MAX_FAILED_INDEXES}"))
    if completions is None or completions <= MANY_COMPLETIONS or spec.get("backoffLimitPerIndex") is None:
        return found
    words = (
        f"must be less than or equal to {LIMIT_FOR_MANY} when completions are above {MANY_COMPLETIONS} and used with "
        "backoff limit per index"
    )
    if failed is None:
        found.append(required(failed_path, f"must be specified when completions is above {MANY_COMPLETIONS}"))
    if parallelism > LIMIT_FOR_MANY:
        found.append(invalid_value(f"{path}.parallelism", parallelism, words))
    if failed is not None and failed > LIMIT_FOR_MANY:
        found.append(invalid_value(failed_path, failed, words))
    return found


def _failure_policy(spec: Obj, path: str) -> Errors:
    rules, found = spec["podFailurePolicy"].get("rules") or [], Errors()
    if len(rules) > MAX_RULES:
        found.append(too_many(f"{path}.rules", len(rules), MAX_RULES))
    pod = (spec.get("template") or {}).get("spec") or {}
    names = {c.get("name") or "" for f in ("containers", "initContainers") for c in pod.get(f) or ()}
    for i, rule in enumerate(rules):
        found += _failure_rule(spec, rule, f"{path}.rules[{i}]", names)
    return found


def _failure_rule(spec: Obj, rule: Obj, path: str, names: set[str]) -> Errors:
    action, here = rule.get("action") or "", f"{path}.action"
    found: Errors = []
    if not action:
        found.append(required(here, _valid_values(_ACTIONS)))
    elif action not in _ACTIONS:
        found.append(not_supported(here, action, _ACTIONS))
    elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        found.append(invalid_value(here, action, "requires the backoffLimitPerIndex to be set"))
    codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or []
    if codes is not None:
        found += _exit_codes(codes, f"{path}.onExitCodes", names)
    found += _pod_conditions(conditions, f"{path}.onPodConditions")
    if codes is not None and conditions:
        found.append(bare_invalid(path, "specifying both OnExitCodes and OnPodConditions is not supported"))
    if codes is None and not conditions:
        found.append(bare_invalid(path, "specifying one of OnExitCodes and OnPodConditions is required"))
    return found


def _pod_conditions(patterns: list[Obj], path: str) -> Errors:
    found = [too_many(path, len(patterns), MAX_RULES)] if len(patterns) > MAX_RULES else []
    for i, pattern in enumerate(patterns):
        kind, status = pattern.get("type") or "", pattern.get("status") or ""
        found += [invalid_value(f"{path}[{i}].type", kind, words) for words in qualified_name_problems(kind)]
        if not status:
            found.append(required(f"{path}[{i}].status", _valid_values(_STATUSES)))
        elif status not in _STATUSES:
            found.append(not_supported(f"{path}[{i}].status", status, _STATUSES))
    return found


def _exit_codes(requirement: Obj, path: str, names: set[str]) -> Errors:
    operator, values = requirement.get("operator") or "", requirement.get("values") or []
    found: Errors = []
    if not operator:
        found.append(required(f"{path}.operator", _valid_values(_EXIT_OPERATORS)))
    elif operator not in _EXIT_OPERATORS:
        found.append(not_supported(f"{path}.operator", operator, _EXIT_OPERATORS))
    container = requirement.get("containerName")
    if container is not None and container not in names:
        words = "must be one of the container or initContainer names in the pod template"
        found.append(invalid_value(f"{path}.containerName", container, words))
    here = f"{path}.values"
    if not values:
        found.append(invalid_value(here, requirement.get("values"), "at least one value is required"))
    elif len(values) > MAX_EXIT_CODES:
        found.append(too_many(here, len(values), MAX_EXIT_CODES))
    seen: set[int] = set()
    for i, value in enumerate(values):
        if operator == "In" and value == 0:
            found.append(invalid_value(f"{here}[{i}]", value, "must not be 0 for the In operator"))
        if value in seen:
            found.append(duplicate(f"{here}[{i}]", value))
        seen.add(value)
    if values != sorted(values):
        found.append(invalid_value(here, values, "must be ordered"))
    return found


def _go_success(policy: Obj) -> Obj:
    rules = policy.get("rules")
    if rules is None:
        return {"Rules": None}
    fields = ("succeededIndexes", "succeededCount")
    return {"Rules": [{f[0].upper() + f[1:]: rule.get(f) for f in fields} for rule in rules]}


def _success_policy(policy: Obj, completions: int, path: str) -> Errors:
    rules, found = policy.get("rules") or [], Errors()
    if not rules:
        words = "at least one rules must be specified when the successPolicy is specified"
        found.append(required(f"{path}.rules", words))
    if len(rules) > MAX_RULES:
        found.append(too_many(f"{path}.rules", len(rules), MAX_RULES))
    for i, rule in enumerate(rules):
        found += _success_rule(rule, completions, f"{path}.rules[{i}]")
    return found


def _success_rule(rule: Obj, completions: int, path: str) -> Errors:
    indexes, count, found = rule.get("succeededIndexes"), rule.get("succeededCount"), Errors()
    if indexes is None and count is None:
        found.append(required(path, "at least one of succeededCount or succeededIndexes must be specified"))
    total = 0
    if indexes is not None:
        here = f"{path}.succeededIndexes"
        if size(indexes) > MAX_INDEXES_TEXT:
            found.append(too_long(here, MAX_INDEXES_TEXT))
        try:
            total = count_indexes(indexes, completions)
        except BadIndexes as failure:
            found.append(invalid_value(here, indexes, f"error parsing succeededIndexes: {failure}"))
    if count is not None:
        here = f"{path}.succeededCount"
        found += nonnegative(count, here)
        if count > completions:
            words = f"must be less than or equal to {completions} (the number of specified completions)"
            found.append(invalid_value(here, count, words))
        if indexes is not None and count > total:
            words = (
                f"must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            )
            found.append(invalid_value(here, count, words))
    return found


def _replacement(spec: Obj, path: str) -> Errors:
    policy = spec.get("podReplacementPolicy")
    if policy is None:
        return []
    known = ("Failed",) if spec.get("podFailurePolicy") is not None else ("Failed", "TerminatingOrFailed")
    return [] if policy in known else [not_supported(path, policy, known)]


# Jobs


def _has_label(labels: Obj, key: str, value: str) -> Errors:
    path, words = f"spec.template.metadata.labels[{key}]", f"must be '{value}'"
    if key not in labels:
        return [required(path, words)]
    return [] if labels[key] == value else [invalid_value(path, sorted_map(labels), words)]


def _generated_selector(job: Obj, prefixed: bool) -> Errors:
    """The selector that the API server made fits the labels that it put on the template."""
    spec, metadata = job.get("spec") or {}, job.get("metadata") or {}
    if spec.get("manualSelector") or spec.get("selector") is None:
        return []
    uid, name = metadata.get("uid") or "", metadata.get("name") or ""
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    found = [] if uid else [required("metadata.uid")]
    expected = {"controller-uid": uid, "job-name": name}
    if prefixed:
        expected |= {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name}
    for key, value in expected.items():
        found += _has_label(labels, key, value)
    selector = readable_selector(spec["selector"])
    if selector is not None and not selector.matches(expected):
        found.append(invalid_value("spec.selector", shown_selector(spec["selector"]), "`selector` not auto-generated"))
    return found


def _whole_spec(spec: Obj, options: PodOptions, lax: bool) -> Errors:
    found, selector = job_spec(spec, "spec", options), spec.get("selector")
    if selector is None:
        found.append(required("spec.selector"))
    else:
        found += validate_label_selector(selector, "spec.selector", lax_values=lax)
    readable = readable_selector(selector)
    if readable is not None:
        found += selector_matches(readable, spec.get("template") or {}, "spec.template")
    return found


def _job(job: Obj, options: PodOptions, *, lax: bool, prefixed: bool) -> Errors:
    metadata, spec = job.get("metadata") or {}, job.get("spec") or {}
    found = validate_meta(metadata, True, subdomain_name) + _generated_selector(job, prefixed)
    found += _whole_spec(spec, options, lax)
    completions = spec.get("completions") or 0
    if spec.get("completionMode") == "Indexed" and completions > 0:
        last = f"{metadata.get('name') or ''}-{completions - 1}"
        if dns_label_problems(last):
            words = f"will not able to create pod with invalid DNS label: {last}"
            found.append(invalid_value("metadata.name", metadata.get("name") or "", words))
    return found


def _job_create(job: Obj) -> Errors:
    template = (job.get("spec") or {}).get("template") or {}
    return _job(job, template_options(template, None), lax=False, prefixed=True)


def _job_update(new: Obj, old: Obj) -> Errors:
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    template, stored = spec.get("template") or {}, before.get("template") or {}
    labels = (stored.get("metadata") or {}).get("labels") or {}
    prefixed = {"batch.kubernetes.io/job-name", "batch.kubernetes.io/controller-uid"} <= labels.keys()
    options, lax = template_options(template, stored), has_invalid_label_value(before.get("selector"))
    found = _job(new, options, lax=lax, prefixed=prefixed) + validate_meta_update(new, old)
    found += _whole_spec(spec, options, lax) + _completions_change(spec, before)
    found += immutable(shown_selector(spec.get("selector")), shown_selector(before.get("selector")), "spec.selector")
    found += _template_change(spec, old)
    structs = {"podFailurePolicy": "batch.PodFailurePolicy", "successPolicy": "batch.SuccessPolicy"}
    for field in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        value, stored = spec.get(field), before.get(field)
        if field in structs:
            found += immutable(value, stored, f"spec.{field}", structs[field])
        elif value != stored:
            found.append(invalid_value(f"spec.{field}", value, IMMUTABLE_WORDS))
    return found


def _completions_change(spec: Obj, before: Obj) -> Errors:
    completions, path = spec.get("completions"), "spec.completions"
    if spec.get("completionMode") != "Indexed":
        return immutable(completions, before.get("completions"), path)
    if completions in (None, before.get("completions")) or completions == spec.get("parallelism"):
        return []
    return [invalid_value(path, completions, "can only be modified in tandem with spec.parallelism")]


def _with(obj: Obj, source: Obj, *fields: str) -> Obj:
    """``obj`` with these fields as ``source`` has them."""
    result: dict[str, Any] = {k: v for k, v in obj.items() if k not in fields}
    return result | {f: source[f] for f in fields if source.get(f) is not None}


def _template_change(spec: Obj, old: Obj) -> Errors:
    """While a Job is suspended and has no pods, where its pods go and what they use may change."""
    template, before, status = spec.get("template") or {}, old.get("spec") or {}, old.get("status") or {}
    stored = before.get("template") or {}
    conditions = {c.get("type"): c.get("status") for c in status.get("conditions") or ()}
    stopped = status.get("startTime") is None or conditions.get("Suspended") == "True"
    if not before.get("suspend") or not stopped or status.get("active"):
        return immutable(template, stored, "spec.template", "core.PodTemplateSpec")
    pod = template.get("spec") or {}
    kept = _with(stored.get("spec") or {}, pod, "nodeSelector", "tolerations", "schedulingGates")
    node_affinity = (pod.get("affinity") or {}).get("nodeAffinity")
    affinity = {k: v for k, v in (kept.pop("affinity", None) or {}).items() if k != "nodeAffinity"}
    if node_affinity is not None:
        affinity["nodeAffinity"] = node_affinity
    if affinity or pod.get("affinity") is not None:
        kept["affinity"] = affinity
    for field in ("containers", "initContainers"):
        new, known = pod.get(field) or [], kept.get(field) or []
        if len(new) == len(known) and new:
            kept[field] = [
                _with(k, n, "resources") if k.get("name") == n.get("name") else k
                for k, n in zip(known, new, strict=True)
            ]
    return immutable(pod, kept, "spec.template.spec", "core.PodSpec")


# CronJobs


_ZONE_PART = re.compile(r"[A-Za-z.\-_0-9+]{1,14}")
_ZONE_WORDS = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"


def _time_zone(zone: str | None, path: str) -> Errors:
    if zone is None:
        return []
    if not zone:
        return [invalid_value(path, zone, "timeZone must be nil or non-empty string")]
    for part in zone.split("/"):
        if part in (".", "..") or part.startswith("-") or not _ZONE_PART.fullmatch(part):
            return [invalid_value(path, zone, f"unknown time zone {zone}")]
    found = [invalid_value(path, zone, _ZONE_WORDS)] if zone.lower() == "local" else []
    if ".." in zone:
        found.append(invalid_value(path, zone, "time: invalid location name"))
    elif zone != "Local":
        try:
            cron.load_zone(zone)
        except cron.CronError as failure:
            found.append(invalid_value(path, zone, str(failure)))
    return found


def _schedule(schedule: str, before: Obj | None, zone: str | None, path: str) -> Errors:
    if not schedule:
        return [required(path)]
    found: Errors = []
    if schedule.startswith(("TZ=", "CRON_TZ=")) and " " not in schedule:
        words = "invalid schedule format: runtime error: slice bounds out of range [:-1]"
        found.append(invalid_value(path, schedule, words))
    else:
        try:
            cron.parse(schedule)
        except cron.CronError as failure:
            found.append(invalid_value(path, schedule, str(failure)))
    if "TZ" not in schedule:
        return found
    if "TZ" not in ((before or {}).get("schedule") or ""):
        words = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        found.append(invalid_value(path, schedule, words))
    elif zone is not None:
        words = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        found.append(invalid_value(path, schedule, words))
    return found


def _cron_spec(spec: Obj, before: Obj | None) -> Errors:
    zone, policy = spec.get("timeZone"), spec.get("concurrencyPolicy") or ""
    found = _schedule(spec.get("schedule") or "", before, zone, "spec.schedule")
    if spec.get("startingDeadlineSeconds") is not None:
        found += nonnegative(spec["startingDeadlineSeconds"], "spec.startingDeadlineSeconds")
    if before is None or before.get("timeZone") != zone:
        found += _time_zone(zone, "spec.timeZone")
    if not policy:
        found.append(required("spec.concurrencyPolicy"))
    elif policy not in ("Allow", "Forbid", "Replace"):
        found.append(not_supported("spec.concurrencyPolicy", policy, ["Allow", "Forbid", "Replace"]))
    found += _job_template(spec, before)
    for field in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        if spec.get(field) is not None:
            found += nonnegative(spec[field], f"spec.{field}")
    return found


def _job_template(spec: Obj, before: Obj | None) -> Errors:
    path, inner = "spec.jobTemplate.spec", (spec.get("jobTemplate") or {}).get("spec") or {}
    stored = None if before is None else ((before.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
    found = job_spec(inner, path, template_options(inner.get("template") or {}, stored))
    if inner.get("selector") is not None:
        shown = shown_selector(inner["selector"])
        found.append(invalid_value(f"{path}.selector", shown, "`selector` will be auto-generated"))
    if inner.get("manualSelector"):
        found.append(not_supported(f"{path}.manualSelector", True, ["nil", "false"]))
    return found


def _cron_job(job: Obj) -> Errors:
    metadata = job.get("metadata") or {}
    found = validate_meta(metadata, True, subdomain_name) + _cron_spec(job.get("spec") or {}, None)
    name = metadata.get("name") or ""
    if size(name) > 52:
        found.append(invalid_value("metadata.name", name, "must be no more than 52 characters"))
    return found


def _cron_job_update(new: Obj, old: Obj) -> Errors:
    return validate_meta_update(new, old) + _cron_spec(new.get("spec") or {}, old.get("spec") or {})


CREATE = {("batch", "jobs"): _job_create, ("batch", "cronjobs"): _cron_job}
UPDATE = {
    ("batch", "jobs", ""): _job_update,
    ("batch", "jobs", "status"): validate_job_status,
    ("batch", "cronjobs", ""): _cron_job_update,
}
