"""Structured logs on stderr: JSON lines, or text on a terminal."""

import logging
import sys
from typing import Final

import msgspec

TEXT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class JsonLines(logging.Formatter):
    """One JSON object a record: time (UTC), level, logger, message, perhaps the trace of an error."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line = {
            "time": f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def set_up(level: str, *, as_json: bool) -> None:
    """Send all logs of at least `level` to stderr."""
    import time

    handler = logging.StreamHandler(sys.stderr)
    formatter = JsonLines() if as_json else logging.Formatter(TEXT)
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)
