"""Words that are no identifiers in CEL, apart from its package: what only checks names does not load the language."""

from __future__ import annotations

RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
"""Words that the language keeps for itself and that are no identifiers."""
KEYWORDS = RESERVED | {"true", "false", "null", "in"}
"""What no name of a variable or field may be."""
