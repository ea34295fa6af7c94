"""YAML bodies, read and written as upstream's (Go's YAML 1.1, by way of JSON): no dates, ``y`` is true, keys are text."""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson

_TEXT = "tag:yaml.org,2002:str"


class YamlError(ValueError):
    """What is no YAML, or nothing that JSON could hold."""


@cache
def _loader() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc]
        yaml_implicit_resolvers = {
            first: [(tag, pattern) for tag, pattern in rules if tag != "tag:yaml.org,2002:timestamp"]
            for first, rules in base.yaml_implicit_resolvers.items()
        }

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            self.flatten_mapping(node)
            found: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key = _key(self.construct_object(key_node, deep=True))
                if key in found:
                    self.duplicates.append(f'line {key_node.start_mark.line + 1}: key "{key}" already set in map')
                found[key] = self.construct_object(value_node, deep=True)
            return found

    import re

    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^[yYnN]$"), list("yYnN"))

    def boolean(loader: Any, node: Any) -> bool:
        return loader.construct_scalar(node).lower() in ("y", "yes", "on", "true")

    def mapping(loader: Any, node: Any) -> Any:
        return loader.construct_mapping(node)

    Loader.add_constructor("tag:yaml.org,2002:bool", boolean)
    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    return Loader


def _key(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise YamlError(f"unsupported map key of type: {type(value).__name__}")


def load(body: bytes) -> tuple[Any, list[str]]:
    """(value, duplicate keys in upstream's words). Raises YamlError."""
    import yaml

    try:
        loader = _loader()(body)
        loader.duplicates = []
        try:
            value = loader.get_single_data()
            orjson.dumps(value)  # the value must fit JSON: no binary, no sets, no loops
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as failure:
        line = failure.problem_mark.line if failure.problem_mark is not None else 0
        raise YamlError(f"yaml: line {line}: {failure.problem}") from failure
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as failure:
        raise YamlError(f"yaml: {failure}") from failure
    return value, loader.duplicates


_BOOLEANS = frozenset(("y", "Y", "n", "N"))
"""Booleans to YAML 1.1 readers, though not to PyYAML."""


@cache
def _dumper() -> Any:
    import yaml

    base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc]
        pass

    resolver = yaml.resolver.Resolver()

    def text(dumper: Any, value: str) -> Any:
        if "\n" in value:
            return dumper.represent_scalar(_TEXT, value, style="|")
        # Double quotes around text that would otherwise be read as something else.
        plain = value not in _BOOLEANS and resolver.resolve(yaml.ScalarNode, value, (True, False)) == _TEXT
        return dumper.represent_scalar(_TEXT, value, style=None if plain else '"')

    Dumper.add_representer(str, text)
    return Dumper


def dump(value: Any) -> bytes:
    import yaml

    text: bytes = yaml.dump(value, Dumper=_dumper(), encoding="utf-8", allow_unicode=True, width=1 << 30)
    return text
