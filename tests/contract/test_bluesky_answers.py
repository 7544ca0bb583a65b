"""Answers of Bluesky's servers that no adapter shows, but on which the adapter and the story of the sandbox rely."""

import base64
import json
from itertools import pairwise
from typing import Any

import httpx
import pytest

from bot.networks.bluesky_records import FOLLOW, POST, tid_for
from bot.sandbox.bluesky.limits import WRITE_RULES
from bot.sandbox.bluesky.sky import Hands
from tests.contract.bluesky import Scene, unique

Json = dict[str, Any]

_LATELY = "2026-01-01T00:00:00.000Z"
_UNKNOWN = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"


class App:
    """Somebody's own app, which asks what it likes."""

    def __init__(self, scene: Scene, who: Hands, session: Json) -> None:
        self._scene = scene
        self.did = who.did
        self.session = session

    async def ask(self, nsid: str, **query: Any) -> httpx.Response:
        """Call a method that reads."""
        return await self._scene.http.get(f"{self._scene.sky.url}/xrpc/{nsid}", params=query, headers=self._headers())

    async def do(self, nsid: str, body: Json) -> httpx.Response:
        """Call a method of one's repository that writes."""
        url = f"{self._scene.sky.url}/xrpc/com.atproto.repo.{nsid}"
        return await self._scene.http.post(url, json={"repo": self.did, **body}, headers=self._headers())

    async def renew(self) -> httpx.Response:
        """Exchange the refresh token."""
        url = f"{self._scene.sky.url}/xrpc/com.atproto.server.refreshSession"
        return await self._scene.http.post(url, headers={"authorization": f"Bearer {self.session['refreshJwt']}"})

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.session['accessJwt']}"}


async def app_of(scene: Scene, who: Hands) -> App:
    """Sign somebody in."""
    await scene.sky.settle()
    url = f"{scene.sky.url}/xrpc/com.atproto.server.createSession"
    answer = await scene.http.post(url, json={"identifier": who.handle, "password": who.password})
    return App(scene, who, answer.raise_for_status().json())


def follow_of(subject: str, key: str) -> Json:
    """Return one of several writes."""
    value = {"$type": FOLLOW, "subject": subject, "createdAt": _LATELY}
    return {"$type": "com.atproto.repo.applyWrites#create", "collection": FOLLOW, "rkey": key, "value": value}


def id_of(token: str) -> str:
    """Return by what a server knows a refresh token."""
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return str(claims["jti"])


def error(answer: httpx.Response) -> tuple[int, str]:
    """Return the status and the name of an error."""
    return answer.status_code, answer.json()["error"]


async def test_any_did_has_relations_and_no_handle(bluesky: Scene) -> None:
    alice, bob = await bluesky.people(2)
    app = await app_of(bluesky, alice)
    relations = "app.bsky.graph.getRelationships"
    answer = (await app.ask(relations, actor=alice.did, others=[bob.did, _UNKNOWN, bob.handle])).json()
    assert answer["actor"] == alice.did
    assert [relation.get("did") for relation in answer["relationships"]] == [bob.did, _UNKNOWN, None]
    assert answer["relationships"][2]["notFound"]
    assert error(await app.ask(relations, actor=alice.did, others=[bob.did, "no DID"])) == (400, "InvalidRequest")


@pytest.mark.parametrize("leave", ["deactivate", "take_down"])
async def test_the_records_of_who_left_are_shown_to_nobody(bluesky: Scene, leave: str) -> None:
    alice, bob = await bluesky.people(2)
    apps = [await app_of(bluesky, alice), await app_of(bluesky, bob)]
    uri = await alice.post("hello")
    await getattr(alice, leave)()
    await bluesky.sky.settle()
    for app in apps:
        query = {"repo": alice.did, "collection": POST, "rkey": uri.rpartition("/")[2]}
        assert error(await app.ask("com.atproto.repo.getRecord", **query)) == (400, "InvalidRequest")
        assert error(await app.ask("app.bsky.actor.getProfile", actor=alice.did))[0] == 400
        assert (await app.ask("app.bsky.feed.getPosts", uris=[uri])).json() == {"posts": []}


async def test_who_was_taken_down_may_read_but_neither_write_nor_stay(bluesky: Scene) -> None:
    alice = await bluesky.person("alice")
    app = await app_of(bluesky, alice)
    await alice.take_down()
    assert (await app.ask("app.bsky.notification.listNotifications")).status_code == 200
    record = {"$type": POST, "text": "hello", "createdAt": _LATELY}
    assert error(await app.do("createRecord", {"collection": POST, "record": record})) == (401, "AccountTakedown")
    assert error(await app.ask("com.atproto.server.getSession")) == (400, "InvalidRequest")
    assert error(await app.renew()) == (401, "AccountTakedown")


async def test_a_refresh_token_that_is_used_twice_gives_one_successor(bluesky: Scene) -> None:
    app = await app_of(bluesky, await bluesky.person("alice"))
    successors = [(await app.renew()).raise_for_status().json()["refreshJwt"] for _ in range(2)]
    assert id_of(successors[0]) == id_of(successors[1]) != id_of(app.session["refreshJwt"])


async def test_every_write_costs_its_points_whatever_comes_of_it(bluesky: Scene) -> None:
    alice = await bluesky.person("alice")
    app = await app_of(bluesky, alice)
    crowd = (await bluesky.sky.open_crowd(1000))[:200]
    post = {"collection": POST, "rkey": tid_for("post"), "record": {"$type": POST, "text": "x", "createdAt": _LATELY}}
    for _ in range(4):  # until this allowance, and not that of requests, is the tightest, which is announced
        many = await app.do("applyWrites", {"writes": [follow_of(did, tid_for(unique(did))) for did in crowd]})
    assert many.headers["ratelimit-limit"] == str(WRITE_RULES[0].points)
    left = [int(many.headers["ratelimit-remaining"])]
    for nsid, body in (
        ("putRecord", post),
        ("putRecord", post),  # the same again changes nothing
        ("deleteRecord", {"collection": POST, "rkey": tid_for("post")}),
        ("deleteRecord", {"collection": POST, "rkey": tid_for("post")}),  # nor this
        ("createRecord", post),
        ("applyWrites", {"writes": [follow_of("nobody", tid_for("nobody"))]}),  # and this is refused
    ):
        left.append(int((await app.do(nsid, body)).headers["ratelimit-remaining"]))
    assert left[0] == WRITE_RULES[0].points - 4 * 200 * 3
    assert [before - after for before, after in pairwise(left)] == [2, 2, 1, 1, 3, 3]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"langs": ["en", "pt-BR", "zh-Hans"]}, 200),
        ({"langs": ["en", "fr", "de", "it"]}, 400),
        ({"langs": ["no language!"]}, 400),
        ({"facets": [{"index": {"byteStart": 0, "byteEnd": 99}, "features": []}]}, 200),  # beyond the text
        ({"facets": [{"index": {"byteStart": 1, "byteEnd": 2}, "features": []}]}, 200),  # through a letter
        ({"facets": [{"index": {"byteStart": -1, "byteEnd": 2}, "features": []}]}, 400),
        ({"facets": [{"index": {"byteStart": 0, "byteEnd": 1}}]}, 400),
        ({"reply": {"root": {"uri": "nowhere", "cid": "?"}, "parent": {"uri": "nowhere", "cid": "?"}}}, 400),
    ],
)
async def test_what_a_post_may_be(bluesky: Scene, more: Json, status: int) -> None:
    app = await app_of(bluesky, await bluesky.person("alice"))
    record = {"$type": POST, "text": "éé", "createdAt": _LATELY, **more}
    assert (await app.do("createRecord", {"collection": POST, "record": record})).status_code == status
