"""Ask a server who one of its accounts is (RFC 7033)."""

from typing import TYPE_CHECKING, Any, Final

from bot.networks.errors import Unavailable

if TYPE_CHECKING:
    from bot.networks.guard import GuardedClient, GuardedResponse

PATH: Final = "/.well-known/webfinger"


async def ask(guard: "GuardedClient", base_url: str, acct: str) -> "GuardedResponse":
    """Return the answer for "alice@server", from wherever the server sends the question on to."""
    return await guard.request("GET", f"{base_url}{PATH}", params={"resource": f"acct:{acct}"})


async def actor_of(guard: "GuardedClient", acct: str) -> str | None:
    """Return the actor URI that the server in an account's name gives for it."""
    return actor_in(described(await ask(guard, guard.base_url(acct.rpartition("@")[2]), acct)))


def described(response: "GuardedResponse") -> dict[str, Any]:
    """Return what was said of an account; nothing where the server knows none."""
    try:
        return response.json_object() if response.ok else {}
    except Unavailable:
        return {}


def actor_in(description: Any) -> str | None:
    """Return the actor URI that was named."""
    links = description.get("links") if isinstance(description, dict) else None
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "self" and "json" in str(link.get("type")):
            return str(link.get("href"))
    return None


def domain_in(description: Any) -> str | None:
    """Return the server by which the account was named."""
    subject = str(description.get("subject")) if isinstance(description, dict) else ""
    return subject.rpartition("@")[2].lower() if subject.startswith("acct:") and "@" in subject else None
