"""What the pipeline must know of a kind, behind one face for built-in and custom resources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..api import tables
from ..api.defaults import apply_defaults
from ..api.errors import FieldError, bad_request
from ..api.fields import METADATA_FIELDS, check_field, field_value, supported_fields
from ..api.managedfields import fieldset
from ..api.managedfields.manager import ResetFields
from ..api.meta import Object
from ..api.resources import CUSTOM_RESOURCE_DEFINITIONS, PODS, ResourceInfo
from ..api.schema import Schema, builtin_schema
from ..api.selectors import SelectorError
from ..api.strategy import Strategy, strategy_for
from ..api.strategy.resets import reset_paths
from ..api.validation.formats import dns_label_problems
from ..api.validation.kube_meta import validate_meta
from ..api.validation.meta import subdomain_name
from .owning import OwnedFields
from .remembering import Memory, depends_on_name, spec_shape

RETURNS_DELETED = frozenset(
    [
        "pods",
        "services",
        "serviceaccounts",
        "namespaces",
        "persistentvolumes",
        "persistentvolumeclaims",
        "podtemplates",
        "resourcequotas",
        "csidrivers",
        "csinodes",
        "storageclasses",
        "volumeattachments",
        "volumeattributesclasses",
        "resourceclaims",
        "resourceclaimtemplates",
        "resourceslices",
        "deviceclasses",
        "devicetaintrules",
    ]
)
"""Resources whose deletion answers with the last state in place of a Status."""

Fields = Callable[[Object], Mapping[str, str]]


class Kind(Protocol):
    """Decoding, defaults, rules and views of one resource in one version."""

    builtin: bool
    returns_deleted: bool

    @property
    def slow(self) -> bool:
        """Whether checking an object may take long enough to be done aside from the event loop."""
        ...

    @property
    def allow_create_on_update(self) -> bool: ...

    @property
    def allow_unconditional_update(self) -> bool: ...

    @property
    def garbage_collection(self) -> str:
        """Background, Orphan or Unsupported: what a deletion without a policy means."""
        ...

    @property
    def schema(self) -> Schema: ...

    @property
    def fields(self) -> Fields | None:
        """Reads the selectable fields beside name and namespace."""
        ...

    def check_field(self, field: str) -> None:
        """Raises StatusError 400 where the field cannot be selected by."""
        ...

    def decode(self, obj: Object) -> Object:
        """Types checked, unknown fields dropped. Raises StatusError 400."""
        ...

    def decode_noting(self, obj: Object) -> tuple[Object, list[str]]:
        """``decode``, and the paths of unknown fields."""
        ...

    def default(self, obj: Object) -> None: ...

    def manage(self, old: Object | None, new: Object, manager: str, subresource: str, now: str) -> Object:
        """Settles who owns the fields that a write (no apply) set."""
        ...

    def apply(
        self, live: Object | None, applied: Object, manager: str, subresource: str, now: str, force: bool
    ) -> Object:
        """Server-side apply. Raises StatusError 409."""
        ...

    def prepare_create(self, obj: Object, user: Mapping[str, Any]) -> None: ...

    def prepare_update(self, new: Object, old: Object, subresource: str, now: str) -> None: ...

    def validate_create(self, obj: Object) -> list[FieldError]: ...

    def validate_update(self, new: Object, old: Object, subresource: str) -> list[FieldError]: ...

    def warnings(self, new: Object, old: Object | None, subresource: str) -> list[str]: ...

    def graceful_deletion(self, obj: Object, options: Mapping[str, Any]) -> tuple[bool, int]: ...

    def columns(self) -> list[dict[str, Any]]:
        """The column definitions of a Table."""
        ...

    def row(self, obj: Object, now: float) -> dict[str, Any]:
        """A Table's row without its object."""
        ...

    @property
    def replicas_path(self) -> str:
        """Where the wanted replicas are."""
        ...

    def scale_of(self, obj: Object) -> Object: ...

    def apply_scale(self, obj: Object, scale: Object) -> None: ...


class BuiltinKind(OwnedFields):
    """A built-in kind. The parts are made when they are first needed: most processes use few kinds."""

    builtin = True

    def __init__(self, info: ResourceInfo) -> None:
        super().__init__(info.gvk.api_version)
        self.info = info
        self.returns_deleted = info.gvr.resource in RETURNS_DELETED
        # A definition's schema may have ten thousand nodes, and rules that are compiled.
        self.slow = info.gvr == CUSTOM_RESOURCE_DEFINITIONS
        self._schema: Schema | None = None
        self._strategy: Strategy | None = None
        self._reset: dict[str, dict[str, dict[str, Any]]] = {}
        """By subresource: what it never lets a writer set."""

    @property
    def schema(self) -> Schema:
        if self._schema is None:
            self._schema = builtin_schema(self.info.gvk)
        return self._schema

    @property
    def strategy(self) -> Strategy:
        if self._strategy is None:
            self._strategy = strategy_for(self.info.gvr)
        return self._strategy

    @property
    def allow_create_on_update(self) -> bool:
        return self.strategy.allow_create_on_update

    @property
    def allow_unconditional_update(self) -> bool:
        return self.strategy.allow_unconditional_update

    @property
    def garbage_collection(self) -> str:
        return self.strategy.default_garbage_collection_policy

    @property
    def fields(self) -> Fields | None:
        gvr = self.info.gvr
        names = tuple(supported_fields(gvr) - METADATA_FIELDS)
        if not names:
            return None

        def read(obj: Object) -> Mapping[str, str]:
            return {name: value for name in names if (value := field_value(gvr, obj, name))}

        return read

    def check_field(self, field: str) -> None:
        try:
            check_field(self.info.gvr, field)
        except SelectorError as failure:
            raise bad_request(str(failure)) from None

    def decode(self, obj: Object) -> Object:
        return self.schema.read(obj)

    def decode_noting(self, obj: Object) -> tuple[Object, list[str]]:
        return self.schema.read_noting(obj)

    def default(self, obj: Object) -> None:
        apply_defaults(self.info.gvk, obj)

    def resets(self, subresource: str) -> ResetFields:
        found = self._reset.get(subresource)
        if found is None:
            paths = fieldset.make(*reset_paths(self.info, subresource))
            found = self._reset[subresource] = {self.info.gvk.api_version: paths} if paths else {}
        return found

    replicas_path = ".spec.replicas"

    def prepare_create(self, obj: Object, user: Mapping[str, Any]) -> None:
        self.strategy.prepare_for_create(obj, user=user)

    def prepare_update(self, new: Object, old: Object, subresource: str, now: str) -> None:
        self._for(subresource).prepare_for_update(new, old, now=now)

    def _for(self, subresource: str) -> Strategy:
        """The strategy of a subresource; scale and binding change the object as its main endpoint does."""
        return self.strategy.subresources.get(subresource) or self.strategy

    def validate_create(self, obj: Object) -> list[FieldError]:
        return self.strategy.validate_create(obj)

    def validate_update(self, new: Object, old: Object, subresource: str) -> list[FieldError]:
        return self._for(subresource).validate_update(new, old)

    def warnings(self, new: Object, old: Object | None, subresource: str) -> list[str]:
        if old is None:
            return self.strategy.warnings_on_create(new)
        return self._for(subresource).warnings_on_update(new, old)

    def graceful_deletion(self, obj: Object, options: Mapping[str, Any]) -> tuple[bool, int]:
        return self.strategy.graceful_deletion(obj, options)

    def columns(self) -> list[dict[str, Any]]:
        return tables.columns(self.info.gvk)

    def row(self, obj: Object, now: float) -> dict[str, Any]:
        row: dict[str, Any] = {"cells": tables.row_cells(self.info.gvk, obj, now)}
        conditions = tables.row_conditions(self.info.gvk, obj)
        if conditions:
            row["conditions"] = conditions
        return row

    def scale_of(self, obj: Object) -> Object:
        return self.strategy.scale_of(obj)

    def apply_scale(self, obj: Object, scale: Object) -> None:
        self.strategy.apply_scale(obj, scale)


class PodKind(BuiltinKind):
    """Pods, which come by the thousand and mostly alike: the checks of a spec are remembered."""

    def __init__(self, info: ResourceInfo) -> None:
        super().__init__(info)
        self._good: Memory[list[str]] = Memory()
        """Shape -> warnings of specs without errors."""
        self._checked = b""

    @property
    def fields(self) -> Fields | None:
        return pod_fields

    def validate_create(self, obj: Object) -> list[FieldError]:
        shape = self._checked = spec_shape(obj)
        if self._good.get(shape) is not None:
            errors = validate_meta(obj["metadata"], True, subdomain_name)
            return self.strategy.validate_create(obj) if errors else []
        errors = self.strategy.validate_create(obj)
        if not errors and not depends_on_name(obj.get("spec") or {}):
            nameless = {**obj, "metadata": {**obj["metadata"], "name": "a"}}
            self._good.put(shape, self.strategy.warnings_on_create(nameless))
        return errors

    def warnings(self, new: Object, old: Object | None, subresource: str) -> list[str]:
        if old is None and not dns_label_problems(new["metadata"].get("name") or ""):
            known = self._good.get(self._checked)
            if known is not None and self._checked == spec_shape(new):
                return list(known)
        return super().warnings(new, old, subresource)


def pod_fields(obj: Object) -> Mapping[str, str]:
    """``api.fields`` of a pod, written out: every write of a pod pays for it."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    node = spec.get("nodeName") or ""
    found = {
        "spec.restartPolicy": spec.get("restartPolicy") or "",
        "spec.schedulerName": spec.get("schedulerName") or "",
        "spec.serviceAccountName": spec.get("serviceAccountName") or "",
        "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
        "status.phase": status.get("phase") or "",
    }
    if node:
        found["spec.nodeName"] = found["spec.host"] = node
    addresses = status.get("podIPs")
    address = addresses[0].get("ip") if addresses else status.get("podIP")
    if address:
        found["status.podIP"] = address
    if status.get("nominatedNodeName"):
        found["status.nominatedNodeName"] = status["nominatedNodeName"]
    return found


def builtin_kind(info: ResourceInfo) -> BuiltinKind:
    return PodKind(info) if info.gvr == PODS else BuiltinKind(info)
