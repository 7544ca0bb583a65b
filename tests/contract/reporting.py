"""Say at the end of a run how many tests of the contract ran against which server, and what was not tried there."""

import os
from collections import Counter, defaultdict

import pytest

# The fixtures whose parameter names the server.
_NETWORKS = {"bluesky": "Bluesky", "mastodon": "Mastodon"}
_SERVER = "server"
_REAL_BLUESKY = "Bluesky: real"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Write on a test against which server it runs; this travels with its report."""
    callspec = getattr(item, "callspec", None)
    for fixture, network in _NETWORKS.items():
        if callspec is not None and fixture in callspec.params:
            item.user_properties.append((_SERVER, f"{network}: {callspec.params[fixture]}"))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run beside a real Bluesky in which nothing, or not everything, ran on it."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if "REAL_BLUESKY" not in os.environ or exitstatus or session.config.option.keyword or reporter is None:
        return
    ran = Counter(
        outcome
        for outcome in ("passed", "skipped")
        for report in reporter.stats.get(outcome, [])
        if (_SERVER, _REAL_BLUESKY) in getattr(report, "user_properties", [])
    )
    if not ran["passed"] or ran["skipped"]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: Counter[tuple[str, str]] = Counter()
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, server in getattr(report, "user_properties", []):
                if name != _SERVER:
                    continue
                counts[server][outcome] += 1
                if outcome == "skipped":
                    reasons[server, str(report.longrepr[2]).removeprefix("Skipped: ")] += 1
    if not counts:
        return
    terminalreporter.section("the contract, server by server")
    width = max(map(len, counts))
    terminalreporter.write_line(f"{'server':{width}} | passed | failed | not tried")
    for server, count in sorted(counts.items()):
        terminalreporter.write_line(
            f"{server:{width}} | {count['passed']:6} | {count['failed']:6} | {count['skipped']:9}"
        )
    for (server, reason), times in sorted(reasons.items()):
        terminalreporter.write_line(f"{server}: {reason} ({times})")
