"""A namespace's Pod Security policy out of its labels. Specified by "Pod Security Admission"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from ....api.errors import FieldError, invalid_value
from .checks import NEWEST

PREFIX = "pod-security.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
MODES = ("enforce", "audit", "warn")
LATEST = "latest"
VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)")


class LevelVersion(NamedTuple):
    """``baseline:v1.30``."""

    level: str = "privileged"
    version: str = LATEST

    @property
    def minor(self) -> int:
        return NEWEST if self.version == LATEST else int(self.version[3:])

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"

    def equals(self, other: LevelVersion) -> bool:
        return self == other or (self.level == other.level == "privileged")


def stricter(left: str, right: str) -> bool:
    return LEVELS.index(left) > LEVELS.index(right)


@dataclass(frozen=True, slots=True)
class Policy:
    """The level and version of each mode."""

    enforce: LevelVersion = LevelVersion()
    audit: LevelVersion = LevelVersion()
    warn: LevelVersion = LevelVersion()

    @property
    def is_privileged(self) -> bool:
        return self.enforce.level == self.audit.level == self.warn.level == "privileged"

    def equals(self, other: Policy) -> bool:
        return all(getattr(self, m).equals(getattr(other, m)) for m in MODES)


def _level(labels: Mapping[str, str], mode: str, default: str, errors: list[FieldError]) -> str:
    value = labels.get(PREFIX + mode)
    if value is None:
        return default
    if value in LEVELS:
        return value
    words = f"must be one of {', '.join(LEVELS)}"
    errors.append(invalid_value(f"metadata.labels[{PREFIX}{mode}]", value, words))
    # What cannot be read fails closed where it would refuse, and open where it would only speak.
    return "restricted" if mode == "enforce" else "privileged"


def _version(labels: Mapping[str, str], mode: str, default: str, errors: list[FieldError]) -> str:
    label = f"{PREFIX}{mode}-version"
    value = labels.get(label)
    if value is None:
        return default
    if value == LATEST or VERSION.fullmatch(value):
        return value
    errors.append(invalid_value(f"metadata.labels[{label}]", value, 'must be "latest" or "v1.x"'))
    return LATEST


def policy_of(labels: Mapping[str, str], defaults: Policy) -> tuple[Policy, list[FieldError]]:
    """The policy to evaluate (always one) and what of the labels cannot be read."""
    if not labels:
        return defaults, []
    errors: list[FieldError] = []
    found = {}
    for mode in MODES:
        default: LevelVersion = getattr(defaults, mode)
        level = _level(labels, mode, default.level, errors)
        found[mode] = LevelVersion(level, _version(labels, mode, default.version, errors))
    policy = Policy(**found)
    # Who enforces is also told, unless he said what to be told.
    enforced = labels.get(PREFIX + "enforce")
    if PREFIX + "warn" not in labels and enforced in LEVELS and stricter(policy.enforce.level, policy.warn.level):
        version = policy.warn.version if PREFIX + "warn-version" in labels else policy.enforce.version
        policy = replace(policy, warn=LevelVersion(policy.enforce.level, version))
    return policy, errors
