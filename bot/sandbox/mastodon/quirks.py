"""The characters of servers: in what their software departs from Mastodon's, as far as clients notice."""

from dataclasses import dataclass, replace
from typing import Final, Literal

from bot.sandbox.mastodon.ids import IdStyle

HtmlStyle = Literal["mastodon", "gotosocial", "takahe", "pleroma", "snac", "hollo"]


@dataclass(frozen=True, slots=True)
class Quirks:
    """One character, called `name`; what is not said is as on Mastodon."""

    name: str = "mastodon"
    software: str = "mastodon"
    # What the server says of itself: with which status it refuses to, whether in the newer form too, how it has events
    # streamed, if at all, how long statuses may be, and whether links and names count with every letter.
    instance_status: int | None = None
    oauth_metadata: bool = True
    streaming: Literal["sse", "websocket"] | None = "sse"
    instance_v2: bool = True
    max_characters: int = 500
    counts_all: bool = False
    # Accounts: the host that names them only sends WebFinger on to the one that serves them, which may write the name
    # in capitals, and of local accounts too; WebFinger alone may tell the actor, and not by the
    # serving host; the search for accounts alone may find nobody.
    split_domain: bool = False
    upper_case_domain: bool = False
    full_acct: bool = False
    actor_path: str = "/users/{name}"
    account_uri: bool = True
    bot_label: bool = True
    account_search: bool = True
    webfinger_by_host: bool = True
    # Statuses and notifications: `dated_notifications` have a time and a kind in their ids; every other one may be shown
    # a look `late`, after others with a higher number; so many of the newest are shown at all, and a page has so many
    # at most; a `jumping_min_id` gives the newest, as `since_id` does, which may be ignored, as may be `max_id`; a
    # parent that is gone may be answered; private ones of one's own may be shown at home only.
    ids: IdStyle = "number"
    dated_notifications: bool = False
    late_notifications: bool = False
    newest_notifications: int | None = None
    page: int = 80
    jumping_min_id: bool = False
    since_id: bool = True
    max_id: bool = True
    html: HtmlStyle = "mastodon"
    languages: bool = True
    notification_policy: bool = True
    idempotency: bool = True
    deleted_parents: bool = False
    private_at_home: bool = False
    # Follows: late ones come true after the request for them was answered.
    locked_by_default: bool = False
    late_follows: bool = False
    # Consents: `any_scope` may be registered; `scopes` pairs the ends of paths with the scope that they take instead.
    pkce: bool = True
    any_scope: bool = False
    scopes: tuple[tuple[str, str], ...] = ()
    empty_revocation: bool = False
    # Forms: yes and no may have to be written as words, and statuses in JSON.
    booleans_in_words: bool = False
    statuses_in_json: bool = False
    # Refusals: of what does not validate, of a wrong code, of a token that is none (with a page for people), and the
    # words for a token that does not cover something.
    invalid_status: int = 422
    wrong_code_status: int = 400
    dead_token_status: int = 401
    scope_words: str = "This action is outside the authorized scopes"


MASTODON: Final = Quirks()
# An account tells its URI since 4.2; the other three came with 4.3.
OLD_MASTODON: Final = replace(
    MASTODON, name="old mastodon", account_uri=False, oauth_metadata=False, pkce=False, notification_policy=False
)
# LOCAL_DOMAIN beside WEB_DOMAIN (https://docs.joinmastodon.org/admin/config/#web_domain).
SPLIT_DOMAIN: Final = replace(MASTODON, name="split domain", split_domain=True, upper_case_domain=True)
# A server that speaks of itself to nobody.
SILENT: Final = replace(MASTODON, name="silent", instance_status=401, streaming=None)
GOTOSOCIAL: Final = Quirks(
    "gotosocial",
    software="gotosocial",
    oauth_metadata=False,
    streaming="websocket",
    max_characters=5000,
    counts_all=True,
    account_uri=False,
    ids="ulid",
    late_notifications=True,
    page=40,
    html="gotosocial",
    notification_policy=False,
    idempotency=False,
    locked_by_default=True,
    any_scope=True,
    scopes=(("/relationships", "read:accounts"),),
    invalid_status=400,
    scope_words="Forbidden: token has insufficient scope permission",
)
TAKAHE: Final = Quirks(
    "takahe",
    software="takahe",
    oauth_metadata=False,
    streaming=None,
    instance_v2=False,
    counts_all=True,
    split_domain=True,
    webfinger_by_host=False,
    private_at_home=True,
    full_acct=True,
    actor_path="/@{name}@{domain}/",
    account_uri=False,
    bot_label=False,
    late_notifications=True,
    page=40,
    html="takahe",
    languages=False,
    notification_policy=False,
    idempotency=False,
    deleted_parents=True,
    late_follows=True,
    pkce=False,
    any_scope=True,
    scopes=(("/verify_credentials", "read"), ("/relationships", "read"), ("/search", "read")),
    empty_revocation=True,
    invalid_status=400,
    wrong_code_status=500,
    dead_token_status=400,
    scope_words="out_of_scope_for_token",
)
PLEROMA: Final = Quirks(
    "pleroma",
    software="pleroma",
    instance_status=503,
    oauth_metadata=False,
    streaming="websocket",
    max_characters=5000,
    counts_all=True,
    html="pleroma",
    notification_policy=False,
    scope_words="Insufficient permissions: write:follows.",
)
HOLLO: Final = Quirks(
    "hollo",
    software="hollo",
    instance_status=404,
    streaming=None,
    max_characters=10_000,
    actor_path="/@{name}",
    account_uri=False,
    ids="uuid",
    booleans_in_words=True,
    statuses_in_json=True,
    dated_notifications=True,
    page=10_000,
    jumping_min_id=True,
    since_id=False,
    max_id=False,
    html="hollo",
    notification_policy=False,
    invalid_status=400,
    scope_words="insufficient_scope",
)
SNAC: Final = Quirks(
    "snac",
    software="snac",
    oauth_metadata=False,
    streaming=None,
    max_characters=100_000,
    counts_all=True,
    actor_path="/{name}",
    account_search=False,
    newest_notifications=64,
    jumping_min_id=True,
    since_id=False,
    page=40,
    html="snac",
    notification_policy=False,
    idempotency=False,
    deleted_parents=True,
    pkce=False,
    any_scope=True,
    dead_token_status=422,
)
# Where a server says that it is snac nobody is asked to consent; its other ways are survived wherever they are met.
_LIKE_SNAC: Final = replace(SNAC, software="unknown")
CHARACTERS: Final = (MASTODON, OLD_MASTODON, SPLIT_DOMAIN, SILENT, GOTOSOCIAL, TAKAHE, PLEROMA, HOLLO, _LIKE_SNAC)
