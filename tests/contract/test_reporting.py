"""A run of the contract beside a real Bluesky counts only if everything in it ran there."""

import pytest

pytest_plugins = ["pytester"]

_PASSES = "def test_it(bluesky): pass\n"
_SKIPS = "def test_that(bluesky):\n    if bluesky == 'real':\n        pytest.skip('not there')\n"
_ONLY_HERE = "def test_here(): pass\n"


@pytest.mark.parametrize(
    ("is_there", "servers", "tests", "code"),
    [
        (True, ["sandbox", "real"], _PASSES, pytest.ExitCode.OK),
        (True, ["sandbox", "real"], _PASSES + _SKIPS, pytest.ExitCode.TESTS_FAILED),
        (True, ["sandbox"], _PASSES, pytest.ExitCode.TESTS_FAILED),
        (True, ["sandbox"], _ONLY_HERE, pytest.ExitCode.TESTS_FAILED),
        (False, ["sandbox", "real"], _PASSES + _SKIPS, pytest.ExitCode.OK),
    ],
    ids=["all ran", "one was skipped", "nothing ran there", "no contract at all", "no real one"],
)
def test_a_run_beside_a_real_bluesky_fails_unless_all_of_it_ran_there(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    is_there: bool,
    servers: list[str],
    tests: str,
    code: pytest.ExitCode,
) -> None:
    monkeypatch.delenv("REAL_BLUESKY", raising=False)
    if is_there:
        monkeypatch.setenv("REAL_BLUESKY", "{}")
    hooks = "pytest_runtest_setup, pytest_sessionfinish, pytest_terminal_summary"
    pytester.makeconftest(
        f"import pytest\nfrom tests.contract.reporting import {hooks}\n"
        f"@pytest.fixture(params={servers!r})\ndef bluesky(request):\n    return request.param\n"
    )
    pytester.makepyfile(f"import pytest\n{tests}")

    ran = pytester.runpytest_inprocess("-p", "no:asyncio", "-p", "no:xdist", "-p", "no:cacheprovider")

    assert ran.ret == code
