"""Render the page and its parts: a part is the same HTML when the page is opened and when it changes."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jinja2
from babel import Locale
from markupsafe import Markup

from bot.sandbox.demo.stage import Stage
from bot.sandbox.journal import Effect
from bot.sandbox.play.cast import Cast
from bot.sandbox.play.feed import words_of
from bot.sandbox.play.player import Player
from bot.sandbox.play.steps import next_words
from handlers.names import NETWORKS
from handlers.texts import Texts
from storage.records import NetworkName

HERE: Final = Path(__file__).parent
# What one message may hold on each network, with room for the bot's name before it.
MOST_WRITTEN: Final = {NetworkName.BLUESKY: 250, NetworkName.MASTODON: 450}


class Pages:
    """Everything that the page shows of a player."""

    def __init__(self, stage: Stage, cast: Cast) -> None:
        self._stage = stage
        self._cast = cast
        # Only the bot's own pages can be opened: what else it links to lives on the real networks.
        self._link: Final = re.compile(rf"({re.escape(stage.public_url)}/[\w\-./?=&%]*[\w\-/])")
        self._templates: Final = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def door(self, texts: Texts, csrf: str, player: Player | None, problem: str = "") -> str:
        """Render the page on which a name is chosen."""
        networks = [(network.value, NETWORKS[network]) for network in NetworkName]
        return self._render("door.html", texts, csrf=csrf, player=player, networks=networks, problem=problem)

    def page(self, player: Player, csrf: str) -> str:
        """Render the page of a player as everything is now."""
        columns = [self._column(player, network) for network in player.feeds]
        logs = {name: Markup("\n").join(items) for name, items in self.logs(player, {}).items()}
        parts = self.parts(player, csrf)
        values = {"player": player, "columns": columns, "logs": logs, "parts": parts, "csrf": csrf}
        return self._render("play.html", player.texts, **values)

    def parts(self, player: Player, csrf: str) -> dict[str, Markup]:
        """Render the parts that are replaced when they change, by name."""
        friends = [(friend, self._cast.is_here(friend)) for friend in player.resident.friends]
        flock = {"friends": friends, "homes": self._homes, "absent": len(player.resident.follows) - len(friends)}
        farewell = player.farewell()
        arrived = player.coming[-1] if player.coming else None
        values: Mapping[str, Mapping[str, Any]] = {
            "problem": {},
            "x": {"farewell": farewell},
            "flock": flock | {"left": self._cast.next_to_come(player.resident, player.coming) is not None},
            "arrival": {"newcomer": arrived, "here": arrived is not None and self._cast.is_here(arrived)},
        }
        parts = {
            name: self._render(f"{name}.html", player.texts, player=player, csrf=csrf, **more)
            for name, more in values.items()
        }
        for network, feed in player.feeds.items():
            words = next_words(player, feed.line)
            column = {"network": network.value, "csrf": csrf, "farewell": farewell}
            parts[f"next-{network}"] = self._render("next.html", player.texts, words=words, **column)
            followed = self._followed(player, network)
            parts[f"follows-{network}"] = self._render("follows.html", player.texts, followed=followed)
        return parts

    def logs(self, player: Player, shown: Mapping[str, int]) -> dict[str, list[Markup]]:
        """Render what has been said on each network, by log: all of it but the first `shown`."""
        logs: dict[str, list[Markup]] = {}
        for network, feed in player.feeds.items():
            feed.catch_up()
            for kind, effects in (("messages", feed.messages), ("timeline", feed.timeline)):
                name = f"{kind}-{network}"
                logs[name] = [self._said(player, network, each) for each in effects[shown.get(name, 0) :]]
        return logs

    def _said(self, player: Player, network: NetworkName, effect: Effect) -> Markup:
        words = words_of(effect) if effect.kind == "dm" else effect.text
        mine = effect.by == player.line(network).actor
        # Every other piece is an address, by the pattern's one group.
        return self._render("said.html", player.texts, pieces=self._link.split(words), mine=mine)

    def _column(self, player: Player, network: NetworkName) -> dict[str, Any]:
        return {
            "network": network.value,
            "name": NETWORKS[network],
            "handle": handle_of(player, network),
            "most": MOST_WRITTEN[network],
        }

    def _followed(self, player: Player, network: NetworkName) -> list[str]:
        """Return the names of the people whom a player follows now on a network."""
        lines = self._stage.wire.lines
        known = (lines.get(actor) for actor in player.line(network).person.follows)
        return sorted(line.resident.name for line in known if line is not None)

    @staticmethod
    def _homes(texts: Texts, homes: tuple[NetworkName, ...]) -> str:
        return texts.listing([NETWORKS[home] for home in homes])

    def _render(self, template: str, texts: Texts, **values: Any) -> Markup:
        direction = "rtl" if Locale.parse(texts.language).text_direction == "rtl" else "ltr"
        language = texts.language.replace("_", "-")
        common = {"text": texts.text, "plural": texts.plural, "texts": texts}
        html = self._templates.get_template(template).render(**common, language=language, direction=direction, **values)
        return Markup(html.strip())  # noqa: S704  # rendered with escaping


def handle_of(player: Player, network: NetworkName) -> str:
    """Return how a player is called on a network."""
    return f"@{player.line(network).person.handle.lstrip('@')}"
