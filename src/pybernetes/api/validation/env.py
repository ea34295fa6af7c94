"""Environment variables and where they come from."""

from __future__ import annotations

from ..errors import invalid_value, required
from .errors import Errors, Obj, invalid_each
from .formats import config_key_problems, dns_label_problems, dns_subdomain_problems, relaxed_env_name_problems
from .meta import subdomain_name
from .paths import no_backsteps
from .projections import ENV_FIELDS, field_reference, resource_reference

_SOURCES = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
_ONE_ONLY = "may not have more than one field specified at a time"


def validate_env(variables: list[Obj], path: str) -> Errors:
    found: Errors = []
    for i, variable in enumerate(variables):
        here, name = f"{path}[{i}]", variable.get("name") or ""
        if not name:
            found.append(required(f"{here}.name"))
        else:
            found += invalid_each(f"{here}.name", name, relaxed_env_name_problems(name))
        if variable.get("valueFrom") is not None:
            found += _value_from(variable, f"{here}.valueFrom")
    return found


def _value_from(variable: Obj, path: str) -> Errors:
    source = variable["valueFrom"]
    found: Errors = []
    count = 0
    for field in ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"):
        reference = source.get(field)
        if reference is None:
            continue
        count += 1
        here = f"{path}.{field}"
        if field == "fieldRef":
            found += field_reference(reference, here, ENV_FIELDS)
        elif field == "resourceFieldRef":
            found += resource_reference(reference, here, False)
        elif field == "fileKeyRef":
            found += _file_key(reference, here)
        else:
            found += _key_reference(reference, here)
    if not count:
        found.append(invalid_value(path, "", _SOURCES))
    elif variable.get("value"):
        found.append(invalid_value(path, "", "may not be specified when `value` is not empty"))
    elif count > 1:
        found.append(invalid_value(path, "", _ONE_ONLY))
    return found


def _key_reference(reference: Obj, path: str) -> Errors:
    name, key = reference.get("name") or "", reference.get("key") or ""
    found = invalid_each(f"{path}.name", name, dns_subdomain_problems(name))
    if not key:
        return [*found, required(f"{path}.key")]
    return found + invalid_each(f"{path}.key", key, config_key_problems(key))


def _file_key(reference: Obj, path: str) -> Errors:
    found: Errors = []
    key, volume, file = (reference.get(f) or "" for f in ("key", "volumeName", "path"))
    if not key:
        found.append(required(f"{path}.key"))
    else:
        found += invalid_each(f"{path}.key", key, relaxed_env_name_problems(key))
    if not volume:
        found.append(required(f"{path}.volumeName"))
    else:
        found += invalid_each(f"{path}.volumeName", volume, dns_label_problems(volume))
    if not file:
        found.append(required(f"{path}.path"))
    else:
        found += no_backsteps(file, f"{path}.path")
    return found


def validate_env_from(sources: list[Obj], path: str) -> Errors:
    found: Errors = []
    for i, source in enumerate(sources):
        here, prefix = f"{path}[{i}]", source.get("prefix") or ""
        if prefix:
            found += invalid_each(f"{here}.prefix", prefix, relaxed_env_name_problems(prefix))
        given = [f for f in ("configMapRef", "secretRef") if source.get(f) is not None]
        for field in given:
            name = source[field].get("name") or ""
            if not name:
                found.append(required(f"{here}.{field}.name"))
            else:
                found += invalid_each(f"{here}.{field}.name", name, subdomain_name(name, True))
        if not given:
            found.append(invalid_value(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            found.append(invalid_value(path, "", _ONE_ONLY))
    return found
