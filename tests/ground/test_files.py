"""Files are complete or not there at all."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import math
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, TypedDict

import pytest

from elmlff_core.errors import ElmlffError
from elmlff_core.files import (
    check_digests,
    digests_of,
    json_text,
    read_json,
    read_numbers,
    read_record,
    refuse_links,
    replacing,
    sha256_of,
    write_bytes,
    write_csv,
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
        assert partial.name == "file"
        assert partial.parent.parent == tmp_path  # the same file system, so that it can be renamed
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


def test_a_table_is_read_as_it_was_written(tmp_path):
    rows = [["name", "value"], ["a,b", 1.5], ["line\nbreak", ""]]
    write_csv(tmp_path / "table.csv", rows)
    with (tmp_path / "table.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [[str(cell) for cell in row] for row in rows]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"epoch,rmse\n1,0.5\n2,x\n", "could not convert"),
        (b"epoch,rmse\n1,0.5\n2\n", "cannot read"),
        (b"epoch,rmse\n1,\xba\n", "codec can't decode"),
        (b"epoch,rms\n1,2\n", "lacks rmse"),
    ],
)
def test_a_damaged_table_is_named(contents, message, tmp_path):
    path = tmp_path / "curve.csv"
    path.write_bytes(b"epoch,rmse\n1,0.5\n2,nan\n")
    assert [row["epoch"] for row in read_numbers(path, ("epoch", "rmse"))] == [1.0, 2.0]
    path.write_bytes(contents)
    with pytest.raises(ElmlffError, match=rf"curve\.csv.*{message}|{message}.*curve\.csv"):
        read_numbers(path, ("epoch", "rmse"))


def test_what_a_killed_writer_leaves_is_removed_by_the_next_one(tmp_path):
    """A library may have written a temporary file of its own beside the partial one, as safetensors does."""
    path = tmp_path / "file"
    code = (
        "import os, signal, sys; from pathlib import Path; from elmlff_core.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('ha'); partial.with_name('.tmp123').write_text('ha')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    assert len(names(tmp_path)) == 1
    write_text(path, "whole")
    assert names(tmp_path) == ["file"]


def test_a_writer_does_not_remove_what_another_writes(tmp_path):
    with replacing(tmp_path / "file") as first:
        first.write_text("first")
        write_text(tmp_path / "file", "second")
        assert first.read_text() == "first"
    assert (tmp_path / "file").read_text() == "first"


def test_a_folder_appears_with_all_its_files(tmp_path):
    def write_half() -> None:
        with replacing(tmp_path / "package") as partial:
            partial.mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert names(tmp_path) == []
    with replacing(tmp_path / "package") as partial:
        partial.mkdir()
        (partial / "module.py").write_text("")
    assert names(tmp_path / "package") == ["module.py"]


def test_files_have_the_permissions_of_any_new_file(tmp_path):
    """safetensors writes files that only their owner may read."""
    with replacing(tmp_path / "file") as partial:
        partial.write_text("shared")
        partial.chmod(0o600)
    (tmp_path / "usual").write_text("")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "report.html").symlink_to("precious")
    write_text(tmp_path / "report.html", "report")
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "report.html").is_symlink()


def test_a_device_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(ElmlffError, match="is a device or a pipe"):
            write_text(tmp_path / name, "x")
    assert names(tmp_path) == ["link", "pipe"]


@pytest.mark.parametrize("target", ["../../outside", "/nowhere/at/all"])
@pytest.mark.parametrize("place", ["inner/planted", "other/planted"])
def test_a_link_that_leads_out_of_a_folder_is_refused(tmp_path, place, target):
    (tmp_path / "outside").mkdir()
    folder = tmp_path / "run"
    for name in ("inner", "other"):
        (folder / name).mkdir(parents=True)
    (folder / "fine").symlink_to("inner")
    (tmp_path / "alias").symlink_to("run")  # the folder itself may be a link
    refuse_links(tmp_path / "alias")
    (folder / place).symlink_to(target)
    refuse_links(folder, ["inner" if place.startswith("other") else "other"])
    with pytest.raises(ElmlffError, match=rf"{place} is a symbolic link to .*: elmlff does not write through it"):
        refuse_links(folder)
