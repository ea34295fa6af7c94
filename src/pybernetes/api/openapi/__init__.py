"""OpenAPI documents, v2 (one for the server) and v3 (one a group version), as pure functions of what is served.

kubectl needs them for ``explain``, for validation on the client's side and for the merge keys of client-side apply;
client generators need the paths. Built-in schemas come from the definitions in the package ``kubernetes-validate``
with the defaults of our own type table laid over them; custom resources bring theirs. The definitions are loaded for
the call and let go again: the caller keeps the encoded documents.
"""

from __future__ import annotations

from .documents import CustomSchemas, openapi_v2, openapi_v2_custom, openapi_v3, openapi_v3_paths

__all__ = ["CustomSchemas", "openapi_v2", "openapi_v2_custom", "openapi_v3", "openapi_v3_paths"]
