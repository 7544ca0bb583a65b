"""Records at the Bluesky stand-in: written, replaced, listed and counted."""

from typing import Any

import pytest
from atproto import AsyncClient, models
from atproto.exceptions import RateLimitExceededError

from bot.sandbox.bluesky import BlueskyPerson, BlueskySandbox
from bot.sandbox.bluesky.ids import TidClock, is_tid
from tests.conftest import OwnClock
from tests.sandbox_bluesky import alice, bob, flock, refusal, sdk, sky

__all__ = ["alice", "bob", "flock", "sdk", "sky"]  # fixtures

FOLLOW = "app.bsky.graph.follow"
CREATE = "com.atproto.repo.applyWrites#create"
DELETE = "com.atproto.repo.applyWrites#delete"


def follow_write(other: BlueskyPerson, rkey: str | None = None) -> dict[str, Any]:
    value = {"$type": FOLLOW, "subject": other.did, "createdAt": "2026-11-21T00:00:00.000Z"}
    return {"$type": CREATE, "collection": FOLLOW, "value": value, **({"rkey": rkey} if rkey else {})}


async def apply_writes(sdk: AsyncClient, person: BlueskyPerson, writes: list[dict[str, Any]]) -> Any:
    return await sdk.com.atproto.repo.apply_writes({"repo": person.did, "writes": writes})


async def test_a_second_follow_replaces_the_first_and_one_among_several_writes_does_not(
    sky: BlueskySandbox, sdk: AsyncClient, flock: BlueskyPerson, alice: BlueskyPerson
) -> None:
    flock.follow(alice)
    record = models.AppBskyGraphFollow.Record(subject=alice.did, created_at=sdk.get_current_time_iso())
    await sdk.app.bsky.graph.follow.create(flock.did, record)
    assert sky.world.duplicate_follows() == 0
    write = models.ComAtprotoRepoApplyWrites.Create(collection="app.bsky.graph.follow", value=record)
    await sdk.com.atproto.repo.apply_writes({"repo": flock.did, "writes": [write]})
    assert sky.world.duplicate_follows() == 1


async def test_more_than_thirty_relationships_are_too_many(
    sky: BlueskySandbox, flock: BlueskyPerson, alice: BlueskyPerson
) -> None:
    params = {"actor": flock.did, "others": [alice.did] * 31}
    answer = await sky.http.get(f"{sky.url}/xrpc/app.bsky.graph.getRelationships", params=params)
    assert (answer.status_code, answer.json()["error"]) == (400, "InvalidRequest")


async def test_apply_writes_does_everything_or_nothing(
    sky: BlueskySandbox, sdk: AsyncClient, flock: BlueskyPerson, alice: BlueskyPerson, bob: BlueskyPerson
) -> None:
    tids = TidClock(sky.now)
    first, second = tids.next(), tids.next()
    done = await apply_writes(sdk, flock, [follow_write(alice, first)])
    assert done.results[0].uri == f"at://{flock.did}/{FOLLOW}/{first}"

    taken = [follow_write(bob, second), follow_write(alice, first)]
    assert await refusal(apply_writes(sdk, flock, taken)) == (500, "InternalServerError")
    absent = [follow_write(bob, second), {"$type": DELETE, "collection": FOLLOW, "rkey": tids.next()}]
    assert await refusal(apply_writes(sdk, flock, absent)) == (500, "InternalServerError")
    malformed = [follow_write(bob, second), follow_write(alice, "not-a-tid")]
    assert await refusal(apply_writes(sdk, flock, malformed)) == (400, "InvalidRequest")
    assert await refusal(apply_writes(sdk, flock, [follow_write(bob)] * 201)) == (400, "InvalidRequest")
    assert flock.follows == {alice.did}

    await apply_writes(sdk, flock, [follow_write(bob, second), {"$type": DELETE, "collection": FOLLOW, "rkey": first}])
    assert flock.follows == {bob.did}


async def test_create_refuses_an_existing_key_and_put_does_not(sdk: AsyncClient, flock: BlueskyPerson) -> None:
    key = TidClock(lambda: 1_790_000_000.0).next()
    assert is_tid(key)
    record = {"$type": "app.bsky.feed.post", "text": "once", "createdAt": "2026-11-21T00:00:00.000Z"}
    data: Any = {"repo": flock.did, "collection": "app.bsky.feed.post", "rkey": key, "record": record}
    created = await sdk.com.atproto.repo.create_record(data)
    assert await refusal(sdk.com.atproto.repo.create_record(data)) == (500, "InternalServerError")
    assert (await sdk.com.atproto.repo.put_record(data)).cid == created.cid
    place: Any = {"repo": flock.did, "collection": "app.bsky.feed.post", "rkey": key}
    assert (await sdk.com.atproto.repo.get_record(place)).cid == created.cid
    await sdk.com.atproto.repo.delete_record(place)
    await sdk.com.atproto.repo.delete_record(place)
    assert await refusal(sdk.com.atproto.repo.get_record(place)) == (400, "RecordNotFound")


async def test_a_key_that_no_record_can_have_is_refused_as_such(sdk: AsyncClient, flock: BlueskyPerson) -> None:
    for rkey, said in (("not/a/key", "InvalidRequest"), ("3jzfcijpj2z2a", "RecordNotFound")):
        wanted = {"repo": flock.did, "collection": "app.bsky.feed.post", "rkey": rkey}
        assert await refusal(sdk.com.atproto.repo.get_record(wanted)) == (400, said)


async def test_records_are_listed_page_by_page(
    sky: BlueskySandbox, sdk: AsyncClient, flock: BlueskyPerson, alice: BlueskyPerson, bob: BlueskyPerson
) -> None:
    uris = [flock.follow(alice), flock.follow(bob)]
    where: Any = {"repo": flock.did, "collection": FOLLOW, "limit": 1}
    page = await sdk.com.atproto.repo.list_records(where)
    rest = await sdk.com.atproto.repo.list_records(where | {"cursor": page.cursor})
    assert [page.records[0].uri, rest.records[0].uri] == uris[::-1]


async def test_writes_beyond_five_thousand_points_an_hour_are_refused_with_headers(
    sky: BlueskySandbox, sdk: AsyncClient, flock: BlueskyPerson, alice: BlueskyPerson, clock: OwnClock
) -> None:
    for _ in range(8):
        await apply_writes(sdk, flock, [follow_write(alice)] * 200)
    await apply_writes(sdk, flock, [follow_write(alice)] * 66)  # 4,998 points
    with pytest.raises(RateLimitExceededError) as caught:
        await apply_writes(sdk, flock, [follow_write(alice)])
    error = caught.value
    assert (error.limit, error.remaining, error.policy, error.retry_after) == (5000, 0, "5000;w=3600", 3600)
    clock.pass_seconds(3600)
    await apply_writes(sdk, flock, [follow_write(alice)])


async def test_nobody_writes_into_anothers_repository(sdk: AsyncClient, alice: BlueskyPerson) -> None:
    assert await refusal(sdk.send_post("I am Alice", profile_identify=alice.did)) == (401, "AuthenticationRequired")
