"""Sends the same odd requests to two API servers and reports where their answers differ.

    python bench/differential.py OURS.kubeconfig PEER.kubeconfig [--only TEXT] [--show N] [--json FILE]

Both should be fresh and without controllers; tokens must belong to ``system:masters``. Every request is made of both, one
after the other; what must differ (uids, times, revisions, audit ids, random names) is made equal before comparing. Compared
are the status, the headers that clients act on, and the body. The cases are in ``differential_cases``.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from differential_cases import Case, all_cases

HEADERS = ("content-type", "warning", "retry-after", "allow", "location", "content-encoding")
_VOLATILE = {
    "uid": "UID",
    "creationTimestamp": "TIME",
    "deletionTimestamp": "TIME",
    "time": "TIME",
    "eventTime": "TIME",
    "resourceVersion": "RV",
}
_TEXT = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "UID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r"(resource version[^0-9]*)\d+", re.IGNORECASE), r"\1RV"),
    (re.compile(r"current: \d+"), "current: RV"),
    (re.compile(r"^\d+s$"), "AGE"),
    (re.compile(r"kube-api-access-\w{5}"), "kube-api-access-xxxxx"),
)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    values: dict[str, str] = field(default_factory=dict)


class Server:
    def __init__(self, file: str) -> None:
        document = yaml.safe_load(Path(file).read_text())
        self.address = urlsplit(document["clusters"][0]["cluster"]["server"])
        self.token = document["users"][0]["user"]["token"]
        self.tls = ssl.create_default_context()
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE
        self.remembered: dict[str, str] = {}
        self._connection: HTTPSConnection | None = None

    def send(self, case: Case) -> Answer:
        path, body = self._filled(case.path), case.body
        if isinstance(body, str):
            body = self._filled(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "User-Agent": "differential/1", **case.headers}
        for attempt in (1, 2):
            if self._connection is None:
                self._connection = HTTPSConnection(
                    self.address.hostname or "", self.address.port, context=self.tls, timeout=20
                )
            try:
                self._connection.request(case.method, path, body, {k: v for k, v in headers.items() if v is not None})
                response = self._connection.getresponse()
                data = b"" if case.head_only else response.read()
                break
            except (OSError, ConnectionError) as failure:
                self._connection = None
                if attempt == 2:
                    return Answer(0, {}, str(failure).encode())
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, data)
        warnings = response.headers.get_all("Warning") or []
        if warnings:
            answer.headers["warning"] = " | ".join(sorted(warnings))
        if case.head_only or response.will_close:
            self._connection.close()
            self._connection = None
        self._remember(case, answer)
        return answer

    def _filled(self, text: str) -> str:
        for name, value in self.remembered.items():
            text = text.replace("{" + name + "}", value)
        return text

    def _remember(self, case: Case, answer: Answer) -> None:
        for name, path in case.remember.items():
            try:
                found: Any = json.loads(answer.body)
                for part in path.split("."):
                    found = found[int(part)] if part.isdigit() else found[part]
                self.remembered[name] = str(found)
            except (ValueError, KeyError, IndexError, TypeError):
                self.remembered[name] = f"missing-{name}"


def equalized(value: Any, hidden: frozenset[str]) -> Any:
    """A body with what must differ replaced."""
    if isinstance(value, dict):
        for key in ("items", "rows"):
            if key in value and value[key] is None:
                value[key] = []  # an empty list is a list here, whatever a Go slice was
        if isinstance(value.get("managedFields"), list):
            # Who watches policies is a controller of ours in the API server, of theirs in another process.
            entries = [e for e in value["managedFields"] if e.get("manager") != "validatingadmissionpolicy-status"]
            # Entries stand in the order of their seconds, which two servers need not share.
            entries.sort(key=lambda e: (e.get("manager") or "", e.get("operation") or "", e.get("subresource") or ""))
            value = {**value, "managedFields": entries}
        return {
            k: _VOLATILE[k] if k in _VOLATILE and v else "HIDDEN" if k in hidden else equalized(v, hidden)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [equalized(v, hidden) for v in value]
    return equal_text(value) if isinstance(value, str) else value


def equal_text(text: str) -> str:
    for pattern, replacement in _TEXT:
        text = pattern.sub(replacement, text)
    return text


def lines_of(case: Case, answer: Answer) -> list[str]:
    lines = [f"status {answer.status}"]
    lines += [f"{n}: {equal_text(answer.headers[n])}" for n in HEADERS if n in answer.headers]
    if case.status_only:
        return lines
    text = answer.body.decode("utf-8", "replace")
    documents: list[Any] = []
    try:
        documents = [json.loads(line) for line in text.splitlines()] if case.stream else [json.loads(text)]
    except ValueError:
        return [*lines, *equal_text(text).splitlines()]
    for document in documents:
        lines += json.dumps(equalized(document, case.hidden), indent=1, sort_keys=True).splitlines()
    return lines


def differences(ours: Server, peer: Server, only: str) -> Iterator[tuple[Case, list[str]]]:
    for case in all_cases():
        first, second = ours.send(case), peer.send(case)
        if only and only not in case.name:
            continue
        a, b = lines_of(case, first), lines_of(case, second)
        yield case, [] if a == b else list(difflib.unified_diff(b, a, "peer", "ours", lineterm="", n=2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours")
    parser.add_argument("peer")
    parser.add_argument("--only", default="", help="report only cases with this in their name")
    parser.add_argument("--show", type=int, default=40, help="lines of each difference")
    parser.add_argument("--json", default="", help="write the differences here")
    arguments = parser.parse_args()
    total, blamed, found = 0, 0, {}
    for case, difference in differences(Server(arguments.ours), Server(arguments.peer), arguments.only):
        total += 1
        if difference and "-status 500" in difference and any(line.startswith("+status 4") for line in difference):
            blamed += 1  # deliberate: what a client got wrong is never a failure of the server
        elif difference:
            found[case.name] = difference
            print(f"\n## {case.name}: {case.method} {case.path}")
            print("\n".join(difference[2 : 2 + arguments.show]))
    print(
        f"\n{total} requests, {len(found)} answered differently; {blamed} more with 4xx for the peer's 500",
        file=sys.stderr,
    )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=1) + "\n")
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
