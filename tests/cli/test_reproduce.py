"""The command `elmlff reproduce`, on a small study with the name of a study of the paper."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.small_data import elmlff, kill_when, n_lines
from tests.data.fake_repository import FRAMES, FakeRepository

SETTINGS = """
base_models = ["lj"]

[data]
train = "methane"

[models.dp1]
adapter = "ase"
options = { calculator = "ase.calculators.lj:LennardJones", arguments = { sigma = 0.6, rc = 4.0 } }

[models.dp2]
adapter = "ase"
options = { calculator = "ase.calculators.emt:EMT" }

[meta]
name = "egat"

[meta.gat]
channels = [8, 8, 8]
averaged_layers = 1

[training]
epochs = 3
batch_size = 4
device = "cpu"
"""
REPRODUCE = ("reproduce", "methane", "--models", "dp1,dp2")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeRepository]:
    fake = FakeRepository(tmp_path_factory.mktemp("published"), "methane")
    yield fake
    fake.close()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, repository: FakeRepository) -> Path:
    """A folder in which the study was reproduced once."""
    folder = tmp_path_factory.mktemp("reproduction")
    (folder / "elmlff.toml").write_text(SETTINGS)
    arguments = (*REPRODUCE, "--from", str(repository.root), "--executor", "serial", "--output", "run")
    (folder / "stdout").write_text(elmlff(folder, *arguments, **variables(repository)).stdout)
    return folder


def variables(repository: FakeRepository) -> dict[str, str]:
    kept = repository.root.parent / "kept"
    return {"ELMLFF_CATALOGUE": str(repository.catalogue), "ELMLFF_DATA": str(kept), "NO_PROXY": "127.0.0.1"}


def record_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "reproduction.json").read_text())


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record without times."""
    table_2 = [{key: value for key, value in entry.items() if key != "seconds"} for entry in record["table_2"]]
    table_3 = [{key: value for key, value in entry.items() if key != "seconds"} for entry in record["table_3"]]
    return record | {"table_2": table_2, "table_3": table_3}


def test_every_table_and_figure_is_there(workplace: Path) -> None:
    run = workplace / "run"
    record = record_of(run)
    assert record["study"] == "methane"
    assert [entry["name"] for entry in record["table_1"]] == ["dp1", "dp2"]
    assert {entry["method"] for entry in record["table_2"]} == {"per-subset", "masked", "least-squares"}
    assert len(record["table_2"]) == 3 * 3
    assert [entry["name"] for entry in record["table_3"]] == [
        "full", "no-residuals", "no-residuals-minus-1", "no-residuals-minus-2"
    ]  # fmt: skip
    n_frames = {split: sum(sets.values()) for split, sets in FRAMES.items()}
    assert record["counts"] == {"train": 10, "valid": 1, "test": n_frames["test"]}
    assert {split: len(energies) for split, energies in record["figure_3"].items()} == record["counts"]
    page = (run / "reproduction.html").read_text()
    for title in ("Table 1", "Table 2", "Table 3", "Figure 2", "Figure 3", "Differences from the paper"):
        assert re.search(rf"<h2[^>]*>{title}", page), title
    assert "http://" not in re.sub(r"http://www\.w3\.org/\S+", "", page)  # the page loads nothing from elsewhere
    for name in ("table_1.csv", "table_2.csv", "table_3.csv", "figures/figure_3.svg", "figures/published.csv"):
        assert (run / name).stat().st_size > 0


def test_published_values_are_beside_those_of_the_run(workplace: Path) -> None:
    """They need no option; ratios are those of the errors in the tables."""
    record = record_of(workplace / "run")
    per_subset = {tuple(entry["subset"]): entry for entry in record["table_2"] if entry["method"] == "per-subset"}
    assert {subset: entry["published"] for subset, entry in per_subset.items()} == {
        ("dp1",): 0.0009, ("dp2",): 0.0008, ("dp1", "dp2"): 0.0008
    }  # fmt: skip
    for found in record["resemblance"]["Table 2 and Figure 2, subsets"]:
        ratios = sorted(entry["errors"][found["split"]] / entry["published"] for entry in per_subset.values())
        assert found["ratio"] == pytest.approx(ratios[1])
        assert found["n"] == 3
    assert {entry["name"]: entry["published"] for entry in record["table_1"]} == {"dp1": 0.0083, "dp2": 0.0446}
    for found in record["resemblance"]["Table 1, base models"]:
        ratios = [entry["errors"][found["split"]]["rmse_per_frame"] / entry["published"] for entry in record["table_1"]]
        assert found["ratio"] == pytest.approx(sum(ratios) / 2)
    assert "Table 3, ablation" not in record["resemblance"]  # the paper has it for the surface alone
    with (workplace / "run" / "table_2.csv").open() as file:
        rows = {row["base models"]: row for row in csv.DictReader(file)}
    assert rows["dp1+dp2"]["published"] == "0.0008"
    expected = per_subset["dp1", "dp2"]["errors"]["test"]
    assert float(rows["dp1+dp2"]["per-subset unseen"]) == pytest.approx(expected, abs=5e-5)
    stdout = " ".join((workplace / "stdout").read_text().split())
    assert "Table 2 and Figure 2, subsets, by per-subset: errors are" in stdout
    assert "the published errors (medians of 3), which are closer to the errors on" in stdout


def test_data_and_meta_model_are_those_of_the_paper_whatever_the_settings(workplace: Path) -> None:
    """The settings file has other base models, data and meta-model; only its training settings are used."""
    config = (workplace / "run" / "sweep" / "config.toml").read_text()
    assert 'train = "paper-methane"' in config
    assert 'test = "paper-methane/test"' in config
    assert 'name = "gat"' in config
    assert 'target = "direct"' in config
    assert "epochs = 3" in config


def test_again_computes_nothing(workplace: Path, repository: FakeRepository) -> None:
    before = {path: path.stat().st_mtime_ns for path in (workplace / "run").rglob("*.safetensors")}
    assert before
    record = record_of(workplace / "run")
    elmlff(workplace, *REPRODUCE, "--output", "run", **variables(repository))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert without_times(record_of(workplace / "run")) == without_times(record)


def test_a_reproduction_killed_in_its_ablation_resumes_to_the_same_errors(
    workplace: Path, repository: FakeRepository, tmp_path: Path
) -> None:
    curve = "ablation/fit/no-residuals-minus-1-seed0/learning_curve.csv"  # the kill of a sweep is a test of sweeps
    arguments = (*REPRODUCE, "--set", "training.epochs=30")
    cut = tmp_path / "cut"
    killed = (*arguments, "--workers", "1", "--output", str(cut))
    kill_when(workplace, lambda: n_lines(cut / curve) > 5, *killed, **variables(repository))
    assert n_lines(cut / curve) < 30
    assert not (cut / "reproduction.json").exists()
    elmlff(workplace, *killed, **variables(repository))
    elmlff(workplace, *arguments, "--executor", "serial", "--output", "whole", **variables(repository))
    assert without_times(record_of(cut)) == without_times(record_of(workplace / "whole"))


WRONG = {
    "no such study": (("reproduce", "methan"), "no study is called 'methan'; did you mean 'methane'?"),
    "no such base model": (("reproduce", "methane", "--models", "dp9"), "no model is called 'dp9'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_ends_in_one_line(workplace: Path, repository: FakeRepository, name: str) -> None:
    arguments, message = WRONG[name]
    stderr = elmlff(workplace, *arguments, code=1, **variables(repository)).stderr
    assert message in stderr
    assert len(stderr.strip().splitlines()) == 1
