"""Formats of names, labels, ports, paths and ids: each function gives the list of what is wrong with a value.

Specified by "Object Names and IDs", "Labels and Selectors" and (for the words) ``apimachinery/pkg/util/validation``.
Lengths are counted in bytes of UTF-8, as upstream counts them.
"""

from __future__ import annotations

import re

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_UNDERSCORE = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = _LABEL + r"(\." + _LABEL + ")*"
_SUBDOMAIN_UNDERSCORE = _LABEL_UNDERSCORE + r"(\." + _LABEL_UNDERSCORE + ")*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_WILDCARD = r"\*\." + _SUBDOMAIN
_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_KEY})?"
_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_PERCENT = "[0-9]+%"
_HEADER = "[-A-Za-z0-9]+"
_ENV_NAME = "[-._a-zA-Z][-._a-zA-Z0-9]*"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_REASON = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"

_RE = {
    pattern: re.compile(pattern)
    for pattern in (
        _LABEL,
        _SUBDOMAIN,
        _SUBDOMAIN_UNDERSCORE,
        _LABEL_1035,
        _WILDCARD,
        _KEY,
        _VALUE,
        _IDENTIFIER,
        _PERCENT,
        _HEADER,
        _ENV_NAME,
        _CONFIG_KEY,
        _HTTP_PATH,
        _REASON,
    )
}
_CASELESS = re.compile(_SUBDOMAIN, re.IGNORECASE | re.ASCII)


def _fits(pattern: str, value: str) -> bool:
    return _RE[pattern].fullmatch(value) is not None


def size(text: str) -> int:
    """Bytes of a text."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def max_length_words(limit: int) -> str:
    return f"must be no more than {limit} characters"


def max_bytes_words(limit: int) -> str:
    """What label keys and values are told; older formats speak of characters and mean the same."""
    return f"must be no more than {limit} bytes"


def regex_words(message: str, pattern: str, *examples: str) -> str:
    if not examples:
        return f"{message} (regex used for validation is '{pattern}')"
    listed = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {listed}regex used for validation is '{pattern}')"


def range_words(low: int, high: int) -> str:
    return f"must be between {low} and {high}, inclusive"


EMPTY_WORDS = "must be non-empty"
NEGATIVE_WORDS = "must be greater than or equal to 0"
IMMUTABLE_WORDS = "field is immutable"


def _checked(value: str, limit: int, pattern: str, message: str, *examples: str) -> list[str]:
    found = [max_length_words(limit)] if size(value) > limit else []
    if not _fits(pattern, value):
        found.append(regex_words(message, pattern, *examples))
    return found


def dns_label_problems(value: str) -> list[str]:
    """DNS-1123 label: names of namespaces, containers, volumes."""
    found = [max_length_words(63)] if size(value) > 63 else []
    if not _fits(_LABEL, value):
        if _fits(_SUBDOMAIN, value):
            found.append("must not contain dots")
        else:
            words = (
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
                "and end with an alphanumeric character"
            )
            found.append(regex_words(words, _LABEL, "my-name", "123-abc"))
    return found


_SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character"
)


def dns_subdomain_problems(value: str) -> list[str]:
    """DNS-1123 subdomain: names of most kinds."""
    return _checked(value, 253, _SUBDOMAIN, _SUBDOMAIN_WORDS, "example.com")


def dns_subdomain_caseless_problems(value: str) -> list[str]:
    found = [max_length_words(253)] if size(value) > 253 else []
    if _CASELESS.fullmatch(value) is None:
        words = (
            "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with an "
            "alphanumeric character"
        )
        found.append(regex_words(words, _SUBDOMAIN, "Example.com"))
    return found


def dns_subdomain_underscore_problems(value: str) -> list[str]:
    words = (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must "
        "start and end with an alphanumeric character"
    )
    return _checked(value, 253, _SUBDOMAIN_UNDERSCORE, words, "example.com")


def dns_1035_label_problems(value: str) -> list[str]:
    """DNS-1035 label: names of services."""
    words = (
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
        "and end with an alphanumeric character"
    )
    return _checked(value, 63, _LABEL_1035, words, "my-name", "abc-123")


def wildcard_subdomain_problems(value: str) -> list[str]:
    words = (
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
        "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
    )
    return _checked(value, 253, _WILDCARD, words, "*.example.com")


_KEY_WORDS = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)


def qualified_name_problems(value: str) -> list[str]:
    """A label or annotation key: an optional DNS subdomain, a slash, a name."""
    parts = value.split("/")
    words = regex_words(_KEY_WORDS, _KEY, "MyName", "my.name", "123-abc")
    found = []
    if len(parts) > 2:
        return [f"a valid label key {words} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    if len(parts) == 2:
        if not parts[0]:
            found.append(f"prefix part {EMPTY_WORDS}")
        else:
            if size(parts[0]) > 253:
                found.append(f"prefix part {max_bytes_words(253)}")
            if not _fits(_SUBDOMAIN, parts[0]):
                found.append(f"prefix part {regex_words(_SUBDOMAIN_WORDS, _SUBDOMAIN, 'example.com')}")
    name = parts[-1]
    if not name:
        found.append(f"name part {EMPTY_WORDS}")
    elif size(name) > 63:
        found.append(f"name part {max_bytes_words(63)}")
    if not _fits(_KEY, name):
        found.append(f"name part {words}")
    return found


def label_value_problems(value: str) -> list[str]:
    words = (
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
        "and end with an alphanumeric character"
    )
    found = [max_bytes_words(63)] if size(value) > 63 else []
    if not _fits(_VALUE, value):
        found.append(regex_words(words, _VALUE, "MyValue", "my_value", "12345"))
    return found


def identifier_problems(value: str) -> list[str]:
    """A C identifier."""
    if _fits(_IDENTIFIER, value):
        return []
    words = (
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric "
        "characters or '_'"
    )
    return [regex_words(words, _IDENTIFIER, "my_name", "MY_NAME", "MyName")]


def port_number_problems(port: int) -> list[str]:
    return [] if 1 <= port <= 65535 else [range_words(1, 65535)]


def user_id_problems(number: int) -> list[str]:
    """User and group ids."""
    return [] if 0 <= number <= 2**31 - 1 else [range_words(0, 2**31 - 1)]


def range_problems(value: int, low: int, high: int) -> list[str]:
    return [] if low <= value <= high else [range_words(low, high)]


_PORT_NAME = re.compile("[-a-z0-9]+")


def port_name_problems(port: str) -> list[str]:
    """An IANA service name."""
    found = [max_length_words(15)] if size(port) > 15 else []
    if not _PORT_NAME.fullmatch(port):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", port):
        found.append("must contain at least one letter (a-z)")
    if "--" in port:
        found.append("must not contain consecutive hyphens")
    if port.startswith("-") or port.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found


def percent_problems(value: str) -> list[str]:
    if _fits(_PERCENT, value):
        return []
    words = "a valid percent string must be a numeric string followed by an ending '%'"
    return [regex_words(words, _PERCENT, "1%", "93%")]


def header_name_problems(value: str) -> list[str]:
    if _fits(_HEADER, value):
        return []
    words = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [regex_words(words, _HEADER, "X-Header-Name")]


def env_name_problems(value: str) -> list[str]:
    """The older, narrower rule of environment variable names (still used for prefixes of resize and file keys)."""
    found = []
    if not _fits(_ENV_NAME, value):
        words = (
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must "
            "not start with a digit"
        )
        found.append(regex_words(words, _ENV_NAME, "my.env-name", "MY_ENV.NAME", "MyEnvName1"))
    return found + _parent_problems(value)


def relaxed_env_name_problems(value: str) -> list[str]:
    found = [] if value else [f"environment variable name {EMPTY_WORDS}"]
    if any(not " " <= c <= "~" or c == "=" for c in value):
        found.append("a valid environment variable name must consist only of printable ASCII characters other than '='")
    return found


def config_key_problems(value: str) -> list[str]:
    """A key of a ConfigMap or Secret."""
    words = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
    found = _checked(value, 253, _CONFIG_KEY, words, "key.name", "KEY_NAME", "key-name")
    return found + _parent_problems(value)


def _parent_problems(value: str) -> list[str]:
    if value in (".", ".."):
        return [f"must not be '{value}'"]
    return ["must not start with '..'"] if value.startswith("..") else []


def path_segment_problems(name: str, prefix: bool = False) -> list[str]:
    """A name that stands in a URL path."""
    if name in (".", "..") and not prefix:
        return [f"may not be '{name}'"]
    return [f"may not contain '{c}'" for c in "/%" if c in name]


def reason_problems(value: str) -> list[str]:
    """A condition's reason."""
    if _fits(_REASON, value):
        return []
    words = (
        "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
        "characters or '_,:', and must end with an alphanumeric character or '_'"
    )
    examples = ("my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB")
    return [regex_words(words, _REASON, *examples)]


def http_path_problems(value: str) -> list[str]:
    return [] if _fits(_HTTP_PATH, value) else [regex_words("Invalid path", _HTTP_PATH)]


_DECIMAL = re.compile("0|-?[1-9][0-9]*")


def decimal_integer_problems(value: str) -> list[str]:
    if not value:
        return [EMPTY_WORDS]
    return [] if _DECIMAL.fullmatch(value) else ["must be a valid decimal integer in canonical form"]
