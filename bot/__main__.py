"""The command `reflock`. Everything heavy is imported by the command that needs it, so that help answers at once."""

import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

if TYPE_CHECKING:
    from bot.config import Loaded

# What a supervisor may read: 2 is a mistake in the configuration, which starting again does not mend.
_EXIT_CONFIGURATION: Final = 2

# What a shell says of a command that SIGPIPE ended, as it does others.
_EXIT_UNREAD: Final = 141

_config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("config.toml"),
    show_default=True,
    envvar="REFLOCK_CONFIG",
    help="The configuration; the secrets come from the environment or from .env beside it.",
)


class _Commands(click.Group):
    """The commands; where nobody reads on what one prints, as with `| head -1`, it ends without a word."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that is asked for."""
        try:
            return super().invoke(ctx)
        except* BrokenPipeError:  # from within a task group too
            if ctx.invoked_subcommand == "run":  # it prints nothing, so it is another pipe that broke
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes the rest when it ends
        sys.exit(_EXIT_UNREAD)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="reflock")
def main() -> None:
    """Get the flock you followed on X back together, on Bluesky and on Mastodon."""


@main.command()
@click.option(
    "--role",
    type=click.Choice(["all", "listen", "work", "web"]),
    default="all",
    show_default=True,
    help="What this process does, beside others on the same PostgreSQL database.",
)
@click.option("--worker", help="The name of this process among them, instead of [bot] worker.")
@_config_option
def run(config_path: Path, role: str, worker: str | None) -> None:
    """Run the bot until it is told to stop."""
    from bot.running import Role, run_app

    _in_loop(config_path, run_app, Role(role), worker, complete=True)


@main.command(short_help="Write a config.toml to fill in, and a .env with fresh keys.")
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="Where to write.")
def init(directory: Path) -> None:
    """Write a config.toml to fill in, and a .env with fresh keys; existing files are left alone."""
    from bot.installing import write_files

    for line in write_files(directory):
        click.echo(line)


@main.command(short_help="Watch Reflock work, on networks of this machine only.")
@click.option("--once", is_flag=True, help="End with the story instead of leaving the networks up.")
@click.option("--json", "json_output", is_flag=True, help="Print the figures as one JSON object, as the last line.")
@click.option(
    "--archive",
    type=click.Path(path_type=Path, exists=True),
    help="A real X archive (zip or following.js) for the leading part; it does not leave this machine.",
)
@click.option("--database-url", help="Play it on this (empty) database instead of SQLite in a temporary folder.")
@click.option("--people", type=click.IntRange(12, 2000), help="How many people play.  [default: 200; 60 on a real one]")
@click.option(
    "--bluesky",
    type=click.Choice(["stand-in", "real"]),
    default="stand-in",
    show_default=True,
    help="What plays Bluesky; the real one (PDS, PLC directory, AppView) comes with the source: make real.",
)
def demo(
    *,
    once: bool,
    json_output: bool,
    archive: Path | None,
    database_url: str | None,
    people: int | None,
    bluesky: Literal["stand-in", "real"],
) -> None:
    """Watch the whole of Reflock work on networks that live on this machine only."""
    from bot.sandbox.demo import run_demo

    code = run_demo(
        once=once,
        json_output=json_output,
        archive=archive,
        database_url=database_url,
        people=people,
        bluesky=bluesky,
    )
    sys.exit(code)


@main.command(short_help="Check the configuration against the real services it names.")
@click.option("--fix", is_flag=True, help="Set what can be set from here, each after a question; then check again.")
@click.option("--yes", is_flag=True, help="Do not ask: answer every question of --fix with yes.")
@click.option("--json", "json_output", is_flag=True, help="Print all findings as one JSON object.")
@click.option(
    "--timeout",
    default=20.0,  # more than any one request may take, so that none is under way when its check is given up
    show_default=True,
    type=click.FloatRange(1, 600),
    help="How many seconds each check may take.",
)
@_config_option
def doctor(config_path: Path, *, fix: bool, yes: bool, json_output: bool, timeout: float) -> None:
    """Check the configuration against the real services it names, a line for each check; without --fix change nothing.

    The exit code is 0 when nothing is wrong, 1 when something is, and 2 when the configuration cannot be used.
    """
    from bot.doctor.command import Asked, run_doctor

    if yes and not fix:
        raise click.UsageError("--yes answers the questions of --fix, which is missing.")
    if fix and json_output and not yes:
        raise click.UsageError("With --json there is nobody to ask: --fix needs --yes.")
    _in_loop(config_path, run_doctor, Asked(fix=fix, yes=yes, json_output=json_output), timeout)


@main.group()
def db() -> None:
    """Look after the database."""


@db.command()
@_config_option
def upgrade(config_path: Path) -> None:
    """Bring the schema to this Reflock's revision."""
    from bot.operating import upgrade_database

    _in_loop(config_path, upgrade_database)


@db.command()
@_config_option
def verify(config_path: Path) -> None:
    """Compare the index of lists with the lists themselves."""
    from bot.operating import verify_index

    _in_loop(config_path, verify_index)


@db.command()
@_config_option
def rebuild(config_path: Path) -> None:
    """Make the index of lists anew from the lists."""
    from bot.operating import rebuild_index

    _in_loop(config_path, rebuild_index)


@db.command(short_help="Copy everything into another, empty database.")
@click.option(
    "--to",
    required=True,
    metavar="URL",
    envvar="REFLOCK_COPY_TO",
    help="An empty database: postgresql://user@host/name or sqlite:///file; one with a password is better given by the "
    "environment, as REFLOCK_COPY_TO.",
)
@_config_option
def copy(config_path: Path, to: str) -> None:
    """Copy everything into another, empty database, as from SQLite to PostgreSQL; nobody may work on either meanwhile.

    It is copied as a whole or not at all, and the database that is copied stays as it is.
    """
    from bot.operating import copy_database

    _in_loop(config_path, copy_database, to)


@db.command()
@click.option(
    "--lost", is_flag=True, help="A former key is lost: erase for good what only it opens. People consent again."
)
@_config_option
def rotate(config_path: Path, *, lost: bool) -> None:
    """Encrypt every stored secret anew with the first of REFLOCK_GRANT_KEYS."""
    from bot.operating import give_up_lost_keys, rotate_keys

    _in_loop(config_path, give_up_lost_keys if lost else rotate_keys)


@main.command(short_help="List what waits for an operator; decide a claim.")
@click.argument("claim_id", type=int, required=False)
@click.option("--for", "decision", flag_value="for", help="The claim is right: it gets an operator's evidence.")
@click.option("--against", "decision", flag_value="against", help="The claim is wrong: it is withdrawn.")
@click.option("--retry", is_flag=True, help="Decide anew every message whose handler crashed.")
@_config_option
def review(config_path: Path, *, claim_id: int | None, decision: str | None, retry: bool) -> None:
    """List contested claims, reports and messages that failed; decide a claim; retry messages."""
    from bot.operating import decide_claim, list_waiting, retry_messages

    if (claim_id is None) != (decision is None):
        raise click.UsageError("To decide, write the claim's number and --for or --against.")
    if claim_id is not None:
        _in_loop(config_path, decide_claim, claim_id, decision == "for", complete=True)
    elif retry:
        _in_loop(config_path, retry_messages, complete=True)
    else:
        _in_loop(config_path, list_waiting)


@main.command()
@_config_option
def stats(config_path: Path) -> None:
    """Print the counters as one JSON object."""
    from bot.operating import print_stats

    _in_loop(config_path, print_stats)


@main.command(short_help="Print as JSON all that is held about a person.")
@click.argument("account")
@_config_option
def export(config_path: Path, account: str) -> None:
    """Print as JSON everything held about the person with this ACCOUNT (a DID, an actor URI or a handle)."""
    from bot.operating import export_person

    _in_loop(config_path, export_person, account)


@main.command(short_help="Forget a person, and revoke their grants.")
@click.argument("account")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_config_option
def forget(config_path: Path, account: str, *, yes: bool) -> None:
    """Forget the person with this ACCOUNT (a DID, an actor URI or a handle), and revoke their grants."""
    from bot.operating import forget_person

    _in_loop(config_path, forget_person, account, not yes, complete=True)


def _in_loop(
    config_path: Path, action: Callable[..., Coroutine[Any, Any, None]], *arguments: object, complete: bool = False
) -> None:
    """Load the configuration and run an action; what an operator can mend ends in a line each and exit code 2."""
    import asyncio

    from bot.config import ConfigError, load
    from bot.hiding import Hiding
    from bot.logs import set_up_logs
    from bot.networks.errors import NetworkError
    from storage.engines import DatabaseError
    from storage.keys import BadKeyError
    from storage.trouble import is_trouble, words_of

    shown: Callable[[str], str] = str
    try:
        loaded: Loaded = load(config_path)
        shown = Hiding(loaded).hide_and_cut
        if complete:
            loaded.check_complete()
        set_up_logs(loaded.config.log, Hiding(loaded))
        asyncio.run(action(loaded, *arguments))
    except (ConfigError, DatabaseError, BadKeyError, NetworkError) as error:
        for line in str(error).splitlines():
            click.echo(f"reflock: {shown(line)}", err=True)
        sys.exit(_EXIT_CONFIGURATION)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if is_trouble(error):
            said = f"The database does not answer any more: {words_of(error)}"
        elif isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            said = f"The operating system said no: {words_of(error)}"
        else:
            raise
        click.echo(f"reflock: {shown(said)}", err=True)
        sys.exit(_EXIT_CONFIGURATION)


if __name__ == "__main__":
    main()
