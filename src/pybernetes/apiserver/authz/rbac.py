"""Role-based access control: bindings indexed by subject, rules compiled once, decisions remembered.

The index follows the objects through ``ObjectReader.subscribe``, so a decision is never older than the reader. Specified by
"Using RBAC Authorization" and ``plugin/pkg/auth/authorizer/rbac``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...api.errors import go_quote
from ...api.meta import Object, name_of, namespace_of
from ...api.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from ...hooks.authorization import Attributes, Decision, Verdict
from ...hooks.identity import UserInfo
from ...hooks.reading import ObjectReader
from .rules import CompiledRule, PolicyRule, ResolvedRules, compile_rules

SubjectKey = tuple[str, str]
"""(kind, name); a ServiceAccount is the User of its name."""
BindingKey = tuple[str, str]
"""(namespace, name); cluster role bindings have no namespace."""
RoleKey = tuple[str, str, str]
"""(kind, namespace, name)."""

NO_OPINION = Verdict(Decision.NO_OPINION)


class RoleMissing(LookupError):
    """A binding refers to a role that is not there; the message is upstream's."""


class _Binding:
    """A binding as far as decisions need it."""

    __slots__ = ("key", "role", "subjects")

    def __init__(self, obj: Object) -> None:
        namespace = namespace_of(obj)
        self.key: BindingKey = (namespace, name_of(obj))
        ref = obj.get("roleRef") or {}
        kind = ref.get("kind") or ""
        self.role: RoleKey = (kind, namespace if kind == "Role" else "", ref.get("name") or "")
        self.subjects: dict[SubjectKey, Mapping[str, Any]] = {}
        for subject in obj.get("subjects") or ():
            key = _subject_key(subject, namespace)
            if key is not None:
                self.subjects.setdefault(key, subject)

    def describe(self, subject: Mapping[str, Any]) -> str:
        namespace, name = self.key
        kind, _, role = self.role
        text = go_quote(subject.get("name") or "")
        if subject.get("kind") == "ServiceAccount":
            text = go_quote(f"{subject.get('name')}/{subject.get('namespace') or namespace}")
        which = f'RoleBinding "{name}/{namespace}"' if namespace else f'ClusterRoleBinding "{name}"'
        return f"RBAC: allowed by {which} of {kind} {go_quote(role)} to {subject.get('kind')} {text}"


def _subject_key(subject: Mapping[str, Any], namespace: str) -> SubjectKey | None:
    kind, name = subject.get("kind"), subject.get("name") or ""
    if kind in ("User", "Group"):
        return (kind, name)
    if kind == "ServiceAccount":
        owner = subject.get("namespace") or namespace
        return ("User", f"system:serviceaccount:{owner}:{name}") if owner else None
    return None


class RuleIndex:
    """Bindings by subject and roles by name, kept as new as the reader."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._bindings: dict[BindingKey, _Binding] = {}
        self._by_subject: dict[str, dict[SubjectKey, dict[BindingKey, _Binding]]] = {}
        self._roles: dict[RoleKey, tuple[CompiledRule, ...]] = {}
        self._listeners: list[Callable[[set[SubjectKey] | None], None]] = []
        for gvr in (CLUSTER_ROLE_BINDINGS, ROLE_BINDINGS):
            reader.subscribe(gvr, self._binding_changed)
            for obj in reader.list(gvr):
                self._add(_Binding(obj))
        for gvr, kind in ((ROLES, "Role"), (CLUSTER_ROLES, "ClusterRole")):
            reader.subscribe(gvr, self._role_listener(kind))

    def on_change(self, listener: Callable[[set[SubjectKey] | None], None]) -> None:
        """Told of the subjects whose rights changed; None means anybody's."""
        self._listeners.append(listener)

    def _add(self, binding: _Binding) -> None:
        self._bindings[binding.key] = binding
        table = self._by_subject.setdefault(binding.key[0], {})
        for subject in binding.subjects:
            table.setdefault(subject, {})[binding.key] = binding

    def _remove(self, key: BindingKey) -> _Binding | None:
        binding = self._bindings.pop(key, None)
        if binding is None:
            return None
        table = self._by_subject[key[0]]
        for subject in binding.subjects:
            entries = table[subject]
            entries.pop(key, None)
            if not entries:
                del table[subject]
        if not table:
            del self._by_subject[key[0]]
        return binding

    def _binding_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        obj = new or old
        if obj is None:
            return
        previous = self._remove((namespace_of(obj), name_of(obj)))
        touched = set(previous.subjects) if previous else set()
        if kind != "DELETED" and new is not None:
            binding = _Binding(new)
            self._add(binding)
            touched.update(binding.subjects)
        for listener in self._listeners:
            listener(touched)

    def _role_listener(self, kind: str) -> Any:
        def changed(event: str, old: Object | None, new: Object | None) -> None:
            obj = new or old
            if obj is None:
                return
            self._roles.pop((kind, namespace_of(obj), name_of(obj)), None)
            for listener in self._listeners:
                listener(None)

        return changed

    def role_object(self, key: RoleKey) -> Object:
        """Raises RoleMissing."""
        kind, namespace, name = key
        if kind not in ("Role", "ClusterRole"):
            raise RoleMissing(f"unsupported role reference kind: {go_quote(kind)}")
        obj = self._reader.get(ROLES if kind == "Role" else CLUSTER_ROLES, namespace, name)
        if obj is None:
            raise RoleMissing(f"{kind.lower()}.rbac.authorization.k8s.io {go_quote(name)} not found")
        return obj

    def role_rules(self, key: RoleKey) -> tuple[CompiledRule, ...]:
        """Raises RoleMissing."""
        rules = self._roles.get(key)
        if rules is None:
            rules = compile_rules(self.role_object(key).get("rules"))
            self._roles[key] = rules
        return rules

    def bindings_of(self, user: UserInfo, namespace: str) -> Iterator[tuple[_Binding, Mapping[str, Any]]]:
        """Every binding in the namespace (none: cluster-wide) that applies to the user, with the subject that does."""
        table = self._by_subject.get(namespace)
        if not table:
            return
        seen: set[BindingKey] = set()
        for subject in (("User", user.name), *(("Group", g) for g in user.groups)):
            for key, binding in (table.get(subject) or {}).items():
                if key not in seen:
                    seen.add(key)
                    yield binding, binding.subjects[subject]


class _Grants:
    """All rules of one user in one namespace (or cluster-wide), with where each comes from."""

    __slots__ = ("errors", "rules")

    def __init__(self, index: RuleIndex, user: UserInfo, namespace: str) -> None:
        self.rules: list[tuple[CompiledRule, _Binding, Mapping[str, Any]]] = []
        self.errors: list[str] = []
        for binding, subject in index.bindings_of(user, namespace):
            try:
                rules = index.role_rules(binding.role)
            except RoleMissing as failure:
                self.errors.append(str(failure))
                continue
            self.rules.extend((rule, binding, subject) for rule in rules)


class _Answer:
    """The decision for one verb on one resource: for every name, and for some."""

    __slots__ = ("any_name", "by_name", "refusal")

    def __init__(self) -> None:
        self.any_name: Verdict | None = None
        self.by_name: dict[str, Verdict] = {}
        self.refusal = NO_OPINION


class _UserDecisions:
    """What is known of one user: same name, same groups, same rights."""

    MAX_ANSWERS = 4096

    __slots__ = ("_answers", "_grants", "_index", "_paths", "_user")

    def __init__(self, index: RuleIndex, user: UserInfo) -> None:
        self._index, self._user = index, user
        self._grants: dict[str, _Grants] = {}
        self._answers: dict[tuple[str, str, str, str, str], _Answer] = {}
        self._paths: dict[tuple[str, str], Verdict] = {}

    def decide(self, a: Attributes) -> Verdict:
        if not a.resource:
            return self._decide_path(a.verb, a.path)
        key = (a.verb, a.group, a.resource, a.subresource, a.namespace)
        answer = self._answers.get(key)
        if answer is None:
            if len(self._answers) >= self.MAX_ANSWERS:
                self._answers.clear()
            answer = self._answers[key] = self._answer(a)
        if answer.any_name is not None:
            return answer.any_name
        return answer.by_name.get(a.name, answer.refusal)

    def _grants_in(self, namespace: str) -> _Grants:
        grants = self._grants.get(namespace)
        if grants is None:
            if len(self._grants) >= self.MAX_ANSWERS:
                self._grants.clear()
            grants = self._grants[namespace] = _Grants(self._index, self._user, namespace)
        return grants

    def _scopes(self, namespace: str) -> list[_Grants]:
        return [self._grants_in(""), self._grants_in(namespace)] if namespace else [self._grants_in("")]

    def _answer(self, a: Attributes) -> _Answer:
        answer = _Answer()
        scopes = self._scopes(a.namespace)
        for grants in scopes:
            for rule, binding, subject in grants.rules:
                if not rule.allows_resource(a.verb, a.group, a.resource, a.subresource):
                    continue
                verdict = Verdict(Decision.ALLOW, binding.describe(subject))
                if rule.names is None:
                    answer.any_name = verdict
                    return answer
                for name in rule.names:
                    answer.by_name.setdefault(name, verdict)
        answer.refusal = _refusal(scopes)
        return answer

    def _decide_path(self, verb: str, path: str) -> Verdict:
        known = self._paths.get((verb, path))
        if known is not None:
            return known
        if len(self._paths) >= self.MAX_ANSWERS:
            self._paths.clear()
        verdict = next(
            (
                Verdict(Decision.ALLOW, binding.describe(subject))
                for rule, binding, subject in self._grants_in("").rules
                if rule.allows_path(verb, path)
            ),
            _refusal(self._scopes("")),
        )
        self._paths[verb, path] = verdict
        return verdict


def _refusal(scopes: Sequence[_Grants]) -> Verdict:
    errors = list(dict.fromkeys(e for g in scopes for e in g.errors))
    if not errors:
        return NO_OPINION
    text = errors[0] if len(errors) == 1 else "[" + ", ".join(errors) + "]"
    return Verdict(Decision.NO_OPINION, f"RBAC: {text}")


class RbacAuthorizer:
    """The RBAC mode. The warm decision is two dictionary look-ups."""

    MAX_USERS = 10_000

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._index: RuleIndex | None = None
        self._users: dict[tuple[str, tuple[str, ...]], _UserDecisions] = {}

    @property
    def index(self) -> RuleIndex:
        """Built when first needed: before that nobody has asked, and the reader may not have been filled."""
        if self._index is None:
            self._index = RuleIndex(self._reader)
            self._index.on_change(self._forget)
        return self._index

    def _forget(self, subjects: set[SubjectKey] | None) -> None:
        if subjects is None:
            self._users.clear()
            return
        names = {n for kind, n in subjects if kind == "User"}
        groups = {n for kind, n in subjects if kind == "Group"}
        for key in [k for k in self._users if k[0] in names or not groups.isdisjoint(k[1])]:
            del self._users[key]

    def decide(self, attributes: Attributes) -> Verdict:
        user = attributes.user
        key = (user.name, user.groups)
        decisions = self._users.get(key)
        if decisions is None:
            if len(self._users) >= self.MAX_USERS:
                self._users.clear()
            decisions = self._users[key] = _UserDecisions(self.index, user)
        return decisions.decide(attributes)

    async def authorize(self, attributes: Attributes) -> Verdict:
        return self.decide(attributes)

    def rules_for(self, user: UserInfo, namespace: str) -> ResolvedRules:
        """Cluster-wide and, where given, those of the namespace."""
        rules: list[PolicyRule] = []
        errors: list[str] = []
        for scope in ("", namespace) if namespace else ("",):
            for binding, _ in self.index.bindings_of(user, scope):
                try:
                    rules.extend(self.index.role_object(binding.role).get("rules") or ())
                except RoleMissing as failure:
                    errors.append(str(failure))
        return ResolvedRules(rules, errors)
