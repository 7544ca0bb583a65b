"""What an operator does from the command line: each takes the loaded configuration and prints what came of it."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import Final

import click
from rich.console import Console
from rich.progress import Progress

from bot.app import epoch_ms, make_keys, open_app, open_database
from bot.config import ConfigError, Loaded
from handlers import privacy
from handlers.claims import review
from handlers.context import Context
from handlers.stats import count
from storage import accounts, claims, messages, reports, segment_states, segments, segments_check
from storage.copying import HOW_TO_TELL, Copied, copy
from storage.database import CONFIGURED, Database
from storage.keys import LostSecretError
from storage.keys_in_use import take_grants
from storage.records import Account, Claim
from storage.rotation import rotate
from storage.unreadable import give_up

_LISTED: Final = 200
# What lost keys had encrypted (`GivenUp`), and who has to do what.
_LOST: Final = {
    "consents": "consents that people gave: {}. Whoever gave one is told when the bot next has to follow for them, "
    "and it is given anew with: connect",
    "begun": "consents that people were about to give: {}. They begin again with: connect",
    "endings": "consents that were to be ended: {}. The bot cannot end them any more; people can, in their server's settings.",
    "messages": "messages that failed: {}. They cannot be decided anew; whoever wrote them has to write again.",
    "own": "the bot's own sessions and registrations: {}. It makes them anew by itself.",
}


async def upgrade_database(loaded: Loaded) -> None:
    """Bring the schema to this Reflock's revision."""
    async with open_database(loaded) as database:
        with database.refusals_in_words():
            empty = await database.is_empty()
            await database.upgrade()
            await database.check_version()
        address = database.address
    click.echo(f"{address} is {'prepared' if empty else 'up to date'}.")


async def verify_index(loaded: Loaded) -> None:
    """Compare the index of lists with the lists, and say what is wrong; Failed when something is."""
    async with open_database(loaded) as database:
        await database.check_version()
        with _progress("Comparing the index with the lists") as told:
            problems = await segments_check.verify(database, told)
        async with database.reading() as connection:
            live = await segment_states.live_segments(connection)
    for problem in problems:
        click.echo(problem)
    if problems:
        raise click.ClickException("The index is not as it should be. Make it anew with: reflock db rebuild")
    links = sum(each.links for each in live)
    click.echo(
        f"The index is sound: {len(live)} segments, {links:,} links."
        if live
        else "There is no index yet: so few lists are searched without one."
    )


async def rebuild_index(loaded: Loaded) -> None:
    """Make the index of lists anew; the old one serves until the new one is there.

    On SQLite nobody else may work on the file meanwhile.
    """
    async with open_database(loaded) as database:
        await database.check_version()
        # A server lets the bot work beside this, and a task's lock keeps others from doing the same.
        async with (
            database.alone("db rebuild") if database.is_sqlite else nullcontext(),
            database.only_one(segments.TASK) as only,
        ):
            if not only:
                raise click.ClickException("The index is being looked after at this moment. Try again in a minute.")
            with _progress("Indexing the lists") as told:
                await only.during(segments.rebuild(database, told))
        async with database.reading() as connection:
            live = await segment_states.live_segments(connection)
    click.echo(f"The index is new: {len(live)} segments, {sum(each.links for each in live):,} links.")


async def copy_database(loaded: Loaded, to: str) -> None:
    """Copy everything into another, empty database, and say how to go on with that one."""
    async with open_database(loaded) as source, open_database(loaded, to) as target:
        committing = asyncio.Event()
        with _progress("Copying") as told:
            copying = asyncio.create_task(copy(source, target, told, committing.set))
            try:
                copied = await asyncio.shield(copying)
            except asyncio.CancelledError:
                copied = await _interrupted(copying, committing)
    click.echo(
        f"Copied to {target.address}: {copied.people:,} people, {copied.links:,} links, {copied.rows:,} rows in all, as "
        f"many in each table as in {source.address}.\n"
        f"To go on with it, set {CONFIGURED} to its address, and keep the keys as they are. Delete the old database when "
        "all is well: whoever asks to be forgotten from now on is still in it."
    )


async def _interrupted(copying: asyncio.Task[Copied], committing: asyncio.Event) -> Copied:
    """End a copy and say so; one that is being committed already is waited for."""
    if not committing.is_set():
        copying.cancel()
        await asyncio.wait([copying])
        if copying.cancelled():
            click.echo("Interrupted before the end: nothing was copied. Begin again with the same command.", err=True)
        return copying.result()
    try:
        click.echo("All is there and being committed, which is not interrupted. Wait for the end.", err=True)
        return await copying
    except (asyncio.CancelledError, KeyboardInterrupt):
        copying.cancel()
        await asyncio.wait([copying])
        click.echo(
            f"Interrupted while it was committed: the copy holds everything, or nothing. {HOW_TO_TELL}", err=True
        )
        raise


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far something is, on a terminal: links or rows done, of all."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, whole: bar.update(task, completed=done, total=whole)


async def rotate_keys(loaded: Loaded) -> None:
    """Encrypt every stored secret anew with the newest key."""
    keys = make_keys(loaded)
    async with open_database(loaded) as database:
        await database.check_version()
        try:
            async with database.transaction() as connection:
                rotated = await rotate(connection, keys)
        except LostSecretError:
            raise ConfigError(
                "REFLOCK_GRANT_KEYS does not hold every key with which this database's secrets were encrypted: nothing was "
                "done. Put the former key back, behind the newest; if it is lost, give up what it encrypted: reflock db "
                "rotate --lost"
            ) from None
    if rotated:
        click.echo(f"{rotated} secrets encrypted anew. Keys that only encrypted older ones can be removed now.")
    else:
        click.echo(f"0 secrets are stored in {database.address}: nothing was done.")


async def give_up_lost_keys(loaded: Loaded) -> None:
    """Erase what only lost keys open, encrypt the rest anew, and say who has to do what."""
    keys = make_keys(loaded)
    async with open_database(loaded) as database:
        await database.check_version()
        async with database.transaction() as connection:
            await take_grants(connection, keys)  # first, for it is no loss that anybody has to know of
            lost = await give_up(connection, keys)
            rotated = await rotate(connection, keys)
    click.echo(f"{rotated} secrets encrypted anew. Keys that only encrypted older ones can be removed now.")
    losses = [f"  {_LOST[what].format(count)}" for what, count in asdict(lost).items() if count]
    if losses:
        click.echo("\n".join(["Erased, because none of the keys in REFLOCK_GRANT_KEYS opens it:", *losses]))
    else:
        click.echo(f"Nothing was lost: the keys in REFLOCK_GRANT_KEYS open every secret in {database.address}.")


async def decide_claim(loaded: Loaded, claim_id: int, right: bool) -> None:  # a flag of the command line
    """Carry out an operator's decision; everybody concerned is told by the running bot."""
    async with open_app(loaded, log_in=False) as app:
        async with app.events.database.reading() as connection:
            claim = await claims.get(connection, claim_id)
            voices = await accounts.voices_of(connection, [claim.person_id] if claim else [])
        if claim is None or claim.person_id not in voices:
            raise ConfigError(f"There is no claim {claim_id}. See: reflock review")
        x_handle = claim.x_handle

        async def decide(context: Context) -> None:
            context.say(await review(context, claim_id, for_it=right))
            await reports.close_about(context.connection, x_handle)

        await app.events.decide(f"operator:{claim_id}:{claim.version}", voices[claim.person_id], decide)
    click.echo(f"Claim {claim_id} to {claim.x_handle} is {'confirmed' if right else 'withdrawn'}.")


async def retry_messages(loaded: Loaded) -> None:
    """Decide anew every message whose handler crashed."""
    async with open_app(loaded) as app:
        async with app.events.database.reading() as connection:
            failed = await messages.failed(connection, _LISTED)
        for each in failed:
            inbox = app.inboxes.get(each.network)
            done = inbox is not None and await inbox.retry(each)
            click.echo(f"message {each.reference}: {'decided anew' if done else 'cannot be read any more'}")
        if not failed:
            click.echo("No message has failed.")


async def list_waiting(loaded: Loaded) -> None:
    """List contested claims, reports and failed messages."""
    async with open_database(loaded) as database:
        await database.check_version()
        async with database.reading() as connection:
            contested = await claims.contested(connection, _LISTED)
            asked = await reports.waiting(connection, _LISTED)
            about = {each.x_handle: await claims.of_handle(connection, each.x_handle) for each in asked}
            failed = await messages.failed(connection, _LISTED)
    for claim in contested:
        click.echo(f"contested: {_line(claim)}")
    for report in asked:
        click.echo(f"report {report.id} by person {report.person_id} about {report.x_handle}: {report.words or '-'}")
        for claim in about[report.x_handle]:
            click.echo(f"  {_line(claim)}")
    for each in failed:
        click.echo(f"failed: message {each.reference} ({each.network}); decide it anew with: reflock review --retry")
    if not contested and not asked and not failed:
        click.echo("Nothing waits for you.")


def _line(claim: Claim) -> str:
    evidence = claim.evidence.name.lower()
    return f"claim {claim.id} of person {claim.person_id} to {claim.x_handle} ({claim.x_id or 'no id'}): {claim.state}, {evidence}"


async def print_stats(loaded: Loaded) -> None:
    """Print the counters as one JSON object."""
    async with open_database(loaded) as database:
        await database.check_version()
        async with database.reading() as connection:
            counted = await count(connection, epoch_ms())
    click.echo(json.dumps(asdict(counted)))


async def export_person(loaded: Loaded, account: str) -> None:
    """Print as JSON everything held about a person."""
    async with open_database(loaded) as database:
        await database.check_version()
        found = await _find(database, account)
        async with database.reading() as connection:
            click.echo(json.dumps(await privacy.everything(connection, found.person_id, epoch_ms()), indent=2))


async def forget_person(loaded: Loaded, account: str, ask: bool) -> None:  # a flag of the command line
    """Forget a person; their grants are revoked by the running bot."""
    async with open_app(loaded, log_in=False) as app:
        found = await _find(app.events.database, account)
        if ask:
            own = (await _accounts(app.events.database, found)) or [found]
            names = ", ".join(each.handle or each.id for each in own)
            click.confirm(f"Forget everything about {names}? This cannot be undone.", abort=True)
        await app.events.decide(f"operator:forget:{found.person_id}", found.id, privacy.forget_now)
        await privacy.wipe(app.events.database)
    click.echo(f"{account} is forgotten.")


async def _accounts(database: Database, found: Account) -> list[Account]:
    async with database.reading() as connection:
        return await accounts.of_person(connection, found.person_id)


async def _find(database: Database, name: str) -> Account:
    async with database.reading() as connection:
        known = await accounts.get(connection, name)
        found = [known] if known is not None else await accounts.by_handle(connection, name)
    if not found:
        raise ConfigError(f"There is no account {name!r} here. Give its DID, its actor URI or its handle.")
    if len(found) > 1:
        which = ", ".join(each.id for each in found)
        raise ConfigError(f"Several accounts were last known as {name!r}. Say which one you mean: {which}")
    return found[0]
