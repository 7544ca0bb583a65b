"""Set up the log: one event a line, never a secret, a message's text or an address with a token in it."""

import logging
import sys
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

    from bot.config import LogSection
    from bot.hiding import Hiding

# Libraries that log addresses, in which tokens may stand.
_TALKATIVE: Final = ("httpx", "httpcore", "urllib3", "uvicorn", "apscheduler", "asyncio", "mastodon")
_SECRETS: Final = frozenset({"token", "secret", "password", "code", "text", "authorization", "url"})


def set_up_logs(section: "LogSection", hiding: "Hiding") -> None:
    """Log to standard error at the configured level, for people or as JSON, never one of our secrets."""
    level = getattr(logging, section.level.upper())
    handler = logging.StreamHandler()
    handler.setFormatter(_HidingFormatter(hiding))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    last: Processor = (
        structlog.processors.JSONRenderer()
        if section.format == "json"
        else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    )
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _conceal,
    ]
    if section.format == "json":
        # Without local variables: the text of a message, a token or a key may be among them.
        transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        processors.append(structlog.processors.ExceptionRenderer(transformer))

    def write(logger: "WrappedLogger", method: str, event: "EventDict") -> str:
        # In the whole line: a traceback may quote a server too.
        return hiding.hide(str(last(logger, method, event)))

    structlog.configure(
        processors=[*processors, write],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


class _HidingFormatter(logging.Formatter):
    """What libraries log, tracebacks among it, without our secrets."""

    def __init__(self, hiding: "Hiding") -> None:
        super().__init__("%(levelname)s %(name)s %(message)s")
        self._hiding = hiding

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return self._hiding.hide(super().format(record))


def _conceal(_logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
    """Black out what should never have been handed to the log in the first place."""
    for name in _SECRETS & event.keys():
        event[name] = "…"
    return event
