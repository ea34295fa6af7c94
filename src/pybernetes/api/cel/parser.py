"""Text to syntax tree: a lexer and a precedence-climbing parser with the macros expanded on the way.

Bounded against hostile input: at most 100,000 characters, nesting of at most ``MAX_DEPTH``.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ..cel_words import RESERVED
from . import macros
from .syntax import (
    Call,
    CompileError,
    Expr,
    Ident,
    Issue,
    ListExpr,
    Literal,
    MapExpr,
    Select,
    StructExpr,
    render,
)
from .values import UInt

MAX_LENGTH = 100_000
MAX_DEPTH = 60
"""Nested brackets, ternaries and signs; cel-go allows 250 levels of its grammar, several to a bracket."""

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*)
  | (?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
  | (?P<uint>0x[0-9a-fA-F]+[uU]|\d+[uU])
  | (?P<int>0x[0-9a-fA-F]+|\d+)
  | (?P<string>(?:[bB]?[rR]|[rR]?[bB]|)(?:\"\"\"|'''|"|'))
  | (?P<ident>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<op>&&|\|\||<=|>=|==|!=|\.\?|\[\?|[-+*/%<>!?:.,()\[\]{}])
    """,
    re.X,
)
_EXPECTED = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)
_LEVELS: tuple[dict[str, str], ...] = (
    {"||": "_||_"},
    {"&&": "_&&_"},
    {"<": "_<_", "<=": "_<=_", ">": "_>_", ">=": "_>=_", "==": "_==_", "!=": "_!=_", "in": "@in"},
    {"+": "_+_", "-": "_-_"},
    {"*": "_*_", "/": "_/_", "%": "_%_"},
)


class Token(NamedTuple):
    kind: str
    text: str
    offset: int
    value: Any = None


class _Syntax(Exception):
    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.issue = Issue(offset, message)


def parse(source: str, *, bindings: bool = False) -> Expr:
    """The syntax tree of an expression, with ``cel.bind`` where there are bindings. Raises CompileError."""
    if len(source) > MAX_LENGTH:
        words = f"expression code point size exceeds limit: size: {len(source)}, limit {MAX_LENGTH}"
        raise CompileError(f"ERROR: <input>:-1:0: {words}")
    try:
        return _Parser(_tokens(source), len(source), bindings).whole()
    except _Syntax as failure:
        raise CompileError(render([failure.issue], source)) from None
    except RecursionError:
        raise CompileError(render([Issue(0, "expression recursion limit exceeded: 250")], source)) from None


# -- lexer -----------------------------------------------------------------------------------------------------------


def _tokens(source: str) -> list[Token]:
    tokens: list[Token] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise _Syntax(at, f"Syntax error: token recognition error at: '{source[at]}'")
        kind, text = match.lastgroup or "", match.group()
        if kind == "string":
            token, at = _string(source, at, text)
            tokens.append(token)
            continue
        if kind != "space":
            tokens.append(_token(kind, text, at))
        at = match.end()
    tokens.append(Token("end", "<EOF>", len(source)))
    return tokens


def _token(kind: str, text: str, at: int) -> Token:
    if kind == "int":
        return Token("literal", text, at, int(text, 0) if text[:2] == "0x" else int(text))
    if kind == "uint":
        number = int(text[:-1], 0) if text[:2] == "0x" else int(text[:-1])
        if number >= 2**64:
            raise _Syntax(at, "invalid uint literal")
        return Token("literal", text, at, UInt(number))
    if kind == "float":
        return Token("literal", text, at, float(text))
    if kind == "ident" and text in ("true", "false", "null"):
        return Token("literal", text, at, {"true": True, "false": False, "null": None}[text])
    if kind == "ident" and text == "in":
        return Token("op", text, at)
    return Token(kind, text, at)


_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}


def _string(source: str, start: int, opening: str) -> tuple[Token, int]:
    quote = opening.lstrip("bBrR")
    prefix = opening[: len(opening) - len(quote)].lower()
    at = start + len(opening)
    out: Any = bytearray() if "b" in prefix else []
    while not source.startswith(quote, at):
        if at >= len(source) or (len(quote) == 1 and source[at] in "\r\n"):
            raise _Syntax(start, f"Syntax error: token recognition error at: '{source[start:at]}'")
        char = source[at]
        if char == "\\" and "r" not in prefix:
            at = _escape(source, start, at + 1, out)
            continue
        if isinstance(out, bytearray):
            out += char.encode()
        else:
            out.append(char)
        at += 1
    value: Any = bytes(out) if isinstance(out, bytearray) else "".join(out)
    end = at + len(quote)
    return Token("literal", source[start:end], start, value), end


def _escape(source: str, start: int, at: int, out: Any) -> int:
    """One escape sequence; gives the position behind it."""
    char = source[at : at + 1]
    if char in _ESCAPES:
        code, end, byte = _ESCAPES[char], at + 1, True
    elif char and char in "\\?\"'`":
        code, end, byte = ord(char), at + 1, True
    else:
        width, base = {"x": (2, 16), "X": (2, 16), "u": (4, 16), "U": (8, 16)}.get(char, (3, 8))
        begin = at + 1 if base == 16 else at
        digits = source[begin : begin + width]
        try:
            code = int(digits, base) if len(digits) == width and digits.isalnum() else -1
        except ValueError:
            code = -1
        end, byte = begin + width, char not in "uU"
        if code < 0 or code > 0x10FFFF or 0xD800 <= code < 0xE000 or (base == 8 and code > 255):
            raise _Syntax(start, f"Syntax error: token recognition error at: '{source[start : at + 1]}'")
    if isinstance(out, bytearray):
        out += bytes([code]) if byte else chr(code).encode()
    else:
        out.append(chr(code))
    return end


# -- parser ----------------------------------------------------------------------------------------------------------


class _Parser:
    def __init__(self, tokens: list[Token], length: int, bindings: bool) -> None:
        self.tokens = tokens
        self.bindings = bindings
        self.at = 0
        self.depth = 0
        self.length = length

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def take(self, text: str) -> Token | None:
        """The next token, where it is this operator."""
        token = self.tokens[self.at]
        if token.kind == "op" and token.text == text:
            self.at += 1
            return token
        return None

    def expect(self, text: str) -> Token:
        token = self.take(text)
        if token is None:
            following = self.token
            if text == ")" and following.kind == "end":
                raise _Syntax(following.offset, "Syntax error: missing ')' at '<EOF>'")
            if text == "]":
                raise self.unexpected("{']', ','}")
            raise self.unexpected(f"'{text}'")
        return token

    def unexpected(self, expected: str) -> _Syntax:
        token = self.token
        return _Syntax(token.offset, f"Syntax error: mismatched input '{token.text}' expecting {expected}")

    def whole(self) -> Expr:
        expression = self.expression()
        if self.token.kind != "end":
            raise _Syntax(self.token.offset, f"Syntax error: extraneous input '{self.token.text}' expecting <EOF>")
        return expression

    def expression(self) -> Expr:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Syntax(self.token.offset, "expression recursion limit exceeded: 250")
        left = self.binary(0)
        question = self.take("?")
        if question is not None:
            chosen = self.binary(0)
            self.expect(":")
            left = Call(question.offset, "_?_:_", None, [left, chosen, self.expression()])
        self.depth -= 1
        return left

    def binary(self, level: int) -> Expr:
        if level == len(_LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        operators = _LEVELS[level]
        if level < 2:
            return self.logical(left, level)
        while self.token.kind == "op" and self.token.text in operators:
            operator = self.token
            self.at += 1
            left = Call(operator.offset, operators[operator.text], None, [left, self.binary(level + 1)])
        return left

    def logical(self, left: Expr, level: int) -> Expr:
        """A chain of one logical operator becomes a balanced tree, so that long chains do not nest deeply."""
        ((text, function),) = _LEVELS[level].items()
        terms, offsets = [left], []
        while (operator := self.take(text)) is not None:
            offsets.append(operator.offset)
            terms.append(self.binary(level + 1))
        return self._balance(function, terms, offsets, 0, len(terms) - 1)

    def _balance(self, function: str, terms: list[Expr], offsets: list[int], low: int, high: int) -> Expr:
        if low == high:
            return terms[low]
        middle = (low + high + 1) // 2
        left = self._balance(function, terms, offsets, low, middle - 1)
        right = self._balance(function, terms, offsets, middle, high)
        return Call(offsets[middle - 1], function, None, [left, right])

    def unary(self) -> Expr:
        token = self.token
        if token.kind == "op" and token.text in "!-":
            count = 0
            while self.take(token.text):
                count += 1
            following = self.token
            if (
                token.text == "-"
                and count % 2
                and following.kind == "literal"
                and type(following.value) in (int, float)
            ):
                self.tokens[self.at] = following._replace(value=-following.value, offset=token.offset)
                return self.member()
            if count > MAX_DEPTH:
                raise _Syntax(token.offset, "expression recursion limit exceeded: 250")
            operand = self.member()
            function = "!_" if token.text == "!" else "-_"
            return Call(token.offset, function, None, [operand]) if count % 2 else operand
        return self.member()

    def member(self) -> Expr:
        left = self.primary()
        while self.token.kind == "op":
            token = self.token
            if token.text in (".", ".?"):
                self.at += 1
                left = self.selection(left, token)
            elif token.text in ("[", "[?"):
                self.at += 1
                index = self.expression()
                self.expect("]")
                left = Call(token.offset, "_[_]" if token.text == "[" else "_[?_]", None, [left, index])
            else:
                break
        return left

    def selection(self, left: Expr, dot: Token) -> Expr:
        name = self.token
        if name.kind != "ident":
            shown = dot.text + ("" if name.kind == "end" else name.text)
            raise _Syntax(name.offset, f"Syntax error: no viable alternative at input '{shown}'")
        self.at += 1
        if dot.text == ".?":
            return Call(dot.offset, "_?._", None, [left, Literal(name.offset, name.text)])
        opening = self.take("(")
        if opening is None:
            return Select(dot.offset, left, name.text)
        args = self.arguments(")")
        return self.call(opening.offset, name.text, left, args)

    def call(self, offset: int, name: str, target: Expr | None, args: list[Expr]) -> Expr:
        try:
            bound = macros.expand_bind(offset, name, target, args) if self.bindings else None
            expanded = bound or macros.expand(offset, name, target, args)
        except macros.MacroError as failure:
            raise _Syntax(failure.offset, str(failure)) from None
        return expanded if expanded is not None else Call(offset, name, target, args)

    def arguments(self, closing: str) -> list[Expr]:
        args: list[Expr] = []
        while self.take(closing) is None:
            args.append(self.expression())
            if self.take(",") is None:
                self.expect(closing)
                break
        return args

    def primary(self) -> Expr:
        token = self.token
        self.at += 1
        if token.kind == "literal":
            if type(token.value) is int and not -(2**63) <= token.value < 2**63:
                raise _Syntax(token.offset, "invalid int literal")
            return Literal(token.offset, token.value)
        if token.kind == "op" and token.text == "(":
            inner = self.expression()
            self.expect(")")
            return inner
        if token.kind == "op" and token.text in ("[", "[?"):
            if token.text == "[?":
                self.tokens.insert(self.at, Token("op", "?", token.offset + 1))
            return self.list_literal(token)
        if token.kind == "op" and token.text == "{":
            return self.map_literal(token)
        leading = token.kind == "op" and token.text == "."
        if leading:
            token = self.token
            self.at += 1
        if token.kind == "ident":
            return self.identifier(token)
        self.at -= 1
        if token.kind == "op":
            raise _Syntax(token.offset, f"Syntax error: extraneous input '{token.text}' expecting {_EXPECTED}")
        raise self.unexpected(_EXPECTED)

    def identifier(self, token: Token) -> Expr:
        if token.text in RESERVED:
            raise _Syntax(token.offset, f"reserved identifier: {token.text}")
        opening = self.take("(")
        if opening is not None:
            return self.call(opening.offset, token.text, None, self.arguments(")"))
        name = self._struct_name(token)
        return self.struct(token, name) if name else Ident(token.offset, token.text)

    def _struct_name(self, token: Token) -> str:
        """``Object.spec`` of ``Object.spec{...}``; empty where no braces follow the name."""
        at, name = self.at, token.text
        while self.tokens[at].kind == "op" and self.tokens[at].text == "." and self.tokens[at + 1].kind == "ident":
            name += "." + self.tokens[at + 1].text
            at += 2
        if self.tokens[at].kind == "op" and self.tokens[at].text == "{":
            self.at = at + 1
            return name
        return ""

    def struct(self, token: Token, name: str) -> Expr:
        entries: list[tuple[int, str, Expr, bool]] = []
        while self.take("}") is None:
            optional = self.take("?") is not None
            field = self.token
            if field.kind != "ident":
                raise self.unexpected("IDENTIFIER")
            self.at += 1
            colon = self.expect(":")
            entries.append((colon.offset, field.text, self.expression(), optional))
            if self.take(",") is None:
                self.expect("}")
                break
        return StructExpr(token.offset, name, entries)

    def list_literal(self, token: Token) -> Expr:
        items: list[Expr] = []
        optional: set[int] = set()
        while self.take("]") is None:
            if self.take("?"):
                optional.add(len(items))
            items.append(self.expression())
            if self.take(",") is None:
                self.expect("]")
                break
        return ListExpr(token.offset, items, frozenset(optional))

    def map_literal(self, token: Token) -> Expr:
        entries: list[tuple[Expr, Expr, bool]] = []
        while self.take("}") is None:
            optional = self.take("?") is not None
            key = self.expression()
            self.expect(":")
            entries.append((key, self.expression(), optional))
            if self.take(",") is None:
                self.expect("}")
                break
        return MapExpr(token.offset, entries)
