"""After authorization: which part of the server answers a resource request, and in which form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import orjson

from ..api.errors import (
    StatusError,
    bad_request,
    go_quote,
    method_not_allowed,
    method_not_supported,
    not_found,
    path_not_found,
)
from ..api.resources import GVR, NAMESPACES
from .deleting import Deleter
from .reading import Reader
from .registry import Registry, Resource
from .rendering import Renderer
from .request import Handler, Request, RequestInfo, Response, page_not_found
from .routing import segment_problem
from .subresources import Subresources
from .views import View
from .writing import Writer

_COMPONENT_STATUSES = GVR("", "v1", "componentstatuses")
_METHOD_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PREFIX_VERBS = frozenset(("watch", "proxy"))


class Answerer:
    """Dispatches requests for resources."""

    def __init__(
        self,
        registry: Registry,
        reader: Reader,
        writer: Writer,
        deleter: Deleter,
        renderer: Renderer,
        connect_handlers: Mapping[tuple[str, str], Handler],
    ) -> None:
        self._registry = registry
        self._reader, self._writer, self._deleter = reader, writer, deleter
        self._renderer = renderer
        self._connect = connect_handlers
        self.subresources = Subresources(registry, writer, deleter, renderer)
        self.unknown: Callable[[Request, RequestInfo], StatusError] | None = None
        """Asked for the answer where no such resource is served (aggregation may know)."""

    async def answer(self, request: Request, info: RequestInfo) -> Response:
        """Raises StatusError."""
        resource = self._registry.lookup(info.group, info.version, info.resource)
        if resource is None:
            if self._registry.is_foreign(info.group):
                return page_not_found()
            raise path_not_found()
        if not resource.kind.builtin and self._out_of_scope(info, resource):
            return page_not_found()
        if resource.pending is not None:
            await resource.pending()
        if resource.warning:
            request.warnings.append(resource.warning)
        if request.method == "HEAD" and info.subresource != "proxy" and resource.kind.builtin:
            raise method_not_allowed()
        if info.subresource:
            self._check_scope(info, resource)
            if info.verb in _PREFIX_VERBS:
                # They were asked about as the prefix's verb, whatever the method does: /api/v1/watch/.../pods/p/exec.
                raise path_not_found()
            return await self._subresource(request, info, resource)
        if resource.handler is not None:
            self._check_scope(info, resource)
            if len(info.parts) > 1:
                raise path_not_found()
            media = self._renderer.media_of_answers(request)
            return self._renderer.answer(request, media, resource, await resource.handler(request))
        media = self._renderer.media(request)
        if resource.dispatcher is None:
            self._check_verb(request, info, resource)
            return self._renderer.finish(request, media, await self._virtual(request, info, resource))
        self._check_verb(request, info, resource)
        view = self._renderer.view(request, media, resource, info.verb)
        if resource.gvr == NAMESPACES:
            info = replace(info, namespace="")
        response = await self._main(request, info, resource, view)
        return self._renderer.finish(request, media, response)

    @staticmethod
    def _out_of_scope(info: RequestInfo, resource: Resource) -> bool:
        """Custom resources have no path where their scope does not fit, but for reading across all namespaces."""
        if not resource.info.namespaced:
            return bool(info.namespace)
        return not info.namespace and info.verb not in ("list", "watch")

    @staticmethod
    def _check_custom_verb(info: RequestInfo, resource: Resource) -> None:
        """Raises StatusError: custom resources know their verbs and nothing of paths."""
        if info.verb not in resource.info.verbs:
            raise method_not_supported(resource.gvr.group, resource.gvr.resource, info.verb)
        if info.verb in ("update", "patch") and len(info.parts) < 2:
            raise bad_request("name must be provided")

    @staticmethod
    def _check_scope(info: RequestInfo, resource: Resource) -> None:
        """A namespaced object without a namespace, or the other way round, is no path."""
        if resource.info.namespaced != bool(info.namespace) and resource.gvr != NAMESPACES:
            raise path_not_found()

    def _check_verb(self, request: Request, info: RequestInfo, resource: Resource) -> None:
        """Raises StatusError 404 and 405 for what is no path or no method of it."""
        if not resource.kind.builtin:
            self._check_custom_verb(info, resource)
            return
        verb, namespaced = info.verb, resource.info.namespaced
        if verb in _PREFIX_VERBS and request.method != "GET":
            raise method_not_allowed()
        if resource.gvr != NAMESPACES and info.namespace and not namespaced:
            raise path_not_found()
        has_name = len(info.parts) > 1
        if namespaced and not info.namespace:
            # Across all namespaces there are only list and watch.
            if has_name and verb != "watch":
                raise path_not_found()
            if verb not in ("list", "watch"):
                raise method_not_allowed()
        if verb == "proxy" or (verb in ("update", "patch") and not has_name) or (verb == "create" and has_name):
            raise method_not_allowed()
        if verb not in resource.info.verbs:
            if not verb or verb == "deletecollection":
                raise method_not_allowed()
            raise method_not_supported(resource.gvr.group, resource.gvr.resource, verb)

    async def _main(self, request: Request, info: RequestInfo, resource: Resource, view: View) -> Response:
        verb = info.verb
        if len(info.parts) > 1 and (problem := segment_problem(info.name)):
            raise bad_request(f"Name parameter invalid: {go_quote(info.name)}: {problem}")
        if verb == "get":
            return await self._reader.get(request, info, resource, view)
        if verb == "list":
            return await self._reader.list(request, info, resource, view)
        if verb == "watch":
            return await self._reader.watch(request, info, resource, view)
        if verb == "create":
            return await self._writer.create(request, info, resource, view)
        if verb == "update":
            return await self._writer.update(request, info, resource, view)
        if verb == "patch":
            return await self._writer.patch(request, info, resource, view)
        if verb == "delete":
            return await self._deleter.delete(request, info, resource, view)
        return await self._deleter.delete_collection(request, info, resource, view)

    async def _subresource(self, request: Request, info: RequestInfo, resource: Resource) -> Response:
        sub = resource.subresource(info.subresource)
        verb = _METHOD_VERBS.get(request.method, "")
        if sub is None:
            if not resource.kind.builtin:
                raise not_found(resource.gvr.group, resource.gvr.resource, info.name)
            raise path_not_found()
        if not resource.kind.builtin and verb not in sub.verbs:
            raise method_not_supported(resource.gvr.group, resource.gvr.resource, info.verb)
        connect = self._connect.get((info.resource, info.subresource)) if not info.group else None
        if connect is not None:
            # A proxy also takes what has no verb of its own.
            if verb not in sub.verbs and not (info.subresource == "proxy" and request.method in ("OPTIONS", "HEAD")):
                raise method_not_allowed()
            return await connect(request)
        if verb not in sub.verbs or len(info.parts) > 3:
            raise method_not_allowed() if len(info.parts) <= 3 else path_not_found()
        media = self._renderer.media(request)
        response = await self._stored_subresource(request, info, resource, verb)
        return self._renderer.finish(request, media, response)

    async def _stored_subresource(self, request: Request, info: RequestInfo, resource: Resource, verb: str) -> Response:
        name = info.subresource
        if name == "scale":
            return await self.subresources.scale(request, info, resource)
        if name == "binding":
            return await self.subresources.bind(request, info, resource)
        if name == "eviction":
            return await self.subresources.evict(request, info, resource)
        view = self._renderer.view(request, self._renderer.media(request), resource, verb)
        if resource.gvr == NAMESPACES:
            info = replace(info, namespace="")
        if verb == "get":
            return await self._reader.get(request, info, resource, view)
        if verb == "update":
            return await self._writer.update(request, info, resource, view)
        if verb == "patch":
            return await self._writer.patch(request, info, resource, view)
        raise path_not_found()

    # -- resources without a store ----------------------------------------------------------------------------------

    async def _virtual(self, request: Request, info: RequestInfo, resource: Resource) -> Response:
        if resource.gvr.resource == "bindings" and not resource.gvr.group:
            if info.verb != "create" or len(info.parts) > 1 or not info.namespace:
                raise method_not_allowed()
            pods = self._registry.lookup("", "v1", "pods")
            assert pods is not None
            return await self.subresources.bind(request, info, pods)
        if resource.gvr == _COMPONENT_STATUSES and info.verb in ("get", "list"):
            return self._component_statuses(info)
        raise method_not_allowed()

    @staticmethod
    def _component_statuses(info: RequestInfo) -> Response:
        """A relic: the store is healthy where this server answers; the other components report elsewhere."""
        status = {
            "metadata": {"name": "etcd-0"},
            "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
        }
        if info.verb == "list":
            body = {"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": [status]}
        elif info.name == "etcd-0":
            body = {"kind": "ComponentStatus", "apiVersion": "v1", **status}
        else:
            raise StatusError(404, "NotFound", f"Component not found: {info.name}")
        response = Response(200, orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE))
        response.headers.append(("Warning", '299 - "v1 ComponentStatus is deprecated in v1.19+"'))
        return response
