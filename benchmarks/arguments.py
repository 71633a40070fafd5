"""The command line of benchmarks that stack named base models."""

from __future__ import annotations

import argparse


def stacking_parser(doc: str, **others: str) -> argparse.ArgumentParser:
    """Return a parser of ``models data [others...] --set KEY=VALUE``; `doc` is the docstring of the benchmark."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    for name, meaning in {"models": "base models, comma-separated", "data": "labelled structures", **others}.items():
        parser.add_argument(name, help=meaning)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, as of elmlff stack")
    return parser


def numbers(text: str) -> tuple[int, ...]:
    """Read whole numbers, comma-separated."""
    return tuple(map(int, text.split(",")))
