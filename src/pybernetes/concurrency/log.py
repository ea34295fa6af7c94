"""Structured logging: a message and key-value pairs, one line a record, on the standard library's logging.

``logger("controllers.deployment").info("scaled", key=key, replicas=3)`` prints upstream-like
``I1121 09:45:00.123456 controllers.deployment scaled key="default/web" replicas=3``.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import orjson

_LETTERS = {logging.DEBUG: "D", logging.INFO: "I", logging.WARNING: "W", logging.ERROR: "E", logging.CRITICAL: "F"}


class Logger:
    """A named logger whose calls take key-value pairs."""

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"pybernetes.{name}")

    def debug(self, message: str, /, **pairs: Any) -> None:
        if self._logger.isEnabledFor(logging.DEBUG):
            self._logger.debug(message, extra={"pairs": pairs})

    def info(self, message: str, /, **pairs: Any) -> None:
        if self._logger.isEnabledFor(logging.INFO):
            self._logger.info(message, extra={"pairs": pairs})

    def warning(self, message: str, /, **pairs: Any) -> None:
        self._logger.warning(message, extra={"pairs": pairs})

    def error(self, message: str, /, failure: BaseException | None = None, **pairs: Any) -> None:
        """``failure`` adds its traceback."""
        self._logger.error(message, extra={"pairs": pairs}, exc_info=failure)


def logger(name: str) -> Logger:
    return Logger(name)


class LineFormatter(logging.Formatter):
    """klog's header, then the message and the pairs."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        pairs = getattr(record, "pairs", {})
        tail = "".join(f" {k}={_text(v)}" for k, v in pairs.items())
        name = record.name.removeprefix("pybernetes.")
        line = f"{_LETTERS.get(record.levelno, 'I')}{moment:%m%d %H:%M:%S.%f} {name} {record.getMessage()}{tail}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _text(value: Any) -> str:
    if isinstance(value, int | float | bool):
        return str(value)
    return orjson.dumps(str(value)).decode()


class JsonFormatter(logging.Formatter):
    """The format that upstream's components call json: one object a line, ``ts`` in milliseconds, pairs beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": round(record.created * 1000, 3),
            "logger": record.name.removeprefix("pybernetes."),
            "msg": record.getMessage(),
        }
        if record.levelno < logging.ERROR:
            line["v"] = 4 if record.levelno < logging.INFO else 0
        for key, value in getattr(record, "pairs", {}).items():
            line[key if key not in line else f"{key}_"] = value
        if record.exc_info:
            line["err"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


FORMATS: dict[str, type[logging.Formatter]] = {"text": LineFormatter, "json": JsonFormatter}


def configure(level: str = "info", form: str = "text") -> None:
    """Sends all of the package's records to standard error, one line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATS[form]())
    root = logging.getLogger("pybernetes")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
