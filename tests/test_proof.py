"""Looking up the post by which somebody proves an old account on X."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.proof import NotAPost, Post, PostGone, PostLookup, Unavailable, post_id
from bot.proof.syndication import token
from bot.sandbox.faults import Fault, FaultMiddleware, Faults
from bot.sandbox.server import LoopbackServer

FAREWELL = "I'm now @alice.bsky.social & happy #eXit RF-7F3K-9QXA"
NUMBER = 1857432198765432109


class X:
    """X's two look-ups, in the forms that they really answer."""

    def __init__(self) -> None:
        self.posts: dict[str, dict[str, Any]] = {}
        self.faults = Faults()
        routes = [Route("/tweet-result", self.syndication), Route("/oembed", self.oembed)]
        self.server = LoopbackServer(FaultMiddleware(Starlette(routes=routes), self.faults))

    async def syndication(self, request: Request) -> Response:
        number = request.query_params["id"]
        if request.query_params["token"] != token(int(number)):
            return JSONResponse({}, 404)
        return JSONResponse(self.posts[number]) if number in self.posts else JSONResponse({}, 404)

    async def oembed(self, request: Request) -> Response:
        post = self.posts.get(request.query_params["url"].rpartition("/")[2])
        if post is None or "user" not in post:
            return JSONResponse({"error": "Sorry, that page does not exist"}, 404)
        name = post["user"]["screen_name"]
        words = (
            f'<p lang="en" dir="ltr">{post["text"]}</p>&mdash; RF-0000-0000 (@{name}) <a href="https://x.com">May 1</a>'
        )
        return JSONResponse(
            {
                "author_name": "RF-0000-0000",
                "author_url": f"https://twitter.com/{name}",
                "html": f'<blockquote class="twitter-tweet">{words}</blockquote>\n\n',
            }
        )

    def publish(self, handle: str = "Alice_Old", author: str = "12345", **more: Any) -> None:
        self.posts[str(NUMBER)] = {
            "__typename": "Tweet",
            "id_str": str(NUMBER),
            "text": FAREWELL.replace("&", "&amp;"),
            "user": {"id_str": author, "screen_name": handle},
            **more,
        }


@pytest.fixture
async def x() -> AsyncIterator[X]:
    world = X()
    async with world.server:
        yield world


@pytest.fixture
async def lookup(x: X) -> AsyncIterator[PostLookup]:
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        yield PostLookup(http, x.server.url, x.server.url + "/")


async def test_the_author_that_x_returns_decides_not_the_one_in_the_link(x: X, lookup: PostLookup) -> None:
    x.publish()

    assert await lookup.look_up(f"https://x.com/somebody_famous/status/{NUMBER}") == Post(
        NUMBER, "Alice_Old", 12345, FAREWELL
    )


async def test_when_syndication_is_away_oembed_knows_the_handle_but_no_number(x: X, lookup: PostLookup) -> None:
    x.publish()
    x.faults.plan(Fault("/tweet-result", status=503))

    assert await lookup.look_up(f"x.com/a/status/{NUMBER}") == Post(NUMBER, "Alice_Old", None, FAREWELL)


@pytest.mark.parametrize("kind", ["cut", "malformed"])
async def test_a_broken_answer_is_no_answer(x: X, lookup: PostLookup, kind: Any) -> None:
    x.publish()
    x.faults.plan(Fault("/tweet-result", kind))

    assert (await lookup.look_up(f"x.com/a/status/{NUMBER}")).author_id is None


@pytest.mark.parametrize(
    "odd", [{"id_str": "1"}, {"user": {"id_str": "x", "screen_name": "a"}}, {"user": None}, {"text": None}]
)
async def test_an_answer_about_something_else_is_not_believed(x: X, lookup: PostLookup, odd: dict[str, Any]) -> None:
    x.publish(**odd)
    x.faults.plan(Fault("/oembed", status=500))

    with pytest.raises(Unavailable):
        await lookup.look_up(f"x.com/a/status/{NUMBER}")


async def test_a_deleted_post_is_gone_and_nobody_else_is_asked(x: X, lookup: PostLookup) -> None:
    never = x.faults.plan(Fault("/oembed"))
    with pytest.raises(PostGone, match=f"no public post with the number {NUMBER}"):
        await lookup.look_up(f"x.com/a/status/{NUMBER}")

    x.posts[str(NUMBER)] = {"__typename": "TweetTombstone", "tombstone": {}}
    with pytest.raises(PostGone):
        await lookup.look_up(f"x.com/a/status/{NUMBER}")
    assert never.times == 1


async def test_when_x_is_busy_we_know_when_to_come_back(x: X, lookup: PostLookup) -> None:
    x.faults.plan(Fault("/tweet-result", status=429, headers={"retry-after": "900"}))
    x.faults.plan(Fault("/oembed", status=429, headers={"retry-after": "60"}))

    with pytest.raises(Unavailable) as caught:
        await lookup.look_up(f"x.com/a/status/{NUMBER}")
    assert caught.value.retry_in == 60


async def test_nobody_at_home(lookup: PostLookup) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(Unavailable) as caught:
            await PostLookup(http, "http://127.0.0.1:9", "http://127.0.0.1:9").look_up("x.com/a/status/20")
    assert caught.value.retry_in is None


@pytest.mark.parametrize(
    "pasted",
    [
        "https://x.com/alice/status/20",
        "https://twitter.com/alice/status/20?s=20&t=abc",
        "http://mobile.twitter.com/alice/statuses/20/",
        "www.x.com/alice/status/20/photo/1",
        "https://x.com/i/web/status/20",
        "https://x.com/i/status/20#m",
        "Done! https://X.com/Alice/status/20. See you",
        "@bot@mastodon.example here: (https://x.com/alice/status/20)",
        "see https://t.co/abc and https://x.com/alice/status/20",
    ],
)
def test_a_link_is_understood_however_it_is_pasted(pasted: str) -> None:
    assert post_id(pasted) == 20


@pytest.mark.parametrize(
    ("pasted", "problem", "sentence"),
    [
        ("done!", "no_link", "There is no link in this"),
        ("20", "no_link", "Copy link"),
        ("alice@x.com", "no_link", "There is no link"),
        ("https://x.com/alice", "no_post", "not to a post"),
        ("https://x.com/alice/status/", "no_post", "not to a post"),
        ("https://x.com/alice/status/99999999999999999999", "no_post", "not to a post"),
        ("https://x.com/alice/status/20abc", "no_post", "not to a post"),
        ("https://t.co/AbC", "short_link", "shortened link"),
        ("https://fxtwitter.com/alice/status/20", "mirror", "fxtwitter.com shows copies"),
        ("https://vxtwitter.com/alice/status/20", "mirror", "only X itself"),
        ("https://nitter.net/alice/status/20", "mirror", "nitter.net"),
        ("https://x.com.evil.org/alice/status/20", "not_x", "leads to x.com.evil.org"),
        ("https://evil.org/x.com/alice/status/20", "not_x", "evil.org"),
        ("https://evil-x.com/alice/status/20", "not_x", "evil-x.com"),
    ],
)
def test_what_is_no_post_gets_a_sentence(pasted: str, problem: str, sentence: str) -> None:
    with pytest.raises(NotAPost, match=sentence) as caught:
        post_id(pasted)
    assert caught.value.problem == problem


@given(st.text())
def test_whatever_is_pasted_ends_as_a_number_or_a_sentence(pasted: str) -> None:
    try:
        assert 0 < post_id(pasted) < 2**63
    except NotAPost as error:
        message = str(error)
    else:
        message = "understood"
    assert message


def test_the_token_is_the_one_that_javascript_makes() -> None:
    """Numbers from `((id / 1e15) * Math.PI).toString(36).replace(/(0+|\\.)/g, "")`."""
    assert token(20) == "6dq1a2xwd93"
    assert token(1_000_000_000_000_000) == "353i5ab8p5f"
    assert token(NUMBER) == "4i3amruw4gg"
