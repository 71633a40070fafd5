"""Damages: changes of one file, as plain data, so that a case can be stored and repeated."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from elmlff_core.files import write_record


@dataclass(frozen=True)
class Damage:
    """One change of one file.

    Attributes
    ----------
    path : the file, in the folder of the workplace
    kind : name of a function of this module that makes the change
    place : where in the file, from 0 (its beginning) to 1
    value : what the function takes besides
    """

    path: str
    kind: str
    place: float = 0.0
    value: Any = None

    def apply(self, folder: Path) -> None:
        """Change the file; nothing happens if it has gone with an earlier damage."""
        path = folder / self.path
        if path.exists() or self.kind in ("whole", "text"):
            KINDS[self.kind](path, self.place, self.value)


def whole(path: Path, place: float, value: str) -> None:
    """Replace the contents by the bytes `value` (hexadecimal)."""
    _written(path, bytes.fromhex(value))


def text(path: Path, place: float, value: str) -> None:
    """Replace the contents by a text."""
    _written(path, value.encode("utf-8", "surrogatepass"))


def _written(path: Path, contents: bytes) -> None:
    """Write `contents` in the place of the file or folder at `path`."""
    if path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)


def cut(path: Path, place: float, value: None) -> None:
    """Keep only the beginning of the file."""
    contents = path.read_bytes()
    path.write_bytes(contents[: int(place * len(contents))])


def flip(path: Path, place: float, value: int) -> None:
    """Flip the bit `value` of one byte."""
    contents = bytearray(path.read_bytes())
    if contents:
        contents[min(int(place * len(contents)), len(contents) - 1)] ^= 1 << value
    path.write_bytes(contents)


def splice(path: Path, place: float, value: list[Any]) -> None:
    """Replace `value[0]` bytes by the bytes `value[1]` (hexadecimal)."""
    contents, (length, new) = path.read_bytes(), value
    start = int(place * len(contents))
    path.write_bytes(contents[:start] + bytes.fromhex(new) + contents[start + length :])


def remove(path: Path, place: float, value: None) -> None:
    """Remove the file or folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def folder(path: Path, place: float, value: None) -> None:
    """Put an empty folder in the place of the file."""
    remove(path, place, value)
    path.mkdir()


def token(path: Path, place: float, value: str) -> None:
    """Replace one word, number or text between quotes by `value`."""
    contents = path.read_text(encoding="utf-8", errors="surrogateescape")
    found = list(re.finditer(r'"[^"\n]*"|[^\s="]+', contents))
    if found:
        one = found[min(int(place * len(found)), len(found) - 1)]
        contents = contents[: one.start()] + value + contents[one.end() :]
    path.write_bytes(contents.encode("utf-8", "surrogateescape"))


def line(path: Path, place: float, value: str) -> None:
    """Remove, double or swap one line."""
    lines = path.read_bytes().splitlines(keepends=True)
    if lines:
        at = min(int(place * len(lines)), len(lines) - 1)
        if value == "remove":
            del lines[at]
        elif value == "double":
            lines.insert(at, lines[at])
        else:
            lines[at - 1], lines[at] = lines[at], lines[at - 1]
    path.write_bytes(b"".join(lines))


def node(path: Path, place: float, value: dict[str, Any]) -> None:
    """Remove or replace one value of a JSON file; `sealed` writes it as elmlff would, so that its hash fits."""
    record = json.loads(path.read_text())
    places = list(_places(record))
    if places:
        *outer, key = places[min(int(place * len(places)), len(places) - 1)]
        parent = record
        for step in outer:
            parent = parent[step]
        if value["action"] == "remove":
            del parent[key]
        else:
            parent[key] = value["new"]
    if value["sealed"] and isinstance(record, dict):
        write_record(path, record)
    else:
        path.write_text(json.dumps(record))


def _places(value: Any, outer: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the keys that lead to each value inside `value`; of long lists only the first three."""
    inside = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, item in inside:
        yield (*outer, key)
        yield from _places(item, (*outer, key))


def array(path: Path, place: float, value: list[Any]) -> None:
    """Change the shape, the type or a number of a .npy file."""
    found, (action, number) = np.load(path), value
    if action == "first":
        found = found[:number]
    elif action == "columns":
        found = found.reshape(len(found), -1)[:, :number]
    elif action == "dtype":
        found = found.astype(number)
    elif action == "flat":
        found = found.ravel()
    elif action == "object":
        found = np.array([found, None], dtype=object)
    else:
        flat = found.reshape(-1)
        flat[min(int(place * flat.size), flat.size - 1)] = number
    np.save(path, found)


def rename(path: Path, place: float, value: list[Any]) -> None:
    """Change one of the parts of a file name that hyphens separate."""
    part, new = value
    parts = path.stem.split("-")
    parts[part] = new
    path.rename(path.with_name(f"{'-'.join(parts)}{path.suffix}"))


KINDS = {
    function.__name__: function
    for function in (whole, text, cut, flip, splice, remove, folder, token, line, node, array, rename)
}

FRACTIONS = st.floats(0, 1, exclude_max=True)
RUBBISH = ("", "00", "ff" * 64, "efbbbf7b7d", "fffe7b007d00", "80044b012e", "504b0304", "894844460d0a1a0a", "1f8b0800")
TEXTS = (
    "null", "{}", "[]", "[1]", '"text"', "1", "NaN", "true", "{", "[" * 2000, '{"format_version": 999}', " ", "\n\n\n",
    '{"a": 1e999}', "\ufeff{}", "[/red]", "$\\frac{$",
)  # fmt: skip
NUMBERS = (
    "nan", "inf", "-inf", "1e308", "-1e308", "1e-320", "0", "-1", "1e9", "99999999999999999999", "abc", "", "1 2",
    "[/red]", "T", "0x10", "1,5", "é", "\x00", "1e5000", "0.0001",
)  # fmt: skip
JSON_VALUES = (
    None, True, 0, -1, 999, 10**30, 1.5, float("nan"), float("inf"), "", "text", "../../etc/passwd", "[/red]", [], [1],
    {}, {"a": 1}, [[]],
)  # fmt: skip


def byte_damages(path: str) -> st.SearchStrategy[Damage]:
    """Damages of any file: what a disk, an editor or a broken copy does."""
    return st.one_of(
        st.builds(Damage, st.just(path), st.just("flip"), FRACTIONS, st.integers(0, 7)),
        st.builds(Damage, st.just(path), st.just("cut"), FRACTIONS),
        st.builds(Damage, st.just(path), st.just("whole"), st.just(0.0), st.sampled_from(RUBBISH)),
        st.builds(Damage, st.just(path), st.just("whole"), st.just(0.0), st.binary(max_size=200).map(bytes.hex)),
        st.builds(
            Damage, st.just(path), st.just("splice"), FRACTIONS,
            st.tuples(st.integers(0, 64), st.binary(max_size=64).map(bytes.hex)).map(list),
        ),
        st.builds(Damage, st.just(path), st.sampled_from(["remove", "folder"])),
    )  # fmt: skip


def text_damages(path: str) -> st.SearchStrategy[Damage]:
    """Damages of a text: words, lines and bytes."""
    return st.one_of(
        st.builds(Damage, st.just(path), st.just("token"), FRACTIONS, st.sampled_from(NUMBERS)),
        st.builds(Damage, st.just(path), st.just("token"), FRACTIONS, st.sampled_from(NUMBERS)),
        st.builds(Damage, st.just(path), st.just("line"), FRACTIONS, st.sampled_from(["remove", "double", "swap"])),
        st.builds(Damage, st.just(path), st.just("text"), st.just(0.0), st.sampled_from(TEXTS)),
        byte_damages(path),
    )


def json_damages(path: str) -> st.SearchStrategy[Damage]:
    """Damages of a JSON file: values that are missing or of another type, with and without a hash that fits."""
    change = st.fixed_dictionaries(
        {"action": st.sampled_from(["remove", "replace"]), "new": st.sampled_from(JSON_VALUES), "sealed": st.booleans()}
    )
    return st.one_of(
        st.builds(Damage, st.just(path), st.just("node"), FRACTIONS, change),
        st.builds(Damage, st.just(path), st.just("node"), FRACTIONS, change),
        st.builds(Damage, st.just(path), st.just("text"), st.just(0.0), st.sampled_from(TEXTS)),
        byte_damages(path),
    )


def file_damages(path: str) -> st.SearchStrategy[Damage]:
    """Damages that suit the format of a file."""
    if path.endswith(".json"):
        return json_damages(path)
    if path.endswith((".toml", ".txt", ".csv", ".extxyz", ".xyz", ".raw", ".html", ".svg")):
        return text_damages(path)
    return byte_damages(path)


def finite(value: Any) -> bool:
    """Return whether all numbers in plain data are finite."""
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list):
        return all(map(finite, value))
    return not isinstance(value, float) or math.isfinite(value)
