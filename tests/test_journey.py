"""From hello to the reconnected flock, on both networks, told as it happens to people."""

import re
from functools import cached_property

import httpx
import pytest

from bot.sandbox.archive import follower_js, following_js
from bot.sandbox.bluesky import BlueskyPerson
from bot.sandbox.mastodon import MastodonPerson
from tests.flock import Flock, flock
from tests.visits import begins, enter, upload

__all__ = ["flock"]  # fixtures

Somebody = BlueskyPerson | MastodonPerson


class Traveller:
    """Somebody who writes to the bot and counts how often they had to."""

    def __init__(self, flock: Flock, person: Somebody, x_name: str) -> None:
        self.flock = flock
        self.person = person
        self.x = flock.x.create_account(x_name)
        self.messages = 0
        self._read = 0

    @cached_property
    def browser(self) -> httpx.AsyncClient:
        return self.flock.new_browser()

    @property
    def bot(self) -> Somebody:
        return self.flock.bluesky_bot if isinstance(self.person, BlueskyPerson) else self.flock.mastodon_bot

    async def write(self, text: str) -> str:
        """Send a DM, let everything happen, and return what the bot has answered since."""
        self.messages += 1
        self.person.dm(self.bot, text)  # type: ignore[arg-type]  # each network's people write to their own bot
        await self.flock.settle()
        return self.read()

    def read(self) -> str:
        """Return the DMs that came since the last time."""
        received = self.person.received_dms(self.bot)  # type: ignore[arg-type]  # as above
        new, self._read = received[self._read :], len(received)
        return "\n\n".join(message.text for message in new)

    async def prove(self) -> str:
        """Claim the old account and post the farewell that the bot wrote; return what the bot says to its link."""
        answer = await self.write(f"claim @{self.x.screen_name}")
        code = re.search(r"RF-\w{4}-\w{4}", answer)
        assert code, answer
        return await self.write(self.x.post(f"Goodbye! #eXit {code[0]}"))

    async def upload(self, answer: str, following: list[int], followers: list[int]) -> str:
        """Open the one-time link in an answer and hand over the two lists of an archive."""
        page = await enter(self.browser, one_time_link(answer, "import"))
        done = await upload(
            self.browser,
            page,
            ("files", ("following.js", following_js(following), "text/javascript")),
            ("files", ("follower.js", follower_js(followers), "text/javascript")),
        )
        assert done.status_code == 200, done.text
        await self.flock.settle()
        return self.read()

    async def consent(self, answer: str) -> str:
        """Open the consent link in an answer and agree at one's own server."""
        page = await enter(self.browser, one_time_link(answer, "connect"))
        back = await self.person.approve(await begins(self.browser, page, network=self.network, where=self.where))
        done = await self.browser.get(back, follow_redirects=True)
        assert done.status_code == 200, done.text
        await self.flock.settle()
        return self.read()

    @property
    def network(self) -> str:
        return "bluesky" if isinstance(self.person, BlueskyPerson) else "mastodon"

    @property
    def where(self) -> str:
        return self.person.handle if isinstance(self.person, BlueskyPerson) else self.flock.mastodon.domain


def one_time_link(text: str, kind: str) -> str:
    link = re.search(rf"http://127\.0\.0\.1:\d+/{kind}/[\w-]+", text)
    assert link, text
    return link[0]


def new_person(flock: Flock, network: str, name: str) -> Somebody:
    if network == "bluesky":
        return flock.bluesky.create_account(f"{name}.test", password="her own")
    return flock.mastodon.create_account(name)


@pytest.mark.parametrize("network", ["bluesky", "mastodon"])
async def test_from_hello_to_the_first_follow_in_five_messages(flock: Flock, network: str) -> None:
    bob = Traveller(flock, new_person(flock, network, "bob"), "bob_on_x")
    carol = Traveller(flock, new_person(flock, network, "carol"), "carol_on_x")
    for friend in (bob, carol):
        proof = await friend.prove()
        assert friend.x.screen_name in proof

    alice = Traveller(flock, new_person(flock, network, "alice"), "alice_on_x")
    assert "claim" in await alice.write("hello")
    proof = await alice.prove()
    listed = await alice.upload(proof, [bob.x.x_id, carol.x.x_id, 999_999], [bob.x.x_id])
    assert "2 of the 3" in listed
    assert "bob_on_x" in listed
    consented = await alice.consent(proof)
    assert consented
    preview = await alice.write("follow all")
    assert "yes" in preview
    assert alice.person.follows == set()
    await alice.write("yes")
    assert alice.person.follows == {bob.person.actor, carol.person.actor}
    assert alice.messages <= 5


@pytest.mark.parametrize("network", ["bluesky", "mastodon"])
async def test_a_newcomer_is_announced_by_name_once_and_followed_for_those_who_wish(flock: Flock, network: str) -> None:
    alice = Traveller(flock, new_person(flock, network, "alice"), "alice_on_x")
    bob = Traveller(flock, new_person(flock, network, "bob"), "bob_on_x")
    proof = await alice.prove()
    await alice.upload(proof, [bob.x.x_id], [])
    await alice.consent(proof)
    await alice.write("auto on")

    await bob.prove()
    await flock.pass_seconds(61)
    notice = alice.read()
    assert "bob_on_x" in notice
    assert bob.person.actor in alice.person.follows

    await flock.pass_seconds(7 * 86_400)
    assert "bob_on_x" not in alice.read()


@pytest.mark.parametrize("network", ["bluesky", "mastodon"])
async def test_undo_takes_a_whole_batch_back(flock: Flock, network: str) -> None:
    alice = Traveller(flock, new_person(flock, network, "alice"), "alice_on_x")
    bob = Traveller(flock, new_person(flock, network, "bob"), "bob_on_x")
    await bob.prove()
    proof = await alice.prove()
    await alice.upload(proof, [bob.x.x_id], [])
    await alice.consent(proof)
    await alice.write("follow all")
    await alice.write("yes")
    assert alice.person.follows == {bob.person.actor}
    await alice.write("undo")
    await alice.write("yes")
    assert alice.person.follows == set()


async def test_one_person_with_two_accounts_is_reconnected_on_both_networks(flock: Flock) -> None:
    alice = Traveller(flock, new_person(flock, "bluesky", "alice"), "alice_on_x")
    alice_too = Traveller(flock, new_person(flock, "mastodon", "alice"), "alice_second")
    bob = Traveller(flock, new_person(flock, "bluesky", "bob"), "bob_on_x")
    carol = Traveller(flock, new_person(flock, "mastodon", "carol"), "carol_on_x")
    for friend in (bob, carol):
        await friend.prove()
    proof = await alice.prove()
    await alice.upload(proof, [bob.x.x_id, carol.x.x_id], [])
    await alice.consent(proof)
    code = re.search(r"LK-\w{4}-\w{4}", await alice.write("link"))
    assert code
    await alice_too.write(f"link {code[0]}")
    await alice_too.consent(await alice_too.write("connect"))
    await alice.write("follow all")
    await alice.write("yes")
    assert alice.person.follows == {bob.person.actor}
    assert alice_too.person.follows == {carol.person.actor}


async def test_somebody_elses_post_proves_nothing(flock: Flock) -> None:
    mallory = Traveller(flock, new_person(flock, "bluesky", "mallory"), "mallory_on_x")
    victim = flock.x.create_account("victim_on_x")
    answer = await mallory.write("claim @victim_on_x")
    code = re.search(r"RF-\w{4}-\w{4}", answer)
    assert code
    refusal = await mallory.write(mallory.x.post(f"Goodbye! #eXit {code[0]}"))
    assert "mallory_on_x" in refusal
    assert victim.screen_name in refusal
