"""Ask a server what software it runs (https://nodeinfo.diaspora.software/protocol.html)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bot.networks.errors import Refused, Unavailable

if TYPE_CHECKING:
    from bot.networks.guard import GuardedClient

_SCHEMA: Final = "http://nodeinfo.diaspora.software/ns/schema/"
_VERSIONS: Final = 4  # of the schema, so far: whoever lists more wants us to be busy


@dataclass(frozen=True, slots=True)
class Software:
    """What a server says that it is."""

    name: str
    version: str


async def software_of(guard: "GuardedClient", base_url: str) -> Software | None:
    """Return what a server says that it is; None where it says nothing that can be read, Unavailable if not just now."""
    links = (await _read(guard, f"{base_url}/.well-known/nodeinfo")).get("links")
    listed = [link for link in links if isinstance(link, dict)] if isinstance(links, list) else []
    documents = [str(link.get("href")) for link in listed if str(link.get("rel")).startswith(_SCHEMA)]
    for document in documents[:_VERSIONS]:
        software = (await _read(guard, document)).get("software")
        if isinstance(software, dict) and software.get("name"):
            return Software(str(software["name"]), str(software.get("version") or ""))
    return None


async def _read(guard: "GuardedClient", url: str) -> dict[str, Any]:
    try:
        response = await guard.request("GET", url)
    except Refused:  # an address to which we do not go
        return {}
    if response.status == 429 or response.status >= 500:
        raise Unavailable(f"{url} answered {response.status}.", response.retry_in())
    try:
        return response.json_object() if response.ok else {}
    except Unavailable:  # a page for people
        return {}
