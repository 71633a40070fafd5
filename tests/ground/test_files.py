"""Files are complete or not there at all."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import multiprocessing
import os
from pathlib import Path
from typing import Any, TypedDict

import pytest

from elmlff_core.errors import ElmlffError
from elmlff_core.files import (
    check_digests,
    digests_of,
    json_text,
    read_json,
    read_record,
    replacing,
    sha256_of,
    write_bytes,
    write_json,
    write_record,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_written_files_can_be_read(tmp_path):
    write_text(tmp_path / "text", "5 Å\n")
    assert (tmp_path / "text").read_bytes() == b"5 \xc3\x85\n"
    write_bytes(tmp_path / "bytes", b"\x00\xff")
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"
    write_json(tmp_path / "json", {"a": [1, 2.5, None]}, indent=1)
    assert json.loads((tmp_path / "json").read_text()) == {"a": [1, 2.5, None]}
    assert (tmp_path / "json").read_text().startswith('{\n "a"')
    assert names(tmp_path) == ["bytes", "json", "text"]


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    with replacing(path) as partial:
        assert partial.parent == tmp_path
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_an_interruption_leaves_the_old_file(tmp_path, stop):
    path = tmp_path / "file"
    write_text(path, "old")

    def write_half() -> None:
        with replacing(path) as partial:
            partial.write_text("ne")
            raise stop

    with pytest.raises(stop):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_value_that_is_not_json_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "file", [1])
    with pytest.raises(TypeError):
        write_json(tmp_path / "file", [1, {2}])
    assert (tmp_path / "file").read_text() == "[1]"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    write_text(path, "old")

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(ElmlffError, match=f"^cannot write {path}: No space left on device$"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_disk_that_becomes_full_during_writing_is_an_error(tmp_path):
    with (
        pytest.raises(ElmlffError, match=r"cannot write .*file: No space left on device"),
        replacing(tmp_path / "file"),
    ):
        Path("/dev/full").write_bytes(b"x")
    assert names(tmp_path) == []


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(ElmlffError, match=r"cannot write .*gone/file: No such file or directory"):
        write_text(tmp_path / "gone" / "file", "x")


def write_often(path: Path, letter: str) -> None:
    for _ in range(50):
        write_text(path, letter * 100_000)


def test_several_writers_at_the_same_time_leave_one_complete_file(tmp_path):
    path = tmp_path / "file"
    write_text(path, "a" * 100_000)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_often, args=(path, letter)) for letter in "abc"]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        text = path.read_text()
        seen.add((text[:1], text == text[:1] * 100_000))
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert seen <= {("a", True), ("b", True), ("c", True)}
    assert names(tmp_path) == ["file"]


def test_one_process_may_write_a_file_twice_at_the_same_time(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # its block ended last
    assert names(tmp_path) == ["file"]


def test_digests_are_those_of_the_contents(tmp_path):
    write_bytes(tmp_path / "file", b"elmlff" * 100_000)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"elmlff" * 100_000).hexdigest()


DAMAGES = {
    "empty": b"", "null": b"null", "a list": b"[1]", "half": b'{"key": "ab', "binary": b"\xff\x00", "no key": b"{}",
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_json_file_is_named_with_a_remedy(tmp_path, damage):
    path = tmp_path / "run.json"
    path.write_bytes(DAMAGES[damage])
    with pytest.raises(ElmlffError, match=r"run\.json.*take a copy"):
        read_json(path, ("key",), "take a copy")


def test_a_json_file_is_read(tmp_path):
    write_json(tmp_path / "run.json", {"key": 1})
    assert read_json(tmp_path / "run.json", ("key",)) == {"key": 1}


def test_json_for_other_programs_has_no_infinity():
    text = json_text({"cutoff": math.inf, "errors": [1.5, math.nan]}, indent=None)
    assert text == '{"cutoff": null, "errors": [1.5, null]}'


class Cell(TypedDict):
    lengths: tuple[float, float]
    names: dict[int, str] | None


CELL = {"lengths": (1.5, 2.0), "names": {10: "Ne", 9: "F"}}


def test_a_record_is_read_as_it_was_written(tmp_path):
    write_record(tmp_path / "cell.json", CELL)
    assert read_record(tmp_path / "cell.json", Cell) == CELL
    write_record(tmp_path / "cell.json", json.loads((tmp_path / "cell.json").read_text()) | {"names": None})
    assert read_record(tmp_path / "cell.json", Cell) == {"lengths": (1.5, 2.0), "names": None}


def test_one_changed_digit_of_a_record_is_noticed(tmp_path):
    path = tmp_path / "cell.json"
    write_record(path, CELL)
    path.write_text(path.read_text().replace("1.5", "1.4"))
    with pytest.raises(ElmlffError, match=r"cell\.json has changed since elmlff wrote it: take a copy"):
        read_record(path, Cell, "take a copy")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"lengths": (1.5, "x"), "names": None}, r"'lengths\.1' in .*cell\.json: .*number.*, found 'x'; take a copy"),
        ({"lengths": (1.5, 2.0)}, r"'names' in .*cell\.json: Field required"),
        ({**CELL, "format_version": 2}, r"cell\.json has format 2, expected at most 1: upgrade elmlff"),
        ({**CELL, "format_version": "new"}, r"cell\.json has format new"),
    ],
)
def test_a_record_of_another_shape_is_explained(record: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_record(tmp_path / "cell.json", record)
    with pytest.raises(ElmlffError, match=message):
        read_record(tmp_path / "cell.json", Cell, "take a copy")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_named_with_a_remedy(tmp_path, damage):
    (tmp_path / "run.json").write_bytes(DAMAGES[damage])
    with pytest.raises(ElmlffError, match=r"run\.json.*take a copy"):
        read_record(tmp_path / "run.json", Cell, "take a copy")


def test_the_files_of_a_folder_are_checked(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "numbers").write_bytes(b"123")
    digests = digests_of(tmp_path)
    assert digests == {"below/numbers": hashlib.sha256(b"123").hexdigest()}
    check_digests(tmp_path, digests, "take a copy")
    (tmp_path / "below" / "numbers").write_bytes(b"124")
    with pytest.raises(ElmlffError, match=r"below/numbers is missing or has changed .*: take a copy"):
        check_digests(tmp_path, digests, "take a copy")
