"""Which form the client wants: media types, and the ``as=`` conversions to Table and PartialObjectMetadata.

Specified by the "Kubernetes API Concepts" page (alternate representations, Table) and RFC 9110 section 12.5.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..api.errors import not_acceptable, unsupported_media_type

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
_FORMATS = {
    "*/*": JSON,
    JSON: JSON,
    YAML: YAML,
    PROTOBUF: PROTOBUF,
}
ACCEPTED = f"{JSON}, {YAML}, {PROTOBUF}"
_REPRESENTATIONS = f"{ACCEPTED}, {JSON};stream=watch, {PROTOBUF};stream=watch"
_CONVERSIONS = {
    "Table": frozenset(("v1", "v1beta1")),
    "PartialObjectMetadata": frozenset(("v1", "v1beta1")),
    "PartialObjectMetadataList": frozenset(("v1", "v1beta1")),
}


@dataclass(frozen=True, slots=True)
class MediaType:
    """The chosen output: a format, and what to convert to ('' for the object itself)."""

    format: str = JSON
    convert: str = ""
    version: str = ""
    pretty: bool = False


PLAIN = MediaType()


@dataclass(frozen=True, slots=True)
class _Clause:
    type: str
    parameters: dict[str, str]
    quality: float


def _clauses(accept: str) -> list[_Clause]:
    found = []
    for part in accept.split(","):
        media, *parameters = (p.strip() for p in part.split(";"))
        if not media:
            continue
        pairs = dict(p.partition("=")[::2] for p in parameters if p)
        try:
            quality = float(pairs.pop("q", "1"))
        except ValueError:
            quality = 0.0
        found.append(_Clause(media.lower(), pairs, quality))
    # Among equals the more specific wins, then the earlier one, as upstream's header library sorts.
    found.sort(key=lambda c: (-c.quality, c.type.endswith("/*"), c.type == "*/*"))
    return found


@lru_cache(maxsize=512)
def negotiate(
    accept: str, *, conversions: bool = True, protobuf: bool = True, tables: bool = True, streams: bool = True
) -> MediaType:
    """The output for an Accept header. Raises StatusError 406. ``tables``: whether the resource has any; ``streams``:
    whether the path can also be watched."""
    if not accept or accept == JSON or accept == "*/*":
        return PLAIN
    if not streams:
        accepted = ACCEPTED if protobuf else f"{JSON}, {YAML}"
    else:
        accepted = _REPRESENTATIONS if protobuf else f"{JSON}, {YAML}, {JSON};stream=watch"
    known = False
    for clause in _clauses(accept):
        chosen = _FORMATS.get(clause.type)
        if chosen is None or (chosen == PROTOBUF and not protobuf and "as" not in clause.parameters):
            continue
        known = True
        convert, version = clause.parameters.get("as", ""), clause.parameters.get("v", "")
        if convert:
            group = clause.parameters.get("g", "")
            if not conversions or group != "meta.k8s.io" or version not in _CONVERSIONS.get(convert, ()):
                continue
            if convert == "Table" and not tables:
                continue
            if convert == "Table" and chosen == PROTOBUF:
                continue
        return MediaType(chosen, convert, version, clause.parameters.get("pretty") in ("1", "true"))
    if known or not tables:
        raise not_acceptable(f"only the following media types are accepted: {ACCEPTED}")
    failure = not_acceptable(f"406: Not Acceptable\n\nAvailable representations: {accepted}")
    failure.details = {}
    raise failure


@lru_cache(maxsize=256)
def input_format(content_type: str) -> str:
    """The format of a body by its Content-Type (absent means JSON). Raises StatusError 415."""
    media = content_type.partition(";")[0].strip().lower()
    if not media:
        return JSON
    found = {JSON: JSON, YAML: YAML, PROTOBUF: PROTOBUF}.get(media)
    if found is None:
        raise unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: " + ACCEPTED
        )
    return found
