"""What an OAuth grant allows: atproto's granular scopes and the two transitional ones."""

from dataclasses import dataclass
from urllib.parse import parse_qs

_ACTIONS = ("create", "update", "delete")


@dataclass(frozen=True, slots=True)
class Scopes:
    """A space-separated scope string, read as https://atproto.com/specs/permission says."""

    tokens: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Scopes":
        """Split a scope string; every token counts once."""
        return cls(tuple(dict.fromkeys(text.split())))

    def __str__(self) -> str:
        return " ".join(self.tokens)

    def within(self, other: "Scopes") -> bool:
        """Tell whether the other string has all of these tokens."""
        return set(self.tokens) <= set(other.tokens)

    def allows_write(self, action: str, collection: str) -> bool:
        """Tell whether a record of this collection may be created, updated or deleted."""
        if "transition:generic" in self.tokens:
            return True
        for collections, query in self._resources("repo", "collection"):
            if action in query.get("action", _ACTIONS) and not {"*", collection}.isdisjoint(collections):
                return True
        return False

    def allows_call(self, method: str) -> bool:
        """Tell whether a request of another service may be passed on, such as app.bsky.graph.getRelationships."""
        if "transition:generic" in self.tokens and not method.startswith("chat.bsky."):
            return True
        if "transition:chat.bsky" in self.tokens and method.startswith("chat.bsky."):
            return True
        return any(not {"*", method}.isdisjoint(methods) for methods, _ in self._resources("rpc", "lxm"))

    def _resources(self, kind: str, parameter: str) -> list[tuple[set[str], dict[str, list[str]]]]:
        found = []
        for token in self.tokens:
            head, _, query_text = token.partition("?")
            name, _, positional = head.partition(":")
            if name == kind:
                query = parse_qs(query_text)
                found.append(({positional, *query.get(parameter, ())} - {""}, query))
        return found
