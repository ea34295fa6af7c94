"""Descriptions of API fields, from the official definitions."""

from __future__ import annotations

from collections.abc import Iterable


def descriptions(references: Iterable[str]) -> dict[str, str]:
    """The description of each ``group.version.Type.field`` (or ``Type.field`` of meta/v1); what is unknown is left out.

    Reads the whole set of definitions and keeps only these texts.
    """
    from ..openapi.definitions import load

    definitions = load()
    found = {}
    for reference in references:
        owner, _, field = reference.rpartition(".")
        path = f"io.k8s.api.{owner}" if "." in owner else f"io.k8s.apimachinery.pkg.apis.meta.v1.{owner}"
        text = definitions.get(path, {}).get("properties", {}).get(field, {}).get("description")
        if text is not None:
            found[reference] = text
    return found
