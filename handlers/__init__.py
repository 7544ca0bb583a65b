"""Decide what a message means and what is promised because of it.

`router` is the explicit list of all commands, in the order in which help shows them.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from handlers.routing import Router

    router: Router


def __getattr__(name: str) -> object:
    """Build the router when it is first asked for, so that importing one handler does not import them all."""
    if name != "router":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from handlers import commands

    globals()["router"] = commands.router
    return commands.router
