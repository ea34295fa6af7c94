"""Health and version: ``/healthz``, ``/livez``, ``/readyz`` (each check by itself, ``verbose``, ``exclude``), ``/version``.

Specified by "Kubernetes API health endpoints".
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson

from .. import KUBERNETES_VERSION
from .request import Request, Response, page_not_found

Check = Callable[[], Awaitable[None]]
"""Returns where all is well; raises OSError, TimeoutError or RuntimeError where not."""

TEXT = "text/plain; charset=utf-8"
_SNIFF = [("X-Content-Type-Options", "nosniff")]


POST_START_HOOKS = (
    "start-apiserver-admission-initializer",
    "generic-apiserver-start-informers",
    "priority-and-fairness-config-consumer",
    "priority-and-fairness-filter",
    "storage-object-count-tracker-hook",
    "start-apiextensions-informers",
    "start-apiextensions-controllers",
    "crd-informer-synced",
    "start-system-namespaces-controller",
    "peer-endpoint-reconciler-controller",
    "start-cluster-authentication-info-controller",
    "start-kube-apiserver-identity-lease-controller",
    "start-kube-apiserver-identity-lease-garbage-collector",
    "storage-readiness",
    "start-legacy-token-tracking-controller",
    "start-service-ip-repair-controllers",
    "rbac/bootstrap-roles",
    "scheduling/bootstrap-system-priority-classes",
    "priority-and-fairness-config-producer",
    "bootstrap-controller",
    "start-kubernetes-service-cidr-controller",
    "start-kube-aggregator-informers",
    "apiservice-status-local-available-controller",
    "apiservice-status-remote-available-controller",
    "apiservice-registration-controller",
    "apiservice-wait-for-first-sync",
    "apiservice-discovery-controller",
    "kube-apiserver-autoregistration",
    "apiservice-openapi-controller",
    "apiservice-openapiv3-controller",
)
"""Upstream's names of what must have run once before a server is ready: monitoring asks for them by name."""


async def ping() -> None:
    """The process answers."""


@dataclass(slots=True)
class Health:
    """One endpoint with its checks, in order."""

    path: str
    checks: dict[str, Check]

    async def answer(self, request: Request) -> Response:
        rest = request.path[len(self.path) :].strip("/")
        if rest:
            return await self._one(rest)
        excluded = set(request.query.get("exclude") or []) if request.raw_query else set()
        lines, failed = [], []
        for name, check in self.checks.items():
            if name in excluded:
                excluded.discard(name)
                lines.append(f"[+]{name} excluded: ok")
                continue
            failure = await _failure(check)
            if failure is None:
                lines.append(f"[+]{name} ok")
            else:
                failed.append(name)
                lines.append(f"[-]{name} failed: reason withheld")
        if excluded:
            listed = ", ".join(f'"{n}"' for n in sorted(excluded))
            lines.append(f"warn: some health checks cannot be excluded: no matches for {listed}")
        name = self.path.strip("/")
        if failed:
            return Response(500, ("\n".join(lines) + f"\n{name} check failed\n").encode(), TEXT, list(_SNIFF))
        verbose = bool(request.raw_query) and "verbose" in request.query
        body = "\n".join(lines) + f"\n{name} check passed\n" if verbose else "ok"
        return Response(200, body.encode(), TEXT, list(_SNIFF))

    async def _one(self, name: str) -> Response:
        check = self.checks.get(name)
        if check is None:
            return page_not_found()
        failure = await _failure(check)
        if failure is None:
            return Response(200, b"ok", TEXT, list(_SNIFF))
        return Response(500, f"internal server error: {failure}\n".encode(), TEXT, list(_SNIFF))


async def _failure(check: Check) -> str | None:
    try:
        await check()
    except (OSError, TimeoutError, RuntimeError) as failure:
        return str(failure) or type(failure).__name__
    return None


_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def build_info() -> dict[str, str]:
    """What ``/version`` says."""
    major, minor, _ = KUBERNETES_VERSION[1:].split(".")
    machine = platform.machine()
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": KUBERNETES_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": sys.implementation.name,
        "platform": f"linux/{_ARCHITECTURES.get(machine, machine)}",
    }


def version_document() -> bytes:
    return orjson.dumps(build_info(), option=orjson.OPT_INDENT_2)
