"""Resources that are answered and never stored: TokenReview, SelfSubjectReview, the SubjectAccessReview family,
SelfSubjectRulesReview; and the ``token`` subresource of ServiceAccounts.

Specified by ``authentication.k8s.io`` and ``authorization.k8s.io`` v1. The API server registers ``Reviews.resources()`` and
``Reviews.subresources()``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson

from ..api import errors
from ..api.errors import FieldError, bad_request
from ..api.meta import Object, metadata, namespace_of
from ..api.resources import GVK, GVR, SERVICE_ACCOUNTS, ResourceInfo, builtin_by_gvr
from ..api.selectors import SelectorError, parse_field_selector, parse_label_selector
from ..api.times import to_time
from ..api.validation.errors import invalid_each
from ..api.validation.formats import label_value_problems
from ..api.validation.meta import validate_label_name
from ..concurrency import Clock
from ..hooks.admission import CREATE, AdmissionAttributes
from ..hooks.authorization import Attributes, Decision
from ..hooks.identity import UserInfo
from .admitting import note
from .authn import AuthenticationStack
from .authn.issuer import TokenIssuer
from .authn.jwt import TokenError
from .authn.union import with_authenticated_group
from .authz import AuthorizationStack
from .body import decode_object
from .kinds import BuiltinKind
from .options import write_options
from .registry import Resource
from .request import Handler, Request, Response

AUTHENTICATION, AUTHORIZATION = "authentication.k8s.io", "authorization.k8s.io"
TOKEN_REQUEST = GVK(AUTHENTICATION, "v1", "TokenRequest")

_ANSWERED_ANEW = ("SelfSubjectReview", "SelfSubjectRulesReview", TOKEN_REQUEST.kind)
"""What comes back is another object, which nobody manages."""

Admission = Callable[[AdmissionAttributes], Awaitable[None]]
Answer = Callable[[Request, Object], Awaitable[Object]]


def _gvr(group: str, resource: str) -> GVR:
    return GVR(group, "v1", resource)


class Reviews:
    """Answers reviews from the authenticator and the authorizer that requests themselves pass."""

    def __init__(
        self,
        authentication: AuthenticationStack,
        authorization: AuthorizationStack,
        clock: Clock,
        issuer: TokenIssuer | None = None,
        admission: Admission | None = None,
    ) -> None:
        self._authentication, self._authorization = authentication, authorization
        self._clock, self._issuer = clock, issuer
        self.admission = admission
        """Runs the whole chain; set by the server, whose chain needs what is made here."""

    def resources(self) -> dict[GVR, Handler]:
        answers: dict[GVR, Answer] = {
            _gvr(AUTHENTICATION, "tokenreviews"): self._token_review,
            _gvr(AUTHENTICATION, "selfsubjectreviews"): self._self_subject_review,
            _gvr(AUTHORIZATION, "subjectaccessreviews"): self._access_review,
            _gvr(AUTHORIZATION, "localsubjectaccessreviews"): self._local_access_review,
            _gvr(AUTHORIZATION, "selfsubjectaccessreviews"): self._self_access_review,
            _gvr(AUTHORIZATION, "selfsubjectrulesreviews"): self._rules_review,
        }
        known = builtin_by_gvr()
        return {gvr: self._handler(known[gvr], answer) for gvr, answer in answers.items()}

    def subresources(self) -> dict[tuple[str, str], Handler]:
        info = ResourceInfo(
            _gvr(AUTHENTICATION, "tokenrequests"), TOKEN_REQUEST.kind, "tokenrequest", True, ("create",)
        )
        return {("serviceaccounts", "token"): self._handler(info, self._token_request)}

    def _handler(self, info: ResourceInfo, answer: Answer) -> Handler:
        resource = Resource(info, BuiltinKind(info))

        async def handle(request: Request) -> Response:
            if request.method != "POST":
                raise errors.method_not_allowed()
            options = write_options(request, "CreateOptions")
            obj = decode_object(request, resource, options)
            given = namespace_of(obj)
            namespace = request.info.namespace if request.info else ""
            if given and namespace and given != namespace:
                raise bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            if namespace:
                obj["metadata"]["namespace"] = namespace
            if info.kind not in _ANSWERED_ANEW:
                now = to_time(self._clock.now())
                obj = resource.kind.manage(None, obj, options.manager, "", now)
            return Response(201, orjson.dumps(await answer(request, obj)))

        return handle

    async def _admit(
        self, request: Request, obj: Object, gvk: GVK, gvr: GVR, subresource: str = "", name: str = ""
    ) -> None:
        if self.admission is None:
            return
        namespace = request.info.namespace if request.info else ""
        a = AdmissionAttributes(CREATE, gvr, gvk, subresource, namespace, name, obj, None, request.user)
        try:
            await self.admission(a)
        finally:
            note(request, a)

    async def _admit_review(self, request: Request, obj: Object) -> None:
        info = request.info
        assert info is not None
        gvk = GVK(info.group, info.version, obj["kind"])
        await self._admit(request, obj, gvk, GVR(info.group, info.version, info.resource))

    # -- authentication ------------------------------------------------------------------------------------------------

    async def _token_review(self, request: Request, obj: Object) -> Object:
        spec = obj.get("spec") or {}
        token = spec.get("token")
        if not token:
            raise bad_request("token is required for TokenReview in authentication")
        await self._admit_review(request, obj)
        status: dict[str, Any] = {"user": {}}
        try:
            audiences = tuple(spec.get("audiences") or self._authentication.audiences)
            result = await self._authentication.tokens.authenticate_token(token, audiences)
        except TokenError as failure:
            status["error"] = str(failure)
        else:
            if result is None:
                status["error"] = "invalid bearer token"
            else:
                status["authenticated"] = True
                status["user"] = user_object(with_authenticated_group(result.user))
                if result.audiences:
                    status["audiences"] = list(result.audiences)
        return {**obj, "metadata": metadata(obj), "status": status}

    async def _self_subject_review(self, request: Request, obj: Object) -> Object:
        await self._admit_review(request, obj)
        meta = {"creationTimestamp": to_time(self._clock.now())}
        return {
            "kind": obj["kind"],
            "apiVersion": obj["apiVersion"],
            "metadata": meta,
            "status": {"userInfo": user_object(request.user)},
        }

    async def _token_request(self, request: Request, obj: Object) -> Object:
        if self._issuer is None or request.info is None:
            raise errors.path_not_found()
        namespace, name = request.info.namespace, request.info.name
        annotations = request.audit.setdefault("annotations", {})
        # Admission sees what was sent: to a node it matters whether an audience was named.
        await self._admit(request, obj, TOKEN_REQUEST, SERVICE_ACCOUNTS, "token", name)
        return self._issuer.create(namespace, name, obj, warnings=request.warnings, annotations=annotations)

    # -- authorization -------------------------------------------------------------------------------------------------

    async def _access_review(self, request: Request, obj: Object) -> Object:
        problems = _spec_problems(obj, with_user=True) + _metadata_problems(obj, ())
        self._refuse(obj, problems)
        await self._admit_review(request, obj)
        return await self._decide(obj, _user_of(obj["spec"]))

    async def _local_access_review(self, request: Request, obj: Object) -> Object:
        spec = obj.get("spec") or {}
        problems = _spec_problems(obj, with_user=True) + _metadata_problems(obj, ("namespace",))
        resource = spec.get("resourceAttributes")
        if resource is not None and (resource.get("namespace") or "") != namespace_of(obj):
            problems.append(
                errors.invalid_value(
                    "spec.resourceAttributes.namespace",
                    resource.get("namespace") or "",
                    "must match metadata.namespace",
                )
            )
        if spec.get("nonResourceAttributes") is not None:
            detail = "disallowed on this kind of request"
            problems.append(errors.invalid_value("spec.nonResourceAttributes", _shown_path(spec), detail))
        self._refuse(obj, problems)
        await self._admit_review(request, obj)
        return await self._decide(obj, _user_of(spec))

    async def _self_access_review(self, request: Request, obj: Object) -> Object:
        self._refuse(obj, _spec_problems(obj, with_user=False) + _metadata_problems(obj, ()))
        await self._admit_review(request, obj)
        return await self._decide(obj, request.user)

    async def _rules_review(self, request: Request, obj: Object) -> Object:
        namespace = (obj.get("spec") or {}).get("namespace") or ""
        if not namespace:
            raise bad_request("no namespace on request")
        await self._admit_review(request, obj)
        found = self._authorization.authorizer.rules_for(request.user, namespace)
        fields = ("verbs", "apiGroups", "resources", "resourceNames")
        status: dict[str, Any] = {
            "resourceRules": [{k: r[k] for k in fields if r.get(k)} for r in found.rules if r.get("resources")],
            "nonResourceRules": [
                {k: r[k] for k in ("verbs", "nonResourceURLs") if r.get(k)}
                for r in found.rules
                if r.get("nonResourceURLs")
            ],
            "incomplete": found.incomplete,
        }
        if found.errors:
            errors_ = list(dict.fromkeys(found.errors))
            status["evaluationError"] = errors_[0] if len(errors_) == 1 else "[" + ", ".join(errors_) + "]"
        return {"kind": obj["kind"], "apiVersion": obj["apiVersion"], "metadata": {}, "spec": {}, "status": status}

    @staticmethod
    def _refuse(obj: Object, problems: Sequence[FieldError]) -> None:
        if problems:
            raise errors.invalid(AUTHORIZATION, "", "", problems)  # upstream's reviews have lost their kind by then

    async def _decide(self, obj: Object, user: UserInfo) -> Object:
        attributes, evaluation_error = attributes_of(obj["spec"], user)
        verdict = await self._authorization.authorizer.authorize(attributes)
        status: dict[str, Any] = {"allowed": verdict.decision is Decision.ALLOW}
        if verdict.decision is Decision.DENY:
            status["denied"] = True
        if verdict.reason:
            status["reason"] = verdict.reason
        errors_met = [e for e in (evaluation_error, verdict.error) if e]
        if errors_met:
            status["evaluationError"] = ", ".join(errors_met)
        return {**obj, "metadata": metadata(obj), "status": status}


def user_object(user: UserInfo) -> dict[str, Any]:
    """``authentication.k8s.io`` UserInfo as it is on the wire."""
    found: dict[str, Any] = {"username": user.name}
    if user.uid:
        found["uid"] = user.uid
    if user.groups:
        found["groups"] = list(user.groups)
    if user.extra:
        found["extra"] = {k: list(v) for k, v in user.extra.items()}
    return found


def _user_of(spec: Mapping[str, Any]) -> UserInfo:
    extra = {k.lower(): tuple(v or ()) for k, v in (spec.get("extra") or {}).items()}
    return UserInfo(spec.get("user") or "", spec.get("uid") or "", tuple(spec.get("groups") or ()), extra)


def _metadata_problems(obj: Object, allowed: Sequence[str]) -> list[FieldError]:
    meta = metadata(obj)
    if any(v for k, v in meta.items() if k not in allowed and k != "managedFields"):
        words = "must be empty except for namespace" if allowed else "must be empty"
        return [errors.invalid_value("metadata", meta, words)]
    return []


def _shown_path(spec: Mapping[str, Any]) -> dict[str, str]:
    path = spec["nonResourceAttributes"]
    return {"Path": path.get("path") or "", "Verb": path.get("verb") or ""}


def _spec_problems(obj: Object, *, with_user: bool) -> list[FieldError]:
    spec = obj.get("spec") or {}
    obj["spec"] = spec
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    problems: list[FieldError] = []
    if resource is not None and path is not None:
        detail = "cannot be specified in combination with resourceAttributes"
        problems.append(errors.invalid_value("spec.nonResourceAttributes", _shown_path(spec), detail))
    if resource is None and path is None:
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        problems.append(errors.invalid_value("spec.resourceAttributes", None, detail))
    if with_user and not spec.get("user") and not spec.get("groups"):
        problems.append(errors.invalid_value("spec.user", "", "at least one of user or group must be specified"))
    for field in ("fieldSelector", "labelSelector"):
        selector = (resource or {}).get(field)
        if selector is None:
            continue
        where = f"spec.resourceAttributes.{field}"
        raw, requirements = selector.get("rawSelector"), selector.get("requirements")
        if raw and requirements:
            detail = "may not specified at the same time as requirements"
            problems.append(errors.invalid_value(f"{where}.rawSelector", raw, detail))
        elif not raw and not requirements:
            detail = f"when {where} is specified, requirements or rawSelector is required"
            problems.append(errors.required(f"{where}.requirements", detail))
        for number, requirement in enumerate(requirements or ()):
            problems += _requirement_problems(field, f"{where}.requirements[{number}]", requirement)
    return problems


def _requirement_problems(field: str, where: str, requirement: Mapping[str, Any]) -> list[FieldError]:
    """An operator that we do not know is no error: the requirement is ignored, and that is said in the answer."""
    key, operator, values = requirement.get("key") or "", requirement.get("operator"), requirement.get("values") or ()
    problems = []
    if field == "fieldSelector" and not key:
        problems.append(errors.required(f"{where}.key", "must be specified"))
    if operator in ("In", "NotIn"):
        if not values:
            problems.append(errors.required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist") and values:
        words = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        problems.append(errors.forbidden_field(f"{where}.values", words))
    if field == "labelSelector":
        problems += validate_label_name(key, f"{where}.key")
        for number, value in enumerate(values):
            problems += invalid_each(f"{where}.values[{number}]", value, label_value_problems(value))
    return problems


def attributes_of(spec: Mapping[str, Any], user: UserInfo) -> tuple[Attributes, str]:
    """What a SubjectAccessReview asks, and what of its selectors was not understood (and does not narrow the question)."""
    path = spec.get("nonResourceAttributes")
    if path is not None:
        return Attributes(user, path.get("verb") or "", path=path.get("path") or ""), ""
    r = spec.get("resourceAttributes") or {}
    field_selector, field_error = _field_selector(r.get("fieldSelector") or {})
    label_selector, label_error = _label_selector(r.get("labelSelector") or {})
    attributes = Attributes(
        user,
        r.get("verb") or "",
        r.get("group") or "",
        r.get("version") or "*",
        r.get("resource") or "",
        r.get("subresource") or "",
        r.get("namespace") or "",
        r.get("name") or "",
        field_selector=field_selector,
        label_selector=label_selector,
    )
    return attributes, "; ".join(e for e in (field_error, label_error) if e)


def _ignored(field: str, terms: Sequence[str]) -> str:
    return f"spec.resourceAttributes.{field} {'partially ' if terms else ''}ignored due to parse error"


def _field_selector(selector: Mapping[str, Any]) -> tuple[str, str]:
    raw = selector.get("rawSelector")
    if raw:
        try:
            return str(parse_field_selector(raw)), ""
        except SelectorError:
            return "", _ignored("fieldSelector", ())
    terms: list[str] = []
    understood = True
    for r in selector.get("requirements") or ():
        operator, values = r.get("operator"), list(r.get("values") or [])
        if operator in ("In", "NotIn") and len(values) == 1:
            terms.append(f"{r.get('key')}{'=' if operator == 'In' else '!='}{values[0]}")
        else:
            understood = False
    return ",".join(terms), "" if understood else _ignored("fieldSelector", terms)


def _label_selector(selector: Mapping[str, Any]) -> tuple[str, str]:
    raw = selector.get("rawSelector")
    if raw:
        try:
            return str(parse_label_selector(raw)), ""
        except SelectorError:
            return "", _ignored("labelSelector", ())
    terms: list[str] = []
    understood = True
    for r in selector.get("requirements") or ():
        key, values = r.get("key"), ",".join(r.get("values") or ())
        term = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": f"{key}",
            "DoesNotExist": f"!{key}",
        }.get(r.get("operator") or "")
        if term is None:
            understood = False
        else:
            terms.append(term)
    return ",".join(terms), "" if understood else _ignored("labelSelector", terms)
