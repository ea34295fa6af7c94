"""What the tests of authentication, authorization and admission share: a reader over plain objects, and short cuts."""

from __future__ import annotations

import copy
import itertools

from pybernetes.api.meta import name_of, namespace_of
from pybernetes.api.resources import SERVICE_ACCOUNTS
from pybernetes.hooks.authorization import Attributes, Decision, Verdict
from pybernetes.hooks.identity import Credentials, UserInfo

NOW = 1_800_000_000.0


class FakeReader:
    """An ObjectReader over a dictionary, with the commits made by ``put`` and ``delete``."""

    def __init__(self, *objects):
        self.objects = {}
        self.listeners = {}
        self._uids = itertools.count(1)
        self.reads = 0
        for gvr, obj in objects:
            self.put(gvr, obj)

    def get(self, gvr, namespace, name):
        self.reads += 1
        return self.objects.get(gvr, {}).get((namespace, name))

    def each(self, gvr, namespace=""):
        return iter(self.list(gvr, namespace))

    def list(self, gvr, namespace=""):
        return [o for (ns, _), o in self.objects.get(gvr, {}).items() if not namespace or ns == namespace]

    def subscribe(self, gvr, listener):
        self.listeners.setdefault(gvr, []).append(listener)
        return lambda: self.listeners[gvr].remove(listener)

    def put(self, gvr, obj):
        obj = copy.deepcopy(obj)
        meta = obj.setdefault("metadata", {})
        key = (namespace_of(obj), name_of(obj))
        old = self.objects.setdefault(gvr, {}).get(key)
        meta.setdefault("uid", old["metadata"]["uid"] if old else f"uid-{next(self._uids)}")
        self.objects[gvr][key] = obj
        for listener in list(self.listeners.get(gvr, [])):
            listener("MODIFIED" if old else "ADDED", old, obj)
        return obj

    def delete(self, gvr, namespace, name):
        old = self.objects[gvr].pop((namespace, name))
        for listener in list(self.listeners.get(gvr, [])):
            listener("DELETED", old, old)


class FixedClock:
    """A clock that stands where the test puts it."""

    def __init__(self, now=NOW):
        self.time = now

    def now(self):
        return self.time

    def monotonic(self):
        return self.time


class ListAuthorizer:
    """Allows what its predicate allows, and remembers what was asked."""

    def __init__(self, allows=lambda a: True):
        self.allows, self.asked = allows, []

    async def authorize(self, attributes):
        self.asked.append(attributes)
        return Verdict(Decision.ALLOW if self.allows(attributes) else Decision.NO_OPINION)


def obj(name, namespace="", **fields):
    meta = {"name": name, **fields.pop("meta", {})}
    if namespace:
        meta["namespace"] = namespace
    return {"metadata": meta, **fields}


def account(name="default", namespace="ns", **fields):
    return SERVICE_ACCOUNTS, obj(name, namespace, **fields)


def bearer(token, **more):
    return Credentials({"authorization": f"Bearer {token}"}, **more)


def user(name="alice", *groups, **extra):
    return UserInfo(name, groups=groups, extra=extra)


def attributes(who, verb, resource="pods", **more):
    return Attributes(who, verb, resource=resource, **({"version": "v1"} | more))
