"""Conversion webhooks: the ConversionReview that is sent, and what of its answer is believed.

A webhook may change anything but the identity of an object and, in its metadata, labels and annotations only.
Specified by "Webhook conversion"; the messages are upstream's.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from ...api.errors import FieldError, StatusError, go_quote
from ...api.meta import Object
from ...api.resources import GVK, parse_api_version
from ...api.validation.meta import validate_annotations, validate_labels
from ..admission.webhooks.calling import CallFailed, WebhookCaller
from ..metadata import new_uid
from .definition import Definition

GROUP = "apiextensions.k8s.io"
TIMEOUT = 30.0
_VERSIONS = ("v1", "v1beta1")
_SLICE = 500
"""Objects a review: a long list is converted in several, so that none is larger than what webhooks are used to."""


class BadAnswer(Exception):
    """The webhook's answer is no conversion."""


class WebhookConverter:
    """Converts the objects of one definition."""

    def __init__(self, definition: Definition, caller: WebhookCaller, rng: random.Random) -> None:
        self._definition = definition
        self._caller = caller
        self._rng = rng
        webhook = definition.webhook or {}
        self._config: Mapping[str, Any] = webhook.get("clientConfig") or {}
        self._reviews = webhook.get("conversionReviewVersions") or ["v1beta1"]

    async def convert(self, objects: Sequence[Object], api_version: str) -> list[Object]:
        """All in the wanted version; those that are in it already are not sent. Raises StatusError."""
        found = list(objects)
        wanted = [i for i, obj in enumerate(found) if obj.get("apiVersion") != api_version]
        for start in range(0, len(wanted), _SLICE):
            part = wanted[start : start + _SLICE]
            for index, obj in zip(part, await self._ask([found[i] for i in part], api_version), strict=True):
                found[index] = obj
        return found

    async def _ask(self, objects: list[Object], api_version: str) -> list[Object]:
        first = objects[0]
        group, version = parse_api_version(first.get("apiVersion") or "")
        who = f"conversion webhook for {GVK(group, version, first.get('kind') or '')}"
        uid = new_uid(self._rng)
        try:
            review = self._review(objects, api_version, uid)
            answer = await self._caller.call(self._config, review, TIMEOUT)
            converted = _converted(answer, review["apiVersion"], uid)
        except (CallFailed, BadAnswer) as failure:
            raise _failed(f"{who} failed: {failure}") from failure
        if len(converted) != len(objects):
            raise _failed(f"{who} returned {len(converted)} objects, expected {len(objects)}")
        for index, (old, new) in enumerate(zip(objects, converted, strict=True)):
            try:
                _accept(old, new, api_version)
            except BadAnswer as failure:
                words, part = failure.args
                raise _failed(f"{who} returned {_what(part, index, len(objects))}: {words}") from failure
        return converted

    def _review(self, objects: list[Object], api_version: str, uid: str) -> Object:
        for version in self._reviews:
            if version in _VERSIONS:
                return {
                    "kind": "ConversionReview",
                    "apiVersion": f"{GROUP}/{version}",
                    "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": objects},
                }
        raise BadAnswer("does not accept known ConversionReview versions (v1, v1beta1)")


def _what(part: str, index: int, count: int) -> str:
    """What was wrong with an object, and which: one alone has no place in a list."""
    if part == "metadata":
        return "invalid metadata" if count == 1 else f"invalid metadata in object at index {index}"
    if count > 1:
        return f"invalid converted object at index {index}"
    return "invalid object at index 0" if part == "version" else "invalid object"


def _failed(message: str) -> StatusError:
    """What upstream answers where an object cannot be read: a failure of nobody's request."""
    return StatusError(500, "", message)


def _converted(answer: Any, api_version: str, uid: str) -> list[Any]:
    """Raises BadAnswer."""
    if not isinstance(answer, dict):
        raise BadAnswer("json: cannot unmarshal the answer into Go value of type v1.ConversionReview")
    if api_version.endswith("/v1"):
        group, version = parse_api_version(str(answer.get("apiVersion") or ""))
        got = GVK(group, version, str(answer.get("kind") or ""))
        wanted = GVK(GROUP, "v1", "ConversionReview")
        if got != wanted:
            raise BadAnswer(f"expected webhook response of {wanted}, got {got}")
    response = answer.get("response")
    if not isinstance(response, dict):
        raise BadAnswer("no response provided")
    if api_version.endswith("/v1") and response.get("uid") != uid:
        raise BadAnswer(f"expected response.uid={go_quote(uid)}, got {go_quote(str(response.get('uid') or ''))}")
    result = response.get("result")
    status = result.get("status") if isinstance(result, dict) else ""
    if status != "Success":
        message = result.get("message") if isinstance(result, dict) else ""
        raise BadAnswer(str(message) if message else f"response.result.status was '{status or ''}', not 'Success'")
    objects = response.get("convertedObjects")
    return objects if isinstance(objects, list) else []


def _wrong(words: str, part: str = "") -> BadAnswer:
    return BadAnswer(words, part)


def _accept(old: Object, new: Any, api_version: str) -> None:
    """Checks a converted object and gives it its metadata back. Raises BadAnswer."""
    if not isinstance(new, dict):
        raise _wrong("the converted object is no object")
    if new.get("apiVersion") != api_version:
        got = new.get("apiVersion") or ""
        raise _wrong(f"invalid groupVersion (expected {api_version}, received {got})", "version")
    if new.get("kind") != old.get("kind"):
        raise _wrong(f"invalid kind (expected {old.get('kind')}, received {new.get('kind') or ''})", "version")
    before, after = old.get("metadata") or {}, new.get("metadata")
    if "metadata" not in new:
        raise _wrong(f"must have the same name: {before.get('name') or ''} != ")
    if not isinstance(after, dict):
        raise _wrong(f"invalid metadata of type {_go_type(after)} in converted object", "metadata")
    for field, name in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        if (before.get(field) or "") != (after.get(field) or ""):
            raise _wrong(f"must have the same {name}: {before.get(field) or ''} != {after.get(field) or ''}")
    new["metadata"] = restored(before, after)


def restored(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The old metadata with the new labels and annotations. Raises BadAnswer."""
    metadata = {k: v for k, v in before.items() if k not in ("labels", "annotations")}
    for field in ("labels", "annotations"):
        given = after.get(field)
        if given is None:
            continue
        if not isinstance(given, dict):
            raise _wrong(f"invalid metadata.{field} of type {_go_type(given)} in converted object", "metadata")
        for key, value in given.items():
            if not isinstance(value, str):
                words = f"metadata.{field}[{key}] must be a string, but is {_go_type(value)} in converted object"
                raise _wrong(words, "metadata")
        if given != (before.get(field) or {}):
            problems = _problems(field, given)
            if problems:
                texts = [str(p) for p in problems]
                raise _wrong(texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]", "metadata")
        metadata[field] = given
    return metadata


def _problems(field: str, given: dict[str, str]) -> list[FieldError]:
    if field == "labels":
        return validate_labels(given, "metadata.labels")
    return validate_annotations(given, "metadata.annotation")


def _go_type(value: Any) -> str:
    names = {str: "string", bool: "bool", int: "int64", float: "float64", list: "[]interface {}"}
    return names.get(type(value), "map[string]interface {}" if isinstance(value, dict) else "<nil>")
