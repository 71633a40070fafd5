"""SIGTERM, two runs of one folder, and damaged files of a run: nothing is lost, and each is said in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from elmlff_core.files import PARTIAL, sha256_of, temporary_prefix, write_record
from elmlff_core.settings.run_folder import RunFolder
from tests.cli.small_data import elmlff, n_lines, started, write_small_data
from tests.commands.running import Running

LONG = ("stack", "--meta", "gat", "--set", "training.epochs=4000", "--output", "long")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lost")
    write_small_data(folder)
    return folder


@pytest.fixture
def running(workplace: Path) -> Iterator[Running]:
    """A long run that has trained for some epochs."""
    curve, holder = workplace / "long" / "fit" / "gat" / "learning_curve.csv", workplace / "long" / ".lock-holder"
    command = started(
        workplace, *LONG, ready=lambda command: n_lines(curve) >= 10 and str(command.pid) in holder.read_text()
    )
    yield command
    command.end()


def test_sigterm_ends_a_training_soon_and_it_resumes(workplace: Path, running: Running) -> None:
    running.send_signal(signal.SIGTERM)
    ended = running.ending(20)
    assert ended.code == 143
    assert ended.stderr.strip() == "elmlff: ended by SIGTERM; run the same command again to resume"
    lines = n_lines(workplace / "long" / "fit" / "gat" / "learning_curve.csv")
    assert lines >= 10


def test_a_second_run_of_the_same_folder_is_refused(workplace: Path, running: Running) -> None:
    stderr = elmlff(workplace, *LONG, code=1).stderr
    assert f"process {running.pid} on " in stderr
    assert "works in long: wait until it ends, or choose another --output" in stderr


def test_a_run_lets_go_of_its_folder(tmp_path: Path) -> None:
    from elmlff_core.settings.config import Config

    first = RunFolder.open(tmp_path / "run", "key", Config())
    again = RunFolder.open(tmp_path / "run", "key", Config())  # the same process may come back
    assert first == again
    del first, again
    code = (
        "from pathlib import Path; from elmlff_core.settings.config import Config\nfrom "
        f"elmlff_core.settings.run_folder import RunFolder; RunFolder.open(Path({str(tmp_path / 'run')!r}), 'key', "
        "Config())"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


@pytest.fixture(scope="module")
def finished(workplace: Path) -> Path:
    elmlff(workplace, "stack", "--meta", "mean,linear", "--output", "done")
    return workplace / "done"


DAMAGES = {"empty": b"", "a list": b"[1]", "no keys": b"{}"}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["run.json", "metrics.json", "stack.json", "uncertainty.json"])
def test_a_damaged_file_is_named(finished: Path, name: str, damage: str) -> None:
    path = finished / name
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage])
    command = ("evaluate", "done", "--data", "few.extxyz") if name in ("stack.json", "uncertainty.json") else (
        "stack", "--meta", "mean,linear", "--output", "done"
    )  # fmt: skip
    try:
        stderr = elmlff(finished.parent, *command, code=1).stderr
    finally:
        path.write_bytes(whole)
    assert name in stderr
    assert "unexpected" not in stderr
    assert len(stderr.strip().splitlines()) == 1


def test_changed_numbers_of_a_finished_fit_are_refused(finished: Path) -> None:
    """The run itself is not finished, so that it takes up the fit."""
    (finished / "metrics.json").unlink()
    path = finished / "fit" / "linear" / "meta" / "meta.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    command = ("stack", "--meta", "mean,linear", "--output", "done")
    stderr = elmlff(finished.parent, *command, code=1).stderr
    path.write_bytes(whole)
    assert "done/fit/linear/meta/meta.safetensors is missing or has changed since elmlff wrote it: remove" in stderr
    elmlff(finished.parent, *command)


def test_a_changed_trained_model_is_refused(tmp_path: Path) -> None:
    from elmlff_core.base_models.training import trained_checkpoint
    from elmlff_core.errors import ForceFieldError

    (tmp_path / "nep.txt").write_text("1.0")
    record = {"checkpoint": "nep.txt", "checkpoint_sha256": sha256_of(tmp_path / "nep.txt")}
    write_record(tmp_path / "trained.json", {**record, "adapter": "nep", "options": {}})
    assert trained_checkpoint(tmp_path) == tmp_path / "nep.txt"
    (tmp_path / "nep.txt").write_text("1.1")
    with pytest.raises(ForceFieldError, match=r"nep\.txt has changed since its training: remove the folder"):
        trained_checkpoint(tmp_path)


def test_an_output_that_is_a_file_is_refused(workplace: Path) -> None:
    (workplace / "taken").write_text("mine")
    assert "taken is a file: name a folder" in elmlff(workplace, "stack", "--output", "taken", code=1).stderr
    assert (workplace / "taken").read_text() == "mine"


def test_a_trained_model_that_is_gone_is_said(tmp_path: Path) -> None:
    from elmlff_core.base_models.training import trained_checkpoint
    from elmlff_core.errors import ForceFieldError

    record = {"checkpoint": "gone.pth", "checkpoint_sha256": "", "adapter": "dp", "options": {}}
    write_record(tmp_path / "trained.json", record)
    with pytest.raises(ForceFieldError, match=r"names .*gone\.pth, which is not there: remove the folder"):
        trained_checkpoint(tmp_path)


PLANTED = {
    "report.html": "file", "figures": "folder", ".lock": "file", ".lock-holder": "file", "metrics.csv": "file",
    "fit": "folder", "meta": "folder", "fit/gat/learning_curve.csv": "file",
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_planted_links_are_not_followed(workplace: Path, finished: Path, tmp_path: Path, name: str) -> None:
    """A run folder of somebody else, with the record of the same run, so that elmlff would go on in it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    run = tmp_path / "run"
    (run / name).parent.mkdir(parents=True)
    (run / "run.json").write_bytes((finished / "run.json").read_bytes())
    (run / name).symlink_to(outside / "precious" if PLANTED[name] == "file" else outside)
    stderr = elmlff(workplace, "stack", "--meta", "mean,linear", "--output", str(run), code=1).stderr
    assert f"{run / name} is a symbolic link to {outside}" in stderr
    assert "outside of" in stderr
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert (outside / "precious").read_text() == "mine"


def test_a_run_goes_on_where_it_was_killed_before_its_record(tmp_path: Path) -> None:
    from elmlff_core.settings.config import Config

    (tmp_path / ".lock").touch()
    (tmp_path / ".lock-holder").write_text("process 1 on a machine")
    (tmp_path / f"{temporary_prefix(tmp_path / 'run.json')}0123abcd{PARTIAL}").mkdir()
    RunFolder.open(tmp_path, "key", Config())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", ".lock-holder", "config.toml", "run.json"]
