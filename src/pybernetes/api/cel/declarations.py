"""Every function that expressions may call: its overloads by type, and what runs it.

The table is that of a v1.36 server: the language's standard functions and the libraries that its base environment adds.
An overload is ``id: receiver.(arguments) -> result`` or ``id: (arguments) -> result``; T, K and V are type parameters.
Ids matter where costs differ by overload.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from . import celtypes as t
from . import kubernetes, lists, operators, texts, values


@dataclass(frozen=True, slots=True)
class Overload:
    id: str
    member: bool
    arguments: tuple[t.Type, ...]
    """The receiver first, for members."""
    result: t.Type


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    overloads: tuple[Overload, ...]
    run: Callable[..., Any]


_ORDERED = ("bool", "int64", "uint64", "double", "string", "bytes", "timestamp", "duration")
_TYPE_OF = {"int64": "int", "uint64": "uint"}


def _comparisons(name: str) -> str:
    lines = [f"{name}_{k}: ({_TYPE_OF.get(k, k)}, {_TYPE_OF.get(k, k)}) -> bool" for k in _ORDERED]
    numbers = ("int64", "uint64", "double")
    lines += [
        f"{name}_{a}_{b}: ({_TYPE_OF.get(a, a)}, {_TYPE_OF.get(b, b)}) -> bool"
        for a in numbers
        for b in numbers
        if a != b
    ]
    return "\n".join(lines)


def _each(template: str, *kinds: str) -> str:
    return "\n".join(template.replace("$", kind) for kind in kinds)


_COMPARABLE = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_SUMMABLE = ("int", "uint", "double", "duration")
_URL, _IP, _CIDR = "kubernetes.URL", "net.IP", "net.CIDR"
_QUANTITY, _SEMVER, _FORMAT = "kubernetes.Quantity", "kubernetes.Semver", "kubernetes.NamedFormat"

_TABLE: dict[str, tuple[str, Callable[..., Any]]] = {
    # operators
    "!_": ("logical_not: (bool) -> bool", operators.logical_not),
    "-_": ("negate_int64: (int) -> int\nnegate_double: (double) -> double", operators.negate),
    "_==_": ("equals: (T, T) -> bool", values.equal),
    "_!=_": ("not_equals: (T, T) -> bool", operators.not_equal),
    "_<_": (_comparisons("less"), operators.less),
    "_<=_": (_comparisons("less_equals"), operators.less_equal),
    "_>_": (_comparisons("greater"), operators.greater),
    "_>=_": (_comparisons("greater_equals"), operators.greater_equal),
    "_+_": (
        """add_bytes: (bytes, bytes) -> bytes
        add_double: (double, double) -> double
        add_duration_duration: (duration, duration) -> duration
        add_duration_timestamp: (duration, timestamp) -> timestamp
        add_timestamp_duration: (timestamp, duration) -> timestamp
        add_int64: (int, int) -> int
        add_list: (list(T), list(T)) -> list(T)
        add_string: (string, string) -> string
        add_uint64: (uint, uint) -> uint""",
        operators.add,
    ),
    "_-_": (
        """subtract_double: (double, double) -> double
        subtract_duration_duration: (duration, duration) -> duration
        subtract_int64: (int, int) -> int
        subtract_timestamp_duration: (timestamp, duration) -> timestamp
        subtract_timestamp_timestamp: (timestamp, timestamp) -> duration
        subtract_uint64: (uint, uint) -> uint""",
        operators.subtract,
    ),
    "_*_": (_each("multiply_$: ($, $) -> $", "double", "int", "uint"), operators.multiply),
    "_/_": (_each("divide_$: ($, $) -> $", "double", "int", "uint"), operators.divide),
    "_%_": (_each("modulo_$: ($, $) -> $", "int", "uint"), operators.modulo),
    "@in": ("in_list: (T, list(T)) -> bool\nin_map: (K, map(K, V)) -> bool", operators.is_in),
    "_[_]": (
        """index_list: (list(T), int) -> T
        index_map: (map(K, V), K) -> V
        optional_list_index_int: (optional(list(V)), int) -> optional(V)
        optional_map_index_value: (optional(map(K, V)), K) -> optional(V)""",
        operators.index,
    ),
    "_[?_]": (
        """list_optindex_optional_int: (list(V), int) -> optional(V)
        optional_list_optindex_optional_int: (optional(list(V)), int) -> optional(V)
        map_optindex_optional_value: (map(K, V), K) -> optional(V)
        optional_map_optindex_optional_value: (optional(map(K, V)), K) -> optional(V)""",
        operators.optional_index,
    ),
    # standard functions
    "size": (
        "\n".join(
            f"size_{k}: ({s}) -> int\n{k}_size: {s}.() -> int"
            for k, s in (("bytes", "bytes"), ("list", "list(T)"), ("map", "map(K, V)"), ("string", "string"))
        ),
        operators.size,
    ),
    "startsWith": ("starts_with_string: string.(string) -> bool", operators.starts_with),
    "endsWith": ("ends_with_string: string.(string) -> bool", operators.ends_with),
    "contains": ("contains_string: string.(string) -> bool", operators.text_contains),
    "matches": ("matches: (string, string) -> bool\nmatches_string: string.(string) -> bool", operators.matches),
    "type": ("type: (T) -> type(T)", operators.type_of),
    "dyn": ("to_dyn: (T) -> dyn", operators.dyn),
    "bool": ("bool_to_bool: (bool) -> bool\nstring_to_bool: (string) -> bool", operators.to_bool),
    "bytes": ("bytes_to_bytes: (bytes) -> bytes\nstring_to_bytes: (string) -> bytes", operators.to_bytes),
    "double": (_each("$_to_double: ($) -> double", "double", "int", "string", "uint"), operators.to_double),
    "duration": (_each("$_to_duration: ($) -> duration", "duration", "int", "string"), operators.to_duration),
    "int": (
        _each("$_to_int: ($) -> int", "int", "double", "duration", "string", "timestamp", "uint"),
        operators.to_int,
    ),
    "uint": (_each("$_to_uint: ($) -> uint", "uint", "double", "int", "string"), operators.to_uint),
    "string": (
        _each(
            "$_to_string: ($) -> string",
            *("string", "bool", "bytes", "double", "duration", "int", "timestamp", "uint"),
        )
        + f"\nip_to_string: ({_IP}) -> string\ncidr_to_string: ({_CIDR}) -> string",
        operators.to_string,
    ),
    "timestamp": (_each("$_to_timestamp: ($) -> timestamp", "timestamp", "int", "string"), operators.to_timestamp),
    # strings
    "charAt": ("string_char_at_int: string.(int) -> string", texts.char_at),
    "indexOf": (
        """string_index_of_string: string.(string) -> int
        string_index_of_string_int: string.(string, int) -> int
        list_a_index_of_int: list(T).(T) -> int""",
        texts.index_of,
    ),
    "lastIndexOf": (
        """string_last_index_of_string: string.(string) -> int
        string_last_index_of_string_int: string.(string, int) -> int
        list_a_last_index_of_int: list(T).(T) -> int""",
        texts.last_index_of,
    ),
    "lowerAscii": ("string_lower_ascii: string.() -> string", texts.lower_ascii),
    "upperAscii": ("string_upper_ascii: string.() -> string", texts.upper_ascii),
    "replace": (
        """string_replace_string_string: string.(string, string) -> string
        string_replace_string_string_int: string.(string, string, int) -> string""",
        texts.replace,
    ),
    "split": (
        """string_split_string: string.(string) -> list(string)
        string_split_string_int: string.(string, int) -> list(string)""",
        texts.split,
    ),
    "substring": (
        """string_substring_int: string.(int) -> string
        string_substring_int_int: string.(int, int) -> string""",
        texts.substring,
    ),
    "trim": ("string_trim: string.() -> string", texts.trim),
    "format": ("string_format: string.(list(dyn)) -> string", texts.format_text),
    "strings.quote": ("strings_quote: (string) -> string", texts.quote),
    "join": (
        "list_join: list(string).() -> string\nlist_join_string: list(string).(string) -> string",
        texts.join,
    ),
    "find": ("string_find_string: string.(string) -> string", texts.find),
    "findAll": (
        """string_find_all_string: string.(string) -> list(string)
        string_find_all_string_int: string.(string, int) -> list(string)""",
        texts.find_all,
    ),
    # lists and sets
    "isSorted": (_each("list_$_is_sorted_bool: list($).() -> bool", *_COMPARABLE), lists.is_sorted),
    "sum": (_each("list_$_sum_$: list($).() -> $", *_SUMMABLE), lists.total),
    "min": (_each("list_$_min_$: list($).() -> $", *_COMPARABLE), lists.smallest),
    "max": (_each("list_$_max_$: list($).() -> $", *_COMPARABLE), lists.largest),
    "slice": ("list_slice: list(T).(int, int) -> list(T)", lists.cut),
    "flatten": (
        "list_flatten: list(list(T)).() -> list(T)\nlist_flatten_int: list(dyn).(int) -> list(dyn)",
        lists.flatten,
    ),
    "sort": (_each("list_$_sort: list($).() -> list($)", *_COMPARABLE), lists.ordered),
    "lists.range": ("lists_range: (int) -> list(int)", lists.count_to),
    "reverse": ("list_reverse: list(T).() -> list(T)", lists.reverse),
    "distinct": ("list_distinct: list(T).() -> list(T)", lists.distinct),
    "sets.contains": ("list_sets_contains_list: (list(T), list(T)) -> bool", lists.sets_contains),
    "sets.equivalent": ("list_sets_equivalent_list: (list(T), list(T)) -> bool", lists.sets_equivalent),
    "sets.intersects": ("list_sets_intersects_list: (list(T), list(T)) -> bool", lists.sets_intersects),
    # optionals
    "optional.of": ("optional_of: (V) -> optional(V)", lists.optional_of),
    "optional.ofNonZeroValue": ("optional_ofNonZeroValue: (V) -> optional(V)", lists.optional_of_non_zero),
    "optional.none": ("optional_none: () -> optional(V)", lists.optional_none),
    "value": ("optional_value: optional(V).() -> V", lists.value_of),
    "hasValue": ("optional_hasValue: optional(V).() -> bool", lists.has_value),
    "or": ("optional_or_optional: optional(V).(optional(V)) -> optional(V)", lists.or_else),
    "orValue": ("optional_orValue_value: optional(V).(V) -> V", lists.or_value),
    # Kubernetes
    "url": (f"string_to_url: (string) -> {_URL}", kubernetes.parse_url),
    "isURL": ("is_url_string: (string) -> bool", kubernetes.is_url),
    "getScheme": (f"url_get_scheme: {_URL}.() -> string", kubernetes.url_scheme),
    "getHost": (f"url_get_host: {_URL}.() -> string", kubernetes.url_host),
    "getHostname": (f"url_get_hostname: {_URL}.() -> string", kubernetes.url_hostname),
    "getPort": (f"url_get_port: {_URL}.() -> string", kubernetes.url_port),
    "getEscapedPath": (f"url_get_escaped_path: {_URL}.() -> string", kubernetes.url_path),
    "getQuery": (f"url_get_query: {_URL}.() -> map(string, list(string))", kubernetes.url_query),
    "ip": (f"string_to_ip: (string) -> {_IP}\ncidr_ip: {_CIDR}.() -> {_IP}", kubernetes.parse_ip),
    "isIP": ("is_ip: (string) -> bool", kubernetes.is_ip),
    "ip.isCanonical": ("ip_is_canonical: (string) -> bool", kubernetes.is_canonical),
    "family": (f"ip_family: {_IP}.() -> int", kubernetes.family),
    "isUnspecified": (f"ip_is_unspecified: {_IP}.() -> bool", kubernetes.is_unspecified),
    "isLoopback": (f"ip_is_loopback: {_IP}.() -> bool", kubernetes.is_loopback),
    "isLinkLocalMulticast": (f"ip_is_link_local_multicast: {_IP}.() -> bool", kubernetes.is_link_local_multicast),
    "isLinkLocalUnicast": (f"ip_is_link_local_unicast: {_IP}.() -> bool", kubernetes.is_link_local_unicast),
    "isGlobalUnicast": (f"ip_is_global_unicast: {_IP}.() -> bool", kubernetes.is_global_unicast),
    "cidr": (f"string_to_cidr: (string) -> {_CIDR}", kubernetes.parse_cidr),
    "isCIDR": ("is_cidr: (string) -> bool", kubernetes.is_cidr),
    "containsIP": (
        f"cidr_contains_ip_string: {_CIDR}.(string) -> bool\ncidr_contains_ip_ip: {_CIDR}.({_IP}) -> bool",
        kubernetes.contains_ip,
    ),
    "containsCIDR": (
        f"cidr_contains_cidr_string: {_CIDR}.(string) -> bool\ncidr_contains_cidr: {_CIDR}.({_CIDR}) -> bool",
        kubernetes.contains_cidr,
    ),
    "prefixLength": (f"cidr_prefix_length: {_CIDR}.() -> int", kubernetes.prefix_length),
    "masked": (f"cidr_masked: {_CIDR}.() -> {_CIDR}", kubernetes.masked),
    "quantity": (f"string_to_quantity: (string) -> {_QUANTITY}", kubernetes.parse_cel_quantity),
    "isQuantity": ("is_quantity_string: (string) -> bool", kubernetes.is_quantity),
    "sign": (f"quantity_sign: ({_QUANTITY}) -> int", kubernetes.sign),
    "isInteger": (f"quantity_is_integer: {_QUANTITY}.() -> bool", kubernetes.is_integer),
    "asInteger": (f"quantity_get_int: {_QUANTITY}.() -> int", kubernetes.as_integer),
    "asApproximateFloat": (f"quantity_get_float: {_QUANTITY}.() -> double", kubernetes.as_float),
    "add": (
        f"quantity_add: {_QUANTITY}.({_QUANTITY}) -> {_QUANTITY}\nquantity_add_int: {_QUANTITY}.(int) -> {_QUANTITY}",
        kubernetes.quantity_add,
    ),
    "sub": (
        f"quantity_sub: {_QUANTITY}.({_QUANTITY}) -> {_QUANTITY}\nquantity_sub_int: {_QUANTITY}.(int) -> {_QUANTITY}",
        kubernetes.quantity_sub,
    ),
    "isGreaterThan": (_each("$_gt: $.($) -> bool", _QUANTITY, _SEMVER), kubernetes.is_greater_than),
    "isLessThan": (_each("$_lt: $.($) -> bool", _QUANTITY, _SEMVER), kubernetes.is_less_than),
    "compareTo": (_each("$_cmp: $.($) -> int", _QUANTITY, _SEMVER), kubernetes.compare_to),
    "semver": (
        f"string_to_semver: (string) -> {_SEMVER}\nstring_bool_to_semver: (string, bool) -> {_SEMVER}",
        kubernetes.parse_semver,
    ),
    "isSemver": (
        "is_semver_string: (string) -> bool\nis_semver_string_bool: (string, bool) -> bool",
        kubernetes.is_semver,
    ),
    "major": (f"semver_major: {_SEMVER}.() -> int", kubernetes.major),
    "minor": (f"semver_minor: {_SEMVER}.() -> int", kubernetes.minor),
    "patch": (f"semver_patch: {_SEMVER}.() -> int", kubernetes.patch),
    "format.named": (f"format-named: (string) -> optional({_FORMAT})", kubernetes.format_named),
    "validate": (f"format-validate: {_FORMAT}.(string) -> optional(list(string))", kubernetes.validate),
}
for _name, _get in operators.PARTS.items():
    _spans = _name in ("getHours", "getMinutes", "getSeconds", "getMilliseconds")
    _rows = f"{_name}: timestamp.() -> int\n{_name}_tz: timestamp.(string) -> int"
    _TABLE[_name] = (_rows + (f"\n{_name}_d: duration.() -> int" if _spans else ""), _get)
for _name, _format in kubernetes.FORMATS.items():
    _TABLE[f"format.{_name}"] = (f"format.{_name}: () -> {_FORMAT}", lambda made=_format: made)

_LINE = re.compile(r"(?P<id>[^:]+): (?:(?P<receiver>[^ ].*?)\.)?\((?P<args>.*)\) -> (?P<result>.+)")


def _overload(line: str) -> Overload:
    match = _LINE.fullmatch(line.strip())
    if match is None:
        raise ValueError(line)
    given = [match["receiver"]] if match["receiver"] else []
    given += _split(match["args"])
    return Overload(match["id"], bool(match["receiver"]), tuple(map(t.parse, given)), t.parse(match["result"]))


def _split(args: str) -> list[str]:
    """At the commas outside of brackets."""
    parts, depth, last = [], 0, 0
    for at, char in enumerate(args):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(args[last:at].strip())
            last = at + 1
    tail = args[last:].strip()
    return [*parts, tail] if tail else parts


def declare(name: str, rows: str, run: Callable[..., Any]) -> Function:
    return Function(name, tuple(_overload(line) for line in rows.split("\n")), run)


@cache
def json_patch() -> Mapping[str, Function]:
    """What mutating admission policies have besides."""
    rows = "string_jsonpatch_escapeKey_string: (string) -> string"
    return {**standard(), "jsonpatch.escapeKey": declare("jsonpatch.escapeKey", rows, texts.escape_key)}


@cache
def standard() -> Mapping[str, Function]:
    """The functions of a server's base environment."""
    return {name: declare(name, rows, run) for name, (rows, run) in _TABLE.items()}
