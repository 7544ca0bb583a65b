"""What the contract suite stands on."""

from tests.contract.bluesky import bluesky, small_world, stand_in, time_of_all
from tests.contract.mastodon import mastodon
from tests.contract.reporting import pytest_runtest_setup, pytest_sessionfinish, pytest_terminal_summary

__all__ = [
    "bluesky",
    "mastodon",
    "pytest_runtest_setup",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "small_world",
    "stand_in",
    "time_of_all",
]
