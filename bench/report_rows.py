"""What is told of the benches' output: each figure with its target; and what must be right whatever the speed."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Row:
    """A figure: where it stands in which bench's output, and what it is to be."""

    what: str
    bench: str
    path: tuple[str, ...]
    target: float
    unit: str = ""
    at_least: bool = False


_BESIDE_POSTGRES: Final = "python -m tests.with_postgres"

# In this order they are run; those at the end tell of PostgreSQL what others tell of SQLite.
COMMANDS: Final = {
    "links": "python -m bench.links",
    "pipeline": "python -m bench.pipeline",
    "workers": f"{_BESIDE_POSTGRES} python -m bench.workers --database-url {{url}}",
    "arrivals": "python -m bench.arrivals",
    "follow": "python -m bench.follow",
    # What an opening for thousands takes; the default is what Bluesky's chat is known to take.
    "launchday": "python -m bench.launchday --bluesky-an-hour 100000",
    "idle": "python -m bench.idle",
    "startup": "python -m bench.startup",
    "web": "python -m bench.web",
    "chaos": "python -m bench.chaos",
    "links_postgres": f"{_BESIDE_POSTGRES} python -m bench.links --database-url {{url}}",
    "pipeline_postgres": f"{_BESIDE_POSTGRES} python -m bench.pipeline --database-url {{url}}",
}

# Run only by who names them: they take minutes, and CI has a step for them.
ONLY_BY_NAME: Final = frozenset({"chaos"})

# What is counted there (all of it together, where there are several numbers) is 0, or something is wrong.
ZEROS: Final = (
    ("links", ("index", "differences")),
    ("links_postgres", ("index", "differences")),
    ("workers", ("wrong",)),
    ("follow", ("refused",)),
    ("launchday", ("lost",)),
    ("launchday", ("doubled",)),
    ("chaos", ("lost",)),
    ("chaos", ("duplicates",)),
)

_2K: Final = ("look", "lists", "2000")
_20K: Final = ("look", "lists", "20000")
_100K: Final = ("look", "lists", "100000")
_FOLLOWERS: Final = ("look", "followers")
_RATIOS: Final = ("ratios", "same_statements", "heard_to_promised")

ROWS: Final = (
    Row("import of an archive of 2,000", "links", (*_2K, "from_archive", "all_ms"), 3, "ms"),
    Row("import of an archive of 100,000", "links", (*_100K, "from_archive", "all_ms"), 80, "ms"),
    Row(
        "storing 2,000: times as quick as executemany",
        "links",
        (*_2K, "times_as_quick_as", "executemany_into_empty_table"),
        15,
        "×",
        at_least=True,
    ),
    Row(
        "storing 20,000: times as quick as executemany",
        "links",
        (*_20K, "times_as_quick_as", "executemany_into_empty_table"),
        15,
        "×",
        at_least=True,
    ),
    Row(
        "storing 100,000: times as quick as executemany",
        "links",
        (*_100K, "times_as_quick_as", "executemany_into_empty_table"),
        15,
        "×",
        at_least=True,
    ),
    Row(
        "storing 2,000: times as quick as a full link table",
        "links",
        (*_2K, "times_as_quick_as", "link_table"),
        200,
        "×",
        at_least=True,
    ),
    Row(
        "storing 20,000: times as quick as a full link table",
        "links",
        (*_20K, "times_as_quick_as", "link_table"),
        200,
        "×",
        at_least=True,
    ),
    Row(
        "storing 100,000: times as quick as a full link table",
        "links",
        (*_100K, "times_as_quick_as", "link_table"),
        200,
        "×",
        at_least=True,
    ),
    Row("full load with index, links a second", "links", ("load", "links_a_second"), 2_000_000, at_least=True),
    Row("bytes a link", "links", ("load", "bytes_a_link"), 17, "B"),
    Row("write lock while loading, p99", "links", ("load", "write_lock_ms", "p99"), 50, "ms"),
    Row("arrival with 20,000 followers found", "links", (*_FOLLOWERS, "20k", "slots_ms", "p50"), 1, "ms"),
    Row("arrival with 10 followers found", "links", (*_FOLLOWERS, "10", "slots_ms", "p50"), 0.15, "ms"),
    Row("memory while looking up", "links", ("look", "rss_mb"), 300, "MB"),
    Row("memory while loading, at most", "links", ("load", "peak_rss_mb"), 300, "MB"),
    Row("messages decided a second", "pipeline", ("reflock", "heard_to_promised", "a_second"), 500, at_least=True),
    Row("share of bare sqlite3's speed", "pipeline", (*_RATIOS, "of_bare_speed"), 0.25, at_least=True),
    Row("three workers: times as quick as one", "workers", ("ratio",), 2, "×", at_least=True),
    Row("write lock while 200,000 followers are noted, p99", "arrivals", ("noting", "write_lock_ms", "p99"), 50, "ms"),
    Row("follows: least share of the budget used", "follow", ("least_used",), 0.98, at_least=True),
    Row("follows: greatest error of the time told, as a share", "follow", ("eta_error",), 0.1),
    Row("launch day: replies, p99", "launchday", ("reply_seconds", "outside", "p99"), 10, "s"),
    Row("launch day: memory, at most", "launchday", ("peak_rss_mb",), 400, "MB"),
    Row("a bot that idles: share of a core", "idle", ("cpu_percent",), 1, "%"),
    Row("a bot that idles: memory", "idle", ("rss_mb",), 130, "MB"),
    Row("`reflock --help`", "startup", ("median_seconds",), 0.3, "s"),
    Row("page: an archive of 4 GB opened", "web", ("opened_seconds",), 3, "s"),
    Row("page: memory of the tab meanwhile, at most", "web", ("tab_megabytes",), 150, "MB"),
    Row("page: 200,000 ids sent", "web", ("sent_seconds",), 2, "s"),
    Row("page: event loop blocked meanwhile, at most", "web", ("blocked_seconds",), 0.05, "s"),
    Row("times killed, nothing lost or doubled", "chaos", ("kills",), 50, at_least=True),
)
