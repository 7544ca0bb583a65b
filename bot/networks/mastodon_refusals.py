"""How Mastodon-API servers say no: every software in its own way."""

from typing import Final

# What servers answer at /api/v1/accounts/verify_credentials to a token that has ended: not every one says 401.
TOKEN_ENDED: Final = frozenset({400, 401, 403, 422})
# How they say that a token does not cover something; "scope" is the one word that most of them share.
_SCOPE_WORDS: Final = ("scope", "insufficient permissions")


def is_about_scopes(said: str) -> bool:
    """Tell whether a 403 is about what the token covers."""
    return any(words in said.lower() for words in _SCOPE_WORDS)
