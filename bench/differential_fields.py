"""Walks the fields of every kind and compares what two API servers say of each.

    python bench/differential_fields.py OURS.kubeconfig PEER.kubeconfig [--kind TEXT] [--verb VERB] [--pairs N] [--json FILE]

For each good object of ``differential_bases.yaml`` the OpenAPI schema (the peer's) is walked: every field is taken away, set
to null, to the wrong type, to values at the borders of its type, to each value of its enumeration; fields that the object
lacks are added. Each changed object is created, put over the good one, put over its status, and applied, all as dry runs,
so that every request meets the same state. Two servers as for ``differential.py``; what they answer is compared as there.
Differences that read alike but for the place are one group. ``--pairs N`` adds N objects a kind with two changes.
"""

from __future__ import annotations

import argparse
import copy
import difflib
import json
import os
import random
import re
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml
from differential import Server, lines_of
from differential_cases import APPLY, NS, TABLE, Case, post, put

Schema = dict[str, Any]
Change = tuple[tuple[str | int, ...], Any]
"""Where, and what is put there."""

BASES = Path(__file__).with_name("differential_bases.yaml")
GONE = object()
RUN = f"walked{os.getpid()}"
STRINGS = ("", "Odd", "bad name_", "-x", "x/y/z", " x", "v" * 300, "a.b/c", "10.0.0.1")
INTEGERS = (-1, 0, 1, 101, 70000, 2147483647)
QUANTITIES = ("-1", "0", "1.5", "1Gi", "x", 7)
EITHER = (-1, 0, 5, 70000, "x", "50%", "150%", "Bad_")
TIMES = ("x", "2024-01-01T00:00:00Z", "2124-01-01T00:00:00.5+01:00")
QUANTITY, TIME = "io.k8s.apimachinery.pkg.api.resource.Quantity", "io.k8s.apimachinery.pkg.apis.meta.v1.Time"
DEEP = {
    "PodSpec": ("pods",),
    "ObjectMeta": ("configmaps", "podtemplates"),
    "ManagedFieldsEntry": (),
    "JSONSchemaProps": (),
}
"""Types that many kinds hold, and where alone they are walked."""
SELF_WRITTEN, SETTLED = ("customresourcedefinitions", "apiservices", "validatingadmissionpolicies"), 2.0
"""What servers themselves write to, and for how many seconds at most."""
SKIPPED = frozenset({"apiVersion", "kind"})


class Walker:
    """The changes of one good object."""

    def __init__(self, schemas: dict[str, Schema], collection: str) -> None:
        self.schemas = schemas
        self.collection = collection
        self._seen: set[str] = set()

    def resolved(self, schema: Schema) -> tuple[Schema, str]:
        name = ""
        for part in (schema, *schema.get("allOf", ())):
            if "$ref" in part:
                name = part["$ref"].rsplit("/", 1)[1]
                return {**self.schemas[name], **{k: v for k, v in schema.items() if k == "default"}}, name
        return schema, name

    def changes(self, schema: Schema, value: Any, where: tuple[str | int, ...] = ()) -> Iterator[Change]:
        schema, name = self.resolved(schema)
        short = name.rsplit(".", 1)[-1]
        if name in self._seen or (short in DEEP and self.collection not in DEEP[short]):
            return
        if name and schema.get("type") == "object" and "properties" in schema:
            self._seen.add(name)
        if isinstance(value, dict):
            extra = schema.get("additionalProperties")
            for key, part in (schema.get("properties") or dict.fromkeys(value, extra or {})).items():
                if where or key not in SKIPPED:
                    yield from self._field(part, value.get(key, GONE), (*where, key))
        elif isinstance(value, list):
            for number, item in enumerate(value):
                yield from self.changes(schema.get("items", {}), item, (*where, number))

    def _field(self, schema: Schema, value: Any, where: tuple[str | int, ...]) -> Iterator[Change]:
        if value is not GONE:
            yield where, GONE
            yield where, None
        yield from ((where, odd) for odd in self.odd(schema, value))
        present = self.sample(schema) if value is GONE else value
        if value is GONE:
            yield where, present
        for place, odd in self.changes(schema, present, where):
            if value is GONE:  # the whole of it goes in with its change
                yield where, with_change({"x": present}, ("x", *place[len(where) :]), odd)["x"]
            else:
                yield place, odd

    def odd(self, schema: Schema, value: Any) -> Iterator[Any]:
        schema, name = self.resolved(schema)
        kind = schema.get("type")
        if name == QUANTITY:
            yield from QUANTITIES
        elif schema.get("format") == "int-or-string":
            yield from EITHER
        elif "Time" in name or schema.get("format") == "date-time":
            yield from TIMES
        elif kind == "string":
            yield from (*STRINGS, *schema.get("enum", ()), 7)
        elif kind == "integer":
            yield from (*INTEGERS, "x")
        elif kind == "boolean":
            yield from (True, False, "x")
        elif kind == "array":
            item = value[0] if isinstance(value, list) and value else self.sample(schema["items"])
            yield from ([], [item, item], [None], [item] * 40, "x")
            yield [{}] if isinstance(item, dict) else ["", "Odd", "a b/_"]
        elif kind == "object" and "properties" not in schema:
            item = self.sample(schema.get("additionalProperties") or {})
            yield from ({}, {"a b": item}, {"": item}, {"ok": item}, {"v" * 300: item}, {"a.b/c": item}, "x")
        else:
            yield from ({}, 7)

    def sample(self, schema: Schema) -> Any:
        schema, name = self.resolved(schema)
        kind = schema.get("type")
        if name == QUANTITY:
            return "1"
        if schema.get("format") == "date-time":
            return "2024-01-01T00:00:00.000000Z" if "Micro" in name else TIMES[1]
        if kind == "object":
            properties = schema.get("properties")
            if properties is None:
                return {"k": self.sample(schema["additionalProperties"])} if "additionalProperties" in schema else {}
            return {key: self.sample(properties[key]) for key in schema.get("required", ())}
        if kind == "array":
            return [self.sample(schema["items"])]
        if kind == "string":
            return (schema.get("enum") or ["x"])[0]
        return {"boolean": True}.get(kind or "", 1)


def with_change(obj: Any, where: tuple[str | int, ...], value: Any) -> Any:
    changed = copy.deepcopy(obj)
    place = changed
    for part in where[:-1]:
        place = place[part]
    if value is GONE:
        if isinstance(place, list):
            place.pop(int(where[-1]))
        else:
            place.pop(where[-1], None)
    else:
        place[where[-1]] = copy.deepcopy(value)
    return changed


def compact(obj: Any) -> str:
    """As Go would print it: free-form parts are kept, and compared, as the text that they came as."""
    return json.dumps(obj, separators=(",", ":"), sort_keys=True)


def good_objects(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    text = BASES.read_text().replace("NS", NS).replace("walked", RUN)  # what has no namespace must not be there yet
    for number in ("7.7", "8.8"):
        text = text.replace(f"10.97.{number}", f"10.97.{number[0]}.{os.getpid() % 250 + 1}")
    text = text.replace("317", f"3{os.getpid() % 20:02}")  # node ports
    document = yaml.safe_load(text)
    for path, obj in document.items():
        if kind in path:
            yield path.split("#")[0], obj


def schemas_of(peer: Server, path: str) -> tuple[dict[str, Schema], dict[str, str], set[str]]:
    """(schemas, their names by kind, which subresources there are) of the group version that serves a path."""
    prefix = "/".join(path.split("/")[1 : 3 if path.startswith("/api/") else 4])
    schemas = json.loads(peer.send(Case("", "GET", f"/openapi/v3/{prefix}")).body)["components"]["schemas"]
    found = json.loads(peer.send(Case("", "GET", f"/{prefix}")).body)["resources"]
    version, group = prefix.split("/")[-1], "" if prefix.startswith("api/") else prefix.split("/")[1]
    names = {
        k["kind"]: name
        for name, schema in schemas.items()
        for k in schema.get("x-kubernetes-group-version-kind", ())
        if (k["group"], k["version"]) == (group, version)
    }
    by_resource = {r["name"]: names.get(r["kind"], "") for r in found}
    kinds = {r["name"]: r["kind"] for r in found}
    return schemas, by_resource, {f"{n}={kinds[n]}" for n in kinds}


Job = tuple[str, str, list[Case]]


class Plan:
    """The requests of one good object."""

    def __init__(self, peer: Server, path: str, obj: dict[str, Any]) -> None:
        self.path, self.collection = path, path.rsplit("/", 1)[1]
        schemas, self._names, resources = schemas_of(peer, path)
        self._kinds = dict(r.split("=") for r in resources)
        version = "/".join(path.split("/")[2:3] if path.startswith("/api/") else path.split("/")[2:4])
        self.obj = {"apiVersion": version, "kind": self._kinds[self.collection], **obj}
        self.schema = {"$ref": f"#/{self._names[self.collection]}"}
        self.walker = Walker(schemas, self.collection)
        self.name = obj["metadata"].get("name", "")
        self.versioned = False
        """Whether updates must say which version they change."""

    def set_up(self, comparison: Comparison) -> None:
        """Makes the good object on both servers."""
        if not self.name:
            return
        item = f"{self.path}/{self.name}"
        self._must(comparison, post(f"{self.path} good", self.path, compact(self.obj)))
        time.sleep(SETTLED if self.collection in SELF_WRITTEN else 0)
        version = {"version": "metadata.resourceVersion"}
        comparison.compare(Case(f"{self.path} read", "GET", item, status_only=True, remember=version))
        self.versioned = comparison.compare(put(f"{self.path} update", item + "?dryRun=All", compact(self.obj))) == 422
        if f"{self.collection}/status" in self._kinds:
            self._must(comparison, put(f"{self.path} good status", f"{item}/status", self._sendable(self.obj)))
            time.sleep(SETTLED if self.collection in SELF_WRITTEN else 0)
            comparison.compare(Case(f"{self.path} read", "GET", item, status_only=True, remember=version))

        comparison.compare(Case(f"{self.path} table", "GET", item, None, {"Accept": TABLE}))

    @staticmethod
    def _must(comparison: Comparison, case: Case) -> None:
        if (status := comparison.compare(case)) not in (200, 201):
            print(f"{case.name}: the peer says {status}", file=sys.stderr)

    def tear_down(self, comparison: Comparison) -> None:
        if self.name:
            gone = Case(f"{self.path} gone", "DELETE", f"{self.path}/{self.name}", status_only=True)
            comparison.compare(gone)

    def _sendable(self, obj: Any) -> str:
        """For an update."""
        if self.versioned and isinstance(obj.get("metadata"), dict) and "resourceVersion" not in obj["metadata"]:
            obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": "{version}"}}
        return compact(obj)

    def cases(self, pairs: int, verb: str) -> Iterator[Case]:
        changes = list(self.walker.changes(self.schema, self.obj))
        for number, (where, value) in enumerate(changes):
            shown = "-" if value is GONE else json.dumps(value)[:60]
            label = f"{'.'.join(map(str, where))}={shown}"
            changed = with_change(self.obj, where, value)
            yield from self._sent(label, changed, where, number, verb)
        seeded = random.Random(self.path)
        for number in range(pairs if len(changes) > 1 else 0):
            changed = self.obj
            picked = seeded.sample(changes, 2)
            try:
                for where, value in picked:
                    changed = with_change(changed, where, value)
            except (KeyError, TypeError, IndexError):
                continue  # the first took away where the second was
            label = " & ".join(".".join(map(str, where)) for where, _ in picked)
            yield from self._sent(f"pair {label}", changed, picked[0][0], number, verb)

    def _sent(self, label: str, obj: Any, where: tuple[Any, ...], number: int, verb: str) -> Iterator[Case]:
        item, status = f"{self.path}/{self.name}", f"{self.collection}/status" in self._kinds
        if verb in ("", "create") and where[0] != "status":
            fresh = copy.deepcopy(obj)
            if self.name and isinstance(fresh.get("metadata"), dict) and fresh["metadata"].get("name") == self.name:
                fresh["metadata"]["name"] = self._other_name()
            yield post(f"{self.path} create {label}", f"{self.path}?dryRun=All&fieldValidation=Strict", compact(fresh))
        if not self.name:
            return
        if verb in ("", "update") and where[0] != "status":
            yield put(f"{self.path} update {label}", f"{item}?dryRun=All", self._sendable(obj))
        if verb in ("", "status") and status and (where[0] in ("status", "metadata")):
            yield put(f"{self.path} status {label}", f"{item}/status?dryRun=All", self._sendable(obj))
        if verb in ("", "apply") and number % 3 == 0:
            query = "?dryRun=All&fieldManager=walker&force=true"
            yield Case(f"{self.path} apply {label}", "PATCH", item + query, compact(obj), {"Content-Type": APPLY})

    def _other_name(self) -> str:
        if self.collection == "ipaddresses":
            return "10.97.8.9"
        if self.collection in ("apiservices", "customresourcedefinitions"):
            return self.name  # made of other fields, which have their turn
        return f"{self.name}-new"


class Comparison:
    """Sends cases to both servers, from a few threads, and keeps what differs."""

    def __init__(self, ours: str, peer: str) -> None:
        self._files = (ours, peer)
        self._remembered: tuple[dict[str, str], dict[str, str]] = ({}, {})
        self._local = threading.local()
        self.sent = self.blamed = 0
        self.groups: dict[str, list[tuple[str, list[str]]]] = defaultdict(list)
        self._lock = threading.Lock()

    def pair(self) -> tuple[Server, Server]:
        if not hasattr(self._local, "pair"):
            self._local.pair = (Server(self._files[0]), Server(self._files[1]))
            for server, remembered in zip(self._local.pair, self._remembered, strict=True):
                server.remembered = remembered
        found: tuple[Server, Server] = self._local.pair
        return found

    def compare(self, case: Case) -> int:
        """The peer's status."""
        ours, peer = self.pair()
        theirs = peer.send(case)
        a, b = lines_of(case, ours.send(case)), lines_of(case, theirs)
        with self._lock:
            self.sent += 1
            if a == b:
                return theirs.status
            if theirs.status == 500 and a[0].startswith("status 4"):
                self.blamed += 1
                return theirs.status
            difference = list(difflib.unified_diff(b, a, "peer", "ours", lineterm="", n=2))[2:]
            self.groups[signature(case, difference)].append((case.name, difference))
            return theirs.status


def signature(case: Case, difference: list[str]) -> str:
    """What is alike of differences that have one cause: the collection, the verb, the changed lines without their numbers."""
    collection, verb = case.name.split()[:2]
    changed = [line for line in difference if line[0] in "+-"]
    plain = "\n".join(re.sub(r"\[\d+\]", "[]", re.sub(r'"v{20,}"', '"v"', line)) for line in changed)
    return f"{collection.rsplit('/', 1)[1]} {verb}\n{plain}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours")
    parser.add_argument("peer")
    parser.add_argument("--kind", default="", help="only collections with this in their path")
    parser.add_argument("--verb", default="", choices=["", "create", "update", "status", "apply"])
    parser.add_argument("--pairs", type=int, default=0, help="objects with two changes, a kind")
    parser.add_argument("--show", type=int, default=30, help="lines of each difference")
    parser.add_argument("--json", default="", help="write the differences here")
    arguments = parser.parse_args()
    comparison = Comparison(arguments.ours, arguments.peer)
    for case in (
        post("setup namespace", "/api/v1/namespaces", {"metadata": {"name": NS}}),
        post("setup account", f"/api/v1/namespaces/{NS}/serviceaccounts", {"metadata": {"name": "default"}}),
    ):
        comparison.compare(case)
    with ThreadPoolExecutor(3) as threads:
        for path, obj in good_objects(arguments.kind):
            plan = Plan(comparison.pair()[1], path, obj)
            before = comparison.sent, sum(map(len, comparison.groups.values()))
            plan.set_up(comparison)
            for _ in threads.map(comparison.compare, plan.cases(arguments.pairs, arguments.verb)):
                pass
            plan.tear_down(comparison)
            different = sum(map(len, comparison.groups.values())) - before[1]
            print(f"{path}: {comparison.sent - before[0]} requests, {different} differ", file=sys.stderr)
    report(comparison, arguments)


def report(comparison: Comparison, arguments: argparse.Namespace) -> None:
    for found in sorted(comparison.groups.values(), key=lambda group: -len(group)):
        name, difference = found[0]
        print(f"\n## {len(found)}x {name}")
        print("\n".join(difference[: arguments.show]))
    different = sum(map(len, comparison.groups.values()))
    print(
        f"\n{comparison.sent} requests, {different} answered differently in {len(comparison.groups)} groups; "
        f"{comparison.blamed} more with 4xx for the peer's 500",
        file=sys.stderr,
    )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(list(comparison.groups.values()), indent=1) + "\n")
    raise SystemExit(1 if different else 0)


if __name__ == "__main__":
    main()
