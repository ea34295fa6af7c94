"""Paths of files inside volumes and on hosts."""

from __future__ import annotations

from ..errors import invalid_value
from .errors import Errors

FILE_MODE_WORDS = "must be a number between 0 and 0777 (octal), both inclusive"


def no_backsteps(target: str, path: str) -> Errors:
    return [invalid_value(path, target, "must not contain '..'")] if ".." in target.split("/") else []


def local_descending(target: str, path: str) -> Errors:
    found = [invalid_value(path, target, "must be a relative path")] if target.startswith("/") else []
    return found + no_backsteps(target, path)


def local_not_reserved(target: str, path: str) -> Errors:
    """A relative path that stays below its start and does not look like the atomic writer's own files."""
    found = local_descending(target, path)
    if target.startswith("..") and not target.startswith("../"):
        found.append(invalid_value(path, target, "must not start with '..'"))
    return found


def file_mode(mode: int | None, path: str) -> Errors:
    if mode is None or 0 <= mode <= 0o777:
        return []
    return [invalid_value(path, mode, FILE_MODE_WORDS)]
