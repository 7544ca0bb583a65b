"""What a Bluesky server refuses, in the words of the real ones."""

from collections.abc import Mapping


class XrpcError(Exception):
    """An XRPC answer other than success: HTTP status, error name, sentence, further headers."""

    def __init__(
        self,
        name: str,
        message: str,
        *,
        status: int = 400,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{name}: {message}")
        self.status = status
        self.name = name
        self.message = message
        self.headers = dict(headers or {})


class OAuthError(Exception):
    """An answer of the authorization server as RFC 6749 section 5.2 shapes it."""

    def __init__(
        self,
        error: str,
        description: str,
        *,
        status: int = 400,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status
        self.headers = dict(headers or {})


class DmRefused(Exception):
    """A direct message that the other's settings, a block or a suspension do not let through.

    `reason` is the chat service's error name, for instance `MessagesDisabled`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
