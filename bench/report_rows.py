"""What is told of the benches' output: each figure with its target."""

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


COMMANDS: Final = {
    "links": "python -m tests.with_postgres python -m bench.links --database-url {url}",
    "pipeline": "python -m bench.pipeline",
    "workers": "python -m tests.with_postgres python -m bench.workers --database-url {url}",
    "follow": "python -m bench.follow",
    "launchday": "python -m bench.launchday",
    "idle": "python -m bench.idle",
    "startup": "python -m bench.startup",
}

ROWS: Final = (
    Row("messages decided a second", "pipeline", ("reflock", "heard_to_promised", "a_second"), 500, "", at_least=True),
    Row("`reflock --help`", "startup", ("median_seconds",), 0.3, "s"),
)
