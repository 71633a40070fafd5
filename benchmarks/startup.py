"""Time of `elmlff --help` and `elmlff plugins`, compared with a bare interpreter."""

from __future__ import annotations

import subprocess
import sys

from measuring import Comparison, medians, shown


def main() -> None:
    """Measure the additional seconds to ``python -c pass``."""

    def run(*arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

    elmlff = ("-m", "elmlff_core")
    commands = {"bare": ("-c", "pass"), "--help": (*elmlff, "--help"), "plugins": (*elmlff, "plugins")}
    times = medians({name: lambda words=words: run(*words) for name, words in commands.items()}, repeats=9)
    for name in ("--help", "plugins"):
        more = times[name] - times["bare"]
        Comparison(
            f"elmlff {name}", "python -c pass", shown(times[name]), shown(times["bare"]), more, 0.4, "at most",
            "the ratio is the additional time in seconds",
        ).print()  # fmt: skip


if __name__ == "__main__":
    main()
