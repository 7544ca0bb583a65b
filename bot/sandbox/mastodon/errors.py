"""What the stand-in of Mastodon refuses."""

from collections.abc import Mapping


class ApiError(Exception):
    """A refusal: the HTTP status and the sentence of the `error` property.

    In process it is raised as it is; over HTTP it becomes the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def not_found() -> ApiError:
    """Return Mastodon's answer for what does not exist or may not be seen."""
    return ApiError(404, "Record not found")


def not_allowed() -> ApiError:
    """Return Mastodon's answer for what blocks forbid."""
    return ApiError(403, "This action is not allowed")


def invalid(fault: str) -> ApiError:
    """Return Mastodon's answer for what does not validate."""
    return ApiError(422, f"Validation failed: {fault}")


class OAuthError(Exception):
    """A refusal of the authorization server (RFC 6749, section 5.2)."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status
