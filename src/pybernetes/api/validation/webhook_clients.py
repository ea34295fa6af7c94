"""Where conversion webhooks of custom resources are called."""

from __future__ import annotations

from urllib.parse import urlsplit

from ..errors import invalid_value, required
from .errors import Errors, Obj, invalid_each
from .formats import dns_1035_label_problems, dns_subdomain_problems, port_number_problems

_FORM = "; desired format: https://host[/path]"
REVIEW_VERSIONS = ("v1", "v1beta1")


def webhook_url(url: str, path: str) -> Errors:
    try:
        parts = urlsplit(url)
        host, user = parts.netloc.rpartition("@")[2], parts.netloc.rpartition("@")[0]
    except ValueError as failure:
        return [required(path, f"url must be a valid URL: {failure}{_FORM}")]
    found: Errors = []
    if parts.scheme != "https":
        found.append(invalid_value(path, parts.scheme, f"'https' is the only allowed URL scheme{_FORM}"))
    if not host:
        found.append(invalid_value(path, host, f"host must be specified{_FORM}"))
    if user:
        found.append(invalid_value(path, user, "user information is not permitted in the URL"))
    if parts.fragment:
        found.append(invalid_value(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        found.append(invalid_value(path, parts.query, "query parameters are not permitted in the URL"))
    return found


def port_problem(port: int, path: str) -> Errors:
    problems = port_number_problems(port)
    return [invalid_value(path, port, "port is not valid: " + ", ".join(problems))] if problems else []


def webhook_service(service: Obj, path: str) -> Errors:
    # Upstream hands over name and namespace in the other order, so they are asked for in this one.
    found = [
        required(f"{path}.{f}") for f, given in (("name", "namespace"), ("namespace", "name")) if not service.get(given)
    ]
    found += port_problem(service.get("port") or 0, f"{path}.port")
    url = service.get("path") or ""
    return found + (_service_path(url, f"{path}.path") if url not in ("", "/") else [])


def _service_path(url: str, path: str) -> Errors:
    if url == "//":
        return [invalid_value(path, url, "segment[0] may not be empty")]
    found = [] if url.startswith("/") else [invalid_value(path, url, "must start with a '/'")]
    for i, step in enumerate(url[1:].removesuffix("/").split("/")):
        if not step:
            found.append(invalid_value(path, url, f"segment[{i}] may not be empty"))
            continue
        found += [invalid_value(path, url, f"segment[{i}]: {problem}") for problem in dns_subdomain_problems(step)]
    return found


def client_config(config: Obj, path: str) -> Errors:
    """Exactly one of a URL and a service."""
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        return [required(path, "exactly one of url or service is required")]
    if url is not None:
        return webhook_url(url, f"{path}.url")
    return webhook_service(service or {}, f"{path}.service")


def review_versions(versions: list[str], path: str, missing: str, *, recognized: bool) -> Errors:
    """The versions of review objects that a webhook reads; ``recognized``: this server must know one of them."""
    if not versions:
        return [required(path, missing)]
    found: Errors = []
    for i, version in enumerate(versions):
        if version in versions[:i]:
            found.append(invalid_value(f"{path}[{i}]", version, "duplicate version"))
        else:
            found += invalid_each(f"{path}[{i}]", version, dns_1035_label_problems(version))
    if recognized and not set(REVIEW_VERSIONS) & set(versions):
        found.append(invalid_value(path, versions, f"must include at least one of {', '.join(REVIEW_VERSIONS)}"))
    return found


def knows_review_version(versions: list[str]) -> bool:
    return not versions or bool(set(REVIEW_VERSIONS) & set(versions))
