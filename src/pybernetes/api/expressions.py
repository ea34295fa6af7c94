"""What expressions of admission (match conditions, policies) may refer to: the request, the objects, the authorizer.

Specified by "Validating Admission Policy" and ``apiserver/pkg/admission/plugin/cel``. The environments are here so that validation
can compile what users write; the values come from who evaluates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Protocol

from .cel import CelError, Environment, Program
from .cel import celtypes as t
from .cel.declarations import Function, Overload, json_patch, standard
from .validation import formats

# -- asking the authorizer ---------------------------------------------------------------------------------------------

_PREFIX = "kubernetes.authorization."
PATH_CHECK, GROUP_CHECK = t.opaque(f"{_PREFIX}PathCheck"), t.opaque(f"{_PREFIX}GroupCheck")
RESOURCE_CHECK, DECISION = t.opaque(f"{_PREFIX}ResourceCheck"), t.opaque(f"{_PREFIX}Decision")
AUTHORIZER = t.object_type(
    f"{_PREFIX}Authorizer", {"requestResource": t.ObjectField(RESOURCE_CHECK, "requestResource")}
)


class Check(Protocol):
    """A question to the authorizer in the making."""

    def with_(self, **changes: str) -> Check: ...

    def for_service_account(self, namespace: str, name: str) -> Check: ...

    def answer(self, verb: str) -> Decided | None:
        """None where the authorizer would have to wait for something."""
        ...


class Decided(Protocol):
    """What the authorizer said."""

    @property
    def allowed(self) -> bool: ...

    @property
    def reason(self) -> str: ...


def _named(what: str, value: str) -> str:
    if not value.strip():
        raise CelError(f"{what} must not be empty")
    return value


def _for_service_account(check: Check, namespace: str, name: str) -> Check:
    if formats.dns_subdomain_problems(name):
        raise CelError("Invalid service account name")
    if formats.dns_label_problems(namespace):
        raise CelError("Invalid service account namespace")
    return check.for_service_account(namespace, name)


def _setting(name: str) -> Callable[[Check, str], Check]:
    return lambda check, value: check.with_(**{name: value})


def _member(name: str, run: Callable[..., Any], *overloads: tuple[str, tuple[t.Type, ...], t.Type]) -> Function:
    return Function(name, tuple(Overload(i, True, arguments, result) for i, arguments, result in overloads), run)


@cache
def _functions() -> Mapping[str, Function]:
    text = t.STRING
    made = [
        _member(
            "path",
            lambda c, path: c.with_(path=_named("path", path)),
            ("authorizer_path", (AUTHORIZER, text), PATH_CHECK),
        ),
        _member("group", _setting("group"), ("authorizer_group", (AUTHORIZER, text), GROUP_CHECK)),
        _member(
            "serviceAccount", _for_service_account, ("authorizer_serviceaccount", (AUTHORIZER, text, text), AUTHORIZER)
        ),
        _member(
            "resource",
            lambda c, resource: c.with_(resource=_named("resource", resource)),
            ("groupcheck_resource", (GROUP_CHECK, text), RESOURCE_CHECK),
        ),
        *(
            _member(name, _setting(attribute), (f"resourcecheck_{name.lower()}", (RESOURCE_CHECK, text), RESOURCE_CHECK))
            for name, attribute in (
                ("subresource", "subresource"), ("namespace", "namespace"), ("name", "name"),
                ("fieldSelector", "field_selector"), ("labelSelector", "label_selector"),
            )
        ),
        _member(
            "check",
            lambda c, verb: c.answer(verb),
            ("pathcheck_check", (PATH_CHECK, text), DECISION),
            ("resourcecheck_check", (RESOURCE_CHECK, text), DECISION),
        ),
        _member("errored", lambda v: v is None, ("decision_errored", (DECISION,), t.BOOL)),
        _member("error", _error_of, ("decision_error", (DECISION,), text)),
        _member("allowed", _is_allowed, ("decision_allowed", (DECISION,), t.BOOL)),
        _member("reason", lambda v: v.reason if v is not None else "", ("decision_reason", (DECISION,), text)),
    ]  # fmt: skip
    return {**standard(), **{f.name: f for f in made}}


def _error_of(decided: Decided | None) -> str:
    return "" if decided is not None else "the authorizer did not answer at once"


def _is_allowed(decided: Decided | None) -> bool:
    return decided is not None and decided.allowed


# -- variables ---------------------------------------------------------------------------------------------------------


def _object(type_name: str, /, **fields: t.Type) -> t.Type:
    return t.object_type(type_name, {k: t.ObjectField(v, k) for k, v in fields.items()})


@cache
def _request_type() -> t.Type:
    text = t.STRING
    kind = _object("kubernetes.GroupVersionKind", group=text, version=text, kind=text)
    resource = _object("kubernetes.GroupVersionResource", group=text, version=text, resource=text)
    texts = t.list_of(text)
    user = _object("kubernetes.UserInfo", username=text, uid=text, groups=texts, extra=t.map_of(text, texts))
    return _object(
        "kubernetes.AdmissionRequest", kind=kind, resource=resource, subResource=text, requestKind=kind,
        requestResource=resource, requestSubResource=text, name=text, namespace=text, operation=text, userInfo=user,
        dryRun=t.BOOL, options=t.DYN,
    )  # fmt: skip


@cache
def environment(*, params: bool, authorizer: bool, variables: bool = False) -> Environment:
    """What an expression may use, beside the object, the old one, the request and the namespace."""
    return Environment(_variables(params=params, authorizer=authorizer, variables=variables), _functions())


def _variables(*, params: bool, authorizer: bool, variables: bool) -> dict[str, t.Type]:
    known = {"object": t.DYN, "oldObject": t.DYN, "request": _request_type(), "namespaceObject": t.DYN}
    if params:
        known["params"] = t.DYN
    if authorizer:
        known["authorizer"] = AUTHORIZER
    if variables:
        known["variables"] = t.map_of(t.STRING, t.DYN)
    return known


def declared(known: Environment, variables: Mapping[str, t.Type]) -> Environment:
    """``known`` with just these variables of a policy; upstream declares none where there are none."""
    names = {k: v for k, v in known.variables.items() if k != "variables"}
    if variables:
        fields = {name: t.ObjectField(type_, name) for name, type_ in variables.items()}
        names["variables"] = t.object_type("kubernetes.variables", fields)
    return Environment(names, known.functions, known.objects)


# -- what mutations make -----------------------------------------------------------------------------------------------

OBJECT, JSON_PATCH = "Object", "JSONPatch"


class _AnyField(Mapping[str, t.ObjectField]):
    """Fields of an object whose schema is not known: every name is one, of any type."""

    def __getitem__(self, name: str) -> t.ObjectField:
        return t.ObjectField(t.DYN, name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 1


class _Made(Mapping[str, t.Type]):
    """``Object``, ``Object.spec`` and so on, named by the path of the field that they are for; and ``JSONPatch``."""

    def __getitem__(self, name: str) -> t.Type:
        if name == JSON_PATCH:
            return _object(JSON_PATCH, op=t.STRING, path=t.STRING, **{"from": t.STRING, "value": t.DYN})
        if name.partition(".")[0] == OBJECT:
            return t.object_type(name, _AnyField())
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter((OBJECT, JSON_PATCH))

    def __len__(self) -> int:
        return 2


@cache
def mutation_environment(*, params: bool) -> Environment:
    """What the expressions of a MutatingAdmissionPolicy's mutations may use."""
    known = _variables(params=params, authorizer=True, variables=True)
    return Environment(known, {**_functions(), **json_patch()}, _Made())


def misplaced(program: Program) -> str:
    """What is wrong with the names of the objects that a mutation makes: each has the path of the field that it is put in."""
    for literal in program.literals:
        if literal.name == JSON_PATCH:
            continue
        for _, field, value, _ in literal.entries:
            expected = f"{literal.name}.{field}"
            found = _object_in(value.type)
            if found and found != expected:
                words = "which matches field name path from root Object type"
                return f'type mismatch: unexpected type name "{found}", expected "{expected}", {words}'
    return ""


def _object_in(type_: t.Type) -> str:
    """The name of the objects of a type, in lists and maps too."""
    while type_.kind in ("list", "map", "optional"):
        type_ = type_.parameters[-1]
    return type_.name if type_.kind == "object" and type_.name.partition(".")[0] == OBJECT else ""
