"""What an operator does from the command line: each takes the loaded configuration and prints what came of it."""

import json

import click

from bot.app import epoch_ms, make_keys, open_app, open_database
from bot.config import ConfigError, Loaded
from handlers import privacy, reviewing
from storage import accounts, grants, messages
from storage.database import Database
from storage.records import Account


async def upgrade_database(loaded: Loaded) -> None:
    """Bring the schema to this Reflock's revision."""
    async with open_database(loaded) as database:
        await database.upgrade()
        await database.check_version()
    click.echo("The database is up to date.")


async def rotate_keys(loaded: Loaded) -> None:
    """Encrypt every stored secret anew with the newest key."""
    keys = make_keys(loaded)
    async with open_database(loaded) as database:
        await database.check_version()
        async with database.transaction() as connection:
            rotated = await grants.rotate(connection, keys)
    click.echo(f"{rotated} secrets encrypted anew. Keys that only encrypted older ones can be removed now.")


async def review_waiting(loaded: Loaded, claim_id: int | None, right: bool, retry: bool) -> None:  # noqa: FBT001  # two flags of the command line
    """List what waits for an operator; decide a claim; retry the messages whose handlers crashed."""
    async with open_app(loaded) as app:
        if claim_id is not None:
            async with app.events.database.transaction() as connection:
                speeches, line = await reviewing.decide(
                    connection, app.events.world, app.events.catalogue, claim_id, right=right, now=app.events.clock()
                )
                await app.events.promise_speeches(connection, speeches)
            click.echo(line)
            return
        async with app.events.database.reading() as connection:
            failed = await messages.failed(connection)
            waiting = await reviewing.waiting(connection)
        for line in waiting:
            click.echo(line)
        for each in failed:
            done = retry and await app.inboxes[each.network].retry(each)
            click.echo(f"message {each.reference}: {'decided anew' if done else 'failed; decide it anew with --retry'}")
        if not waiting and not failed:
            click.echo("Nothing waits for you.")


async def print_stats(loaded: Loaded) -> None:
    """Print the counters as one JSON object."""
    from handlers.stats import counters

    async with open_database(loaded) as database:
        await database.check_version()
        async with database.reading() as connection:
            click.echo(json.dumps(await counters(connection)))


async def export_person(loaded: Loaded, account: str) -> None:
    """Print as JSON everything held about a person."""
    async with open_database(loaded) as database:
        await database.check_version()
        found = await _find(database, account)
        async with database.reading() as connection:
            click.echo(json.dumps(await privacy.everything(connection, found.person_id, epoch_ms()), indent=2))


async def forget_person(loaded: Loaded, account: str) -> None:
    """Forget a person; their grants are revoked by the running bot."""
    async with open_app(loaded) as app:
        found = await _find(app.events.database, account)
        async with app.events.event(f"operator:forget:{found.person_id}", found.id) as context:
            await privacy.forget_now(context)
        await privacy.wipe(app.events.database)
    click.echo(f"{account} is forgotten.")


async def _find(database: Database, name: str) -> Account:
    async with database.reading() as connection:
        found = await accounts.get(connection, name) or await accounts.by_handle(connection, name)
    if found is None:
        raise ConfigError(f"There is no account {name!r} here. Give its DID, its actor URI or its handle.")
    return found
