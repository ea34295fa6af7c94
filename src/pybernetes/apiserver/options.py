"""Query parameters of writes and reads, checked. Specified by ``meta/v1`` Create-, Update-, Patch-, Delete- and ListOptions."""

from __future__ import annotations

from dataclasses import dataclass

from ..api.errors import (
    FieldError,
    StatusError,
    bad_request,
    forbidden_field,
    invalid,
    invalid_value,
    not_supported,
    required,
    too_long,
)
from ..api.selectors import EVERYTHING, FieldSelector, LabelSelector, SelectorError, parse_field_selector
from ..api.selectors import parse_label_selector as parse_labels
from .request import Request
from .routing import is_true

META_GROUP = "meta.k8s.io"
IGNORE, WARN, STRICT = "Ignore", "Warn", "Strict"
_NO_FIELDS = FieldSelector()


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Of a create, update or patch."""

    dry_run: bool = False
    manager: str = ""
    validation: str = WARN
    force: bool | None = None


def write_options(request: Request, kind: str) -> WriteOptions:
    """``kind`` is CreateOptions, UpdateOptions or PatchOptions. Raises StatusError 422."""
    if not request.raw_query:
        return WriteOptions(manager=manager_of(request, ""))
    query = request.query
    errors: list[FieldError] = []
    dry_run = query.get("dryRun") or []
    errors += dry_run_errors(dry_run)
    manager = (query.get("fieldManager") or [""])[0]
    if len(manager) > 128:
        errors.append(too_long("fieldManager", 128))
    elif not manager.isprintable():
        at = next(i for i, c in enumerate(manager) if not c.isprintable())
        words = f"invalid character U+{ord(manager[at]):04X} (at position {at})"
        errors.append(invalid_value("fieldManager", manager, words))
    validation = (query.get("fieldValidation") or [""])[0]
    if validation not in ("", IGNORE, WARN, STRICT):
        errors.append(not_supported("fieldValidation", validation, ["", IGNORE, STRICT, WARN]))
    force = is_true(query["force"]) if "force" in query else None
    if errors:
        raise invalid(META_GROUP, kind, "", errors)
    return WriteOptions(bool(dry_run), manager_of(request, manager), validation or WARN, force)


def dry_run_errors(values: list[str]) -> list[FieldError]:
    return [not_supported("dryRun", values, ["All"])] if any(v != "All" for v in values) else []


def check_patch_options(request: Request, apply: bool, options: WriteOptions) -> None:
    """What holds for apply only, and the other way round. Raises StatusError 422."""
    if apply and not (request.raw_query and request.param("fieldManager")):
        raise invalid(META_GROUP, "PatchOptions", "", [required("fieldManager", "is required for apply patch")])
    if not apply and options.force is not None:
        raise invalid(
            META_GROUP, "PatchOptions", "", [forbidden_field("force", "may not be specified for non-apply patch")]
        )


def manager_of(request: Request, manager: str) -> str:
    """The field manager: as given, or the program's name from the user agent."""
    return manager or (request.headers.get("user-agent") or "").split("/", 1)[0][:128] or "unknown"


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Of a list, watch or deletecollection."""

    labels: LabelSelector = EVERYTHING
    fields: FieldSelector = _NO_FIELDS
    limit: int = 0
    proceed: str = ""
    revision: str = ""
    match: str = ""
    watch: bool = False
    bookmarks: bool = False
    initial: bool | None = None
    timeout: int = 0


NO_LIST_OPTIONS = ListOptions()
EXACT, NOT_OLDER = "Exact", "NotOlderThan"


def list_options(request: Request) -> ListOptions:
    """Raises StatusError 400 and 422."""
    if not request.raw_query:
        return NO_LIST_OPTIONS
    query = request.query

    def one(name: str) -> str:
        values = query.get(name)
        return values[0] if values else ""

    try:
        labels = parse_labels(one("labelSelector")) if one("labelSelector") else EVERYTHING
        fields = parse_field_selector(one("fieldSelector")) if one("fieldSelector") else _NO_FIELDS
    except SelectorError as failure:
        raise bad_request(str(failure)) from None
    options = ListOptions(
        labels,
        fields,
        max(0, _integer("limit", one("limit"))),
        one("continue"),
        one("resourceVersion"),
        one("resourceVersionMatch"),
        is_true(query.get("watch")),
        is_true(query.get("allowWatchBookmarks")),
        is_true(query["sendInitialEvents"]) if "sendInitialEvents" in query else None,
        _integer("timeoutSeconds", one("timeoutSeconds")),
    )
    errors = _list_errors(options)
    if errors:
        raise invalid(META_GROUP, "ListOptions", "", errors)
    return options


def _integer(name: str, text: str) -> int:
    if not text:
        return 0
    try:
        value = int(text)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    if not -(2**63) <= value < 2**63:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": value out of range')
    return value


def _list_errors(options: ListOptions) -> list[FieldError]:
    match, revision = options.match, options.revision
    if options.watch:
        return _watch_errors(options)
    errors = []
    if options.initial is not None:
        errors.append(forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if match:
        if not revision:
            errors.append(
                forbidden_field(
                    "resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided"
                )
            )
        if options.proceed:
            errors.append(
                forbidden_field("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
            )
        if match not in (EXACT, NOT_OLDER):
            errors.append(not_supported("resourceVersionMatch", match, [EXACT, NOT_OLDER, ""]))
        if match == EXACT and revision == "0":
            errors.append(
                forbidden_field(
                    "resourceVersionMatch", 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
                )
            )
    return errors


def _watch_errors(options: ListOptions) -> list[FieldError]:
    errors = []
    if options.initial is not None:
        if options.match != NOT_OLDER:
            errors.append(
                forbidden_field(
                    "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
                )
            )
    elif options.match:
        errors.append(
            forbidden_field(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )
        )
    if options.match and options.match != NOT_OLDER:
        errors.append(not_supported("resourceVersionMatch", options.match, [NOT_OLDER]))
    if options.proceed:
        text = "resourceVersionMatch is forbidden when continue is provided"
        errors.append(forbidden_field("resourceVersionMatch", text))
    return errors


def parse_revision(text: str) -> int:
    """A resourceVersion parameter. Raises StatusError 422."""
    if not text:
        return 0
    try:
        value = int(text)
        if value < 0 or not text.isdigit():
            raise ValueError(text)
    except ValueError:
        detail = f'strconv.ParseUint: parsing "{text}": invalid syntax'
        message = f'invalid resource version: resourceVersion: Invalid value: "{text}": {detail}'
        raise StatusError(400, "BadRequest", message) from None
    return value
