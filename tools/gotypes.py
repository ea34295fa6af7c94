"""Extracts the facts of upstream's API types: JSON names, types, emptiness rules, protobuf numbers, merge rules.

    python tools/gotypes.py PATH-OF-A-KUBERNETES-TREE [OUTPUT.json.gz]

The result (``src/pybernetes/api/data/gotypes.json.gz``) is what the schema engine and the protobuf codec are compiled from:
``structs`` (fields by type name), ``named`` (what a named type stands for), ``atomic`` (structs that are merged as one
value), ``enums`` (values of named strings), ``groups`` (API group of a package). A field is ``[json name, type, flags, protobuf number, wire type, extras]``;
flags: ``o`` omitempty, ``z`` omitzero, ``i`` inlined; extras (may be absent): ``default``, ``list``, ``keys``, ``map``,
``strategy``, ``key``. Types and numbers come from the Go tree, the merge rules from the package kubernetes-validate.
Only names, numbers and types are taken.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate

BUILTIN = {"string", "bool", "int", "int32", "int64", "uint8", "uint32", "uint64", "float32", "float64", "byte", "any"}
ROOTS = {
    "k8s.io/api": "io.k8s.api",
    "k8s.io/apimachinery": "io.k8s.apimachinery",
    "k8s.io/apiextensions-apiserver": "io.k8s.apiextensions-apiserver",
    "k8s.io/kube-aggregator": "io.k8s.kube-aggregator",
}
PACKAGES = (
    "apimachinery/pkg/apis/meta/v1",
    "apimachinery/pkg/runtime",
    "apimachinery/pkg/types",
    "apiextensions-apiserver/pkg/apis/apiextensions/v1",
    "kube-aggregator/pkg/apis/apiregistration/v1",
)
SPECIAL = {
    "k8s.io/apimachinery/pkg/apis/meta/v1.Time": "time",
    "k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime": "microtime",
    "k8s.io/apimachinery/pkg/apis/meta/v1.Duration": "duration",
    "k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1": "fieldsv1",
    "k8s.io/apimachinery/pkg/api/resource.Quantity": "quantity",
    "k8s.io/apimachinery/pkg/util/intstr.IntOrString": "intorstring",
    "k8s.io/apimachinery/pkg/runtime.RawExtension": "raw",
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSON": "json",
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrArray": "schemaorarray",
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrBool": "schemaorbool",
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrStringArray": "schemaorstrings",
}
BORROWED = {"io.k8s.api.discovery.v1.AddressType": ["FQDN", "IPv4", "IPv6"]}
"""Enums whose constants are defined by another package's."""
STRUCT = re.compile(r"^type (\w+) struct ?\{(?:$(.*?)^)?\}$", re.M | re.S)
NAMED = re.compile(r"^(?:type |\t)(\w+) (=? ?[\w\[\]*.]+)(?: //.*)?$", re.M)
FIELD = re.compile(r"^\t(?:(\w+)\s+)?([*\[\]\w.]+)\s*`([^`]*)`", re.M)
DEFAULT = re.compile(r"^\t// \+default=(.*)$", re.M)
ENUM = re.compile(r"^// \+enum$(?:\n//.*)*\ntype (\w+) string$", re.M)
CONSTANT = re.compile(r'^(?:const|\t) ?(\w+)(?: +(\w+))? *= *(?:(\w+)\()?("[^"]*")\)?', re.M)


def imports_of(text: str) -> dict[str, str]:
    """alias -> import path"""
    found = {}
    for alias, path in re.findall(r'^(?:import )?\s*(\w+)? ?"([\w./-]+)"$', text, re.M):
        found[alias or path.rsplit("/", 1)[-1]] = path
    return found


def definition(path: str) -> str:
    """``k8s.io/api/core/v1.Pod`` -> ``io.k8s.api.core.v1.Pod``."""
    for root, prefix in ROOTS.items():
        if path.startswith(root + "/"):
            return prefix + path[len(root) :].replace("/", ".")
    return path


def resolve(go_type: str, package: str, imports: dict[str, str]) -> str:
    match = re.fullmatch(r"((?:\*|\[\]|map\[[\w.]+\])*)([\w.]+)", go_type)
    assert match, go_type
    prefix, name = match.groups()
    prefix = re.sub(r"map\[[\w.]+\]", "map:", prefix)
    if name in BUILTIN:
        return prefix + name
    if "." in name:
        alias, _, short = name.partition(".")
        name = f"{imports.get(alias, alias)}.{short}"
    else:
        name = f"{package}.{name}"
    return prefix + SPECIAL.get(name, definition(name))


def default_before(body: str, start: int, constants: dict[str, str]) -> object:
    """The ``+default=`` marker in the comment right above a field."""
    block = body[:start].rstrip("\n").split("\n")
    found = None
    for line in reversed(block):
        if not line.startswith("\t//") and line.strip():
            break
        match = DEFAULT.match(line)
        if match:
            ref = re.fullmatch(r"ref\((\w+)\)", match[1])
            found = constants.get(ref[1]) if ref else json.loads(match[1].replace("`", '"'))
    return found


def fields_of(body: str, package: str, imports: dict[str, str], constants: dict[str, str]) -> list[list[object]]:
    fields = []
    for match in FIELD.finditer(body):
        name, go_type, tags = match.groups()
        tag = dict(re.findall(r'(\w+):"([^"]*)"', tags))
        if "json" not in tag or tag["json"] == "-" or (name and name[0].islower()):
            continue
        json_name, *options = tag["json"].split(",")
        inline = "inline" in options or (not json_name and name is None)
        flags = (
            ("o" if "omitempty" in options else "") + ("z" if "omitzero" in options else "") + ("i" if inline else "")
        )
        wire, number = "", 0
        if "protobuf" in tag and tag["protobuf"] != "-":
            wire, digits, *_ = tag["protobuf"].split(",")
            number = int(digits)
        entry: list[object] = [json_name, resolve(go_type, package, imports), flags, number, wire]
        value = default_before(body, match.start(), constants)
        if value is not None:
            entry.append({"default": value})
        fields.append(entry)
    return fields


def packages(staging: Path) -> list[tuple[str, Path]]:
    found = [(f"k8s.io/api/{p.relative_to(staging / 'api')}", p) for p in sorted((staging / "api").glob("*/v*"))]
    return [(f"k8s.io/{p}", staging / p) for p in PACKAGES] + [f for f in found if "testdata" not in str(f[1])]


def extract(staging: Path) -> dict[str, dict[str, object]]:
    structs: dict[str, object] = {}
    named: dict[str, object] = {}
    aliases: dict[str, str] = {}
    enums: dict[str, object] = {}
    for package, folder in packages(staging):
        for file in sorted(folder.glob("*.go")):
            if file.name.endswith("_test.go") or file.name.startswith(("zz_", "generated", "types_swagger")):
                continue
            text = file.read_text()
            imports = imports_of(text)
            constants = {name: json.loads(value) for name, _, _, value in CONSTANT.findall(text)}
            for name in ENUM.findall(text):
                values = {json.loads(v) for _, type_, cast, v in CONSTANT.findall(text) if name in (type_, cast)}
                enums[definition(f"{package}.{name}")] = sorted(values)
            enums.update(BORROWED)
            for name, body in STRUCT.findall(text):
                fields = fields_of(body, package, imports, constants)
                if (fields or "json:" not in body) and f"{package}.{name}" not in SPECIAL:
                    structs[definition(f"{package}.{name}")] = fields
            for name, target in NAMED.findall(re.sub(r"\(.*?\)", "", text)):
                key = definition(f"{package}.{name}")
                if not name[0].isupper() or key in structs:
                    continue
                bare = target.removeprefix("=").strip()
                if re.fullmatch(r"(?:\*|\[\]|map\[[\w.]+\])*[\w.]+", bare):
                    (aliases if bare != target else named)[key] = resolve(bare, package, imports)
    return {**unalias({"structs": structs, "named": named}, aliases), "enums": enums}


def unalias(facts: dict[str, dict[str, object]], aliases: dict[str, str]) -> dict[str, dict[str, object]]:
    """Replaces ``type A = B`` and struct types made of structs (``type A B``) by what they stand for."""
    structs, named = facts["structs"], facts["named"]
    for name, target in list(named.items()):
        if target in structs or target in SPECIAL.values():
            aliases[name] = str(target)
    for name in aliases:
        named.pop(name, None)
        if aliases[name] in structs:
            structs[name] = structs[aliases[name]]
    text = json.dumps(facts)
    for name, target in aliases.items():
        text = re.sub(rf'((?:\*|\[\]|map:)*){re.escape(name)}"(?!:)', rf'\g<1>{target}"', text)
    return json.loads(text)


def reachable(facts: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    """Drops structs that carry no JSON (options of Go functions) and names nobody uses."""
    structs = {k: v for k, v in facts["structs"].items() if v}
    text = json.dumps(structs)
    named = {k: v for k, v in facts["named"].items() if f'{k}"' in text}
    empty = {k: v for k, v in facts["structs"].items() if not v and f'{k}"' in text}
    enums = {k: v for k, v in facts["enums"].items() if k in named}
    return {"named": named, "structs": {**structs, **empty}, "enums": enums}


EXTRAS = {
    "x-kubernetes-list-type": "list",
    "x-kubernetes-list-map-keys": "keys",
    "x-kubernetes-map-type": "map",
    "x-kubernetes-patch-strategy": "strategy",
    "x-kubernetes-patch-merge-key": "key",
}


def add_merge_rules(facts: dict[str, Any]) -> None:
    """The x-kubernetes-* attributes of the published definitions, laid beside the fields."""
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema/v1.36.0-local"
    definitions = json.loads((folder / "_definitions.json").read_bytes())["$defs"]
    facts["atomic"] = sorted(n for n, d in definitions.items() if d.get("x-kubernetes-map-type") == "atomic")
    for name in facts["structs"]:
        add_to_fields(facts, name, definitions.get(name, {}).get("properties", {}), set())


def add_to_fields(facts: dict[str, Any], name: str, properties: dict[str, Any], seen: set[str]) -> None:
    for entry in facts["structs"][name]:
        if "i" in entry[2] and entry[1].lstrip("*") not in seen:
            add_to_fields(facts, entry[1].lstrip("*"), properties, {*seen, name})
        extras = {
            short: properties.get(entry[0], {})[k] for k, short in EXTRAS.items() if k in properties.get(entry[0], {})
        }
        if extras:
            if len(entry) == 5:
                entry.append({})
            entry[5].update(extras)


def groups(staging: Path) -> dict[str, str]:
    found = {}
    for package, folder in packages(staging):
        register = folder / "register.go"
        match = re.search(r'^const GroupName = "([^"]*)"', register.read_text(), re.M) if register.exists() else None
        if match:
            found[definition(package)] = match[1]
    return found


def main() -> None:
    staging = Path(sys.argv[1]) / "staging/src/k8s.io"
    output = Path(sys.argv[2] if len(sys.argv) > 2 else "src/pybernetes/api/data/gotypes.json.gz")
    facts: dict[str, Any] = dict(reachable(extract(staging)))
    add_merge_rules(facts)
    facts["groups"] = groups(staging)
    raw = json.dumps(facts, separators=(",", ":"), sort_keys=True).encode()
    output.write_bytes(gzip.compress(raw, 9, mtime=0))
    print(len(facts["structs"]), "structs,", len(facts["named"]), "named types,", len(raw), "bytes")


if __name__ == "__main__":
    main()
