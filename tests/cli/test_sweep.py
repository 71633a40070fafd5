"""The command `elmlff sweep`: methods, samples, executors, and resuming after a kill."""

from __future__ import annotations

import ast
import csv
import importlib.util
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.small_data import elmlff, kill_when, n_lines, started, write_small_data
from tests.commands.running import run_script
from tests.conftest import REPOSITORY
from tests.execution.fake_queue import history, make_queue

SOFT = """
[models.soft]
adapter = "ase"
options = { calculator = "ase.calculators.lj:LennardJones", arguments = { sigma = 0.8, rc = 10.0 } }
"""
SWEEP = ("sweep", "--models", "lj,emt,soft", "--meta", "gat")


def record_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "sweep.json").read_text())


def errors_of(folder: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Return all errors by subset and method, without times."""
    return {("+".join(entry["subset"]), entry["method"]): entry["errors"] for entry in record_of(folder)["entries"]}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a sweep has run by all three methods, in this order, serially."""
    folder = tmp_path_factory.mktemp("sweep")
    write_small_data(folder)
    with (folder / "elmlff.toml").open("a") as file:
        file.write(SOFT)
    methods = ("--method", "per-subset,masked,least-squares", "--executor", "serial")
    (folder / "stdout").write_text(elmlff(folder, *SWEEP, *methods, "--output", "run").stdout)
    return folder


def test_all_methods_have_all_subsets(workplace: Path) -> None:
    record = record_of(workplace / "run")
    assert [len(found["sizes"]) for found in record["methods"].values()] == [3, 3, 3]
    assert len(record["entries"]) == 21
    assert {(entry["methods"][0], entry["n_subsets"]) for entry in record["agreement"]} == {
        ("per-subset", 7),
        ("masked", 7),
    }
    assert set(record["costs"]) == {"lj", "emt", "soft"}
    assert all(0 < seconds < 1 for seconds in record["costs"].values())
    with (workplace / "run" / "sweep.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 21
    stdout = (workplace / "stdout").read_text()
    assert "per-subset: gat for 7 subsets, 3 epochs each, 0 finished before" in stdout
    assert "is best on validation" in stdout


def test_all_base_models_have_the_errors_of_a_stack(workplace: Path) -> None:
    """`elmlff stack` with the same settings gives the same linear combination and meta-model of all base models."""
    arguments = ("stack", "--models", "lj,emt,soft", "--meta", "linear,gat", "--output", "stack")
    settings = (workplace / "elmlff.toml").read_text()
    tables = settings.replace("[meta.gat]", "[meta]\nname = 'gat'\n[meta.gat]")
    (workplace / "stack.toml").write_text(tables)
    elmlff(workplace, *arguments, "--config", "stack.toml")
    stacks = {
        model["meta"]: model["errors"]
        for model in json.loads((workplace / "stack" / "metrics.json").read_text())["errors"]
        if model["kind"] == "stack"
    }
    found = errors_of(workplace / "run")
    for split in ("train", "valid", "test"):
        for method, meta in (("least-squares", "linear"), ("per-subset", "gat")):
            error = found["lj+emt+soft", method][split]
            assert error == pytest.approx(stacks[meta][split]["rmse_per_frame"], rel=1e-6), (method, split)


def test_a_finished_sweep_fits_nothing(workplace: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (workplace / "run" / "per-subset").rglob("*.safetensors")}
    assert len(before) == 7
    result = elmlff(workplace, *SWEEP, "--method", "per-subset,masked,least-squares", "--output", "run")
    assert "7 finished before" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_processes_give_the_errors_of_a_serial_run(workplace: Path) -> None:
    elmlff(workplace, *SWEEP, "--method", "per-subset", "--workers", "2", "--output", "processes")
    serial = {key: errors for key, errors in errors_of(workplace / "run").items() if key[1] == "per-subset"}
    assert errors_of(workplace / "processes") == serial


def test_only_named_or_sampled_subsets_are_fitted(workplace: Path) -> None:
    method = ("--method", "least-squares,per-subset", "--executor", "serial")
    elmlff(workplace, *SWEEP, *method, "--subsets", "soft+lj,emt", "--output", "some")
    fitted = {name for name, method in errors_of(workplace / "some") if method == "per-subset"}
    assert fitted == {"emt", "lj+soft"}
    assert record_of(workplace / "some")["agreement"][0]["spearman"] == {"valid": None, "test": None}
    elmlff(workplace, *SWEEP, *method, "--sample", "3", "--output", "some")  # adds to the results in the folder
    again = {name for name, method in errors_of(workplace / "some") if method == "per-subset"}
    assert len(again) == 3


EPOCHS = ("--set", "training.epochs=40")


def test_a_killed_sweep_resumes_to_the_same_errors(workplace: Path) -> None:
    """The kill is in the middle of the second fit, in a worker process."""
    per_subset = (*SWEEP, *EPOCHS, "--method", "per-subset", "--subsets", "lj,lj+emt")
    killed = (*per_subset, "--workers", "1", "--output", "killed")
    curve = workplace / "killed" / "per-subset" / "lj+emt" / "learning_curve.csv"
    kill_when(workplace, lambda: n_lines(curve) > 8, *killed)
    assert n_lines(curve) < 40
    first = workplace / "killed" / "per-subset" / "lj" / "result.json"
    written = first.stat().st_mtime_ns
    elmlff(workplace, *killed)
    assert first.stat().st_mtime_ns == written
    elmlff(workplace, *per_subset, "--executor", "serial", "--output", "whole")
    assert errors_of(workplace / "killed") == errors_of(workplace / "whole")
    assert rows_without_seconds(curve) == rows_without_seconds(
        workplace / "whole" / "per-subset" / "lj+emt" / "learning_curve.csv"
    )


def test_a_killed_masked_training_resumes_to_the_same_errors(workplace: Path) -> None:
    masked = (*SWEEP, *EPOCHS, "--method", "masked")
    curve = workplace / "cut" / "masked" / "learning_curve.csv"
    kill_when(workplace, lambda: n_lines(curve) > 8, *masked, "--output", "cut")
    assert n_lines(curve) < 40
    elmlff(workplace, *masked, "--output", "cut")
    elmlff(workplace, *masked, "--output", "uncut")
    assert errors_of(workplace / "cut") == errors_of(workplace / "uncut")
    assert rows_without_seconds(curve) == rows_without_seconds(workplace / "uncut" / "masked" / "learning_curve.csv")


def rows_without_seconds(curve: Path) -> list[str]:
    return [line.rsplit(",", 1)[0] for line in curve.read_text().splitlines()]


def test_ctrl_c_ends_workers_at_once(workplace: Path) -> None:
    curve = workplace / "long" / "per-subset" / "lj" / "learning_curve.csv"
    long = ("--set", "training.epochs=100000", "--method", "per-subset", "--subsets", "lj")
    places = ("--workers", "2", "--output", "long")
    command = started(workplace, *SWEEP, *long, *places, ready=lambda _: n_lines(curve) >= 5)
    os.killpg(command.pid, signal.SIGINT)  # like Ctrl-C in a terminal
    ended = command.ending(30)
    assert ended.code == 130
    assert "run the same command again to resume" in ended.stderr
    assert "Traceback" not in ended.stderr


def documented(text: str) -> str:
    """Return the Python example in docs/sweep.md that contains `text`."""
    page = (REPOSITORY / "docs" / "sweep.md").read_text()
    (found,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if text in block)
    return found


@pytest.mark.parametrize(("name", "package"), [("dask-slurm", "dask_jobqueue"), ("parsl", "parsl")])
def test_executors_of_clusters(workplace: Path, tmp_path: Path, name: str, package: str) -> None:
    """One worker on this machine; jobs of SLURM are started by a queue of its own."""
    if importlib.util.find_spec(package) is None:  # the import of one changes what Ctrl-C does in this process
        pytest.skip("comes with the extra 'test'")
    path = make_queue(tmp_path / "queue")
    subsets = ("--method", "per-subset", "--subsets", "lj,lj+soft")
    where = ("--executor", name, "--workers", "1", "--set", "resources.job.memory=2GB")
    done = elmlff(workplace, *SWEEP, *subsets, *where, "--output", f"by-{name}", PATH=path)
    assert "distributed" not in done.stderr
    assert list((workplace / f"by-{name}" / "tasks").glob("timing*"))  # by a worker, too
    serial = errors_of(workplace / "run")
    found = errors_of(workplace / f"by-{name}")
    assert found == {key: serial[key] for key in (("lj", "per-subset"), ("lj+soft", "per-subset"))}
    if name == "dask-slurm":
        assert [line.split()[0] for line in history(tmp_path / "queue")] == ["submitted", "cancelled"]
        assert not [found.name for found in workplace.iterdir() if "elmlff-jobs" in found.name]


def test_the_example_in_python_runs(workplace: Path) -> None:
    (workplace / "example.py").write_text(documented("SweepRequest"))
    result = run_script("example.py", workplace, ELMLFF_CACHE=str(workplace / "cache"))
    assert result.code == 0, result.stderr
    summary, subset = result.stdout.splitlines()
    assert summary.startswith("least-squares: ")
    assert "+".join(ast.literal_eval(subset)) == summary.split()[1]


WRONG = {
    "no such method": (("--method", "maskd"), "no method is called 'maskd'; did you mean 'masked'?"),
    "no such executor": (("--executor", "seriel"), "did you mean 'serial'?"),
    "no such executor in the settings": (("--set", "resources.executor=dask-slrm"), "did you mean 'dask-slurm'?"),
    "no such module": (("--executor", "nowhere:executor"), "cannot load executor 'nowhere:executor'"),
    "no function": (("--executor", "os:nothing"), "cannot load executor 'os:nothing'"),
    "subsets and sample": (("--sample", "2", "--subsets", "lj"), "--subsets or --sample, not both"),
    "unknown in subset": (("--subsets", "lj+dp1"), "names dp1, not among the base models of the sweep"),
    "two meta-models": (("--meta", "egat,mean"), "a sweep takes one meta-model"),
    "not maskable": (("--meta", "mean", "--method", "masked"), "takes gat or egat"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_ends_in_one_line(workplace: Path, name: str) -> None:
    arguments, message = WRONG[name]
    stderr = elmlff(workplace, "sweep", *arguments, code=1).stderr
    assert message in stderr
    assert len(stderr.strip().splitlines()) == 1


def test_settings_of_others_name_no_executor_but_the_user_may(workplace: Path) -> None:
    (workplace / "others").mkdir()
    settings = (workplace / "elmlff.toml").read_text()
    (workplace / "others" / "elmlff.toml").write_text(f"{settings}\n[resources]\nexecutor = 'os:abort'\n")
    arguments = ("sweep", "--data", "few.extxyz", "--config", "others/elmlff.toml")
    assert "is not trusted: its setting resources.executor = 'os:abort'" in elmlff(workplace, *arguments, code=1).stderr
    stderr = elmlff(workplace, *arguments, "--executor", "os:nothing", code=1).stderr
    assert "cannot load executor 'os:nothing'" in stderr


def test_a_failing_fit_names_its_subset(workplace: Path) -> None:
    """`conservative` cannot be fitted, because the labels have no energies."""
    import ase.io

    structures = ase.io.read(workplace / "few.extxyz", ":")
    for atoms in structures:
        del atoms.info["REF_energy"]
    ase.io.write(workplace / "forces.extxyz", structures)
    toml = (workplace / "elmlff.toml").read_text().replace("[meta.gat]\nchannels = [8, 8]\naveraged_layers = 1", "")
    (workplace / "forces.toml").write_text(toml)
    arguments = ("sweep", "--config", "forces.toml", "--data", "forces.extxyz", "--meta", "conservative")
    for executor in ("serial", "processes"):
        options = (
            "--method",
            "per-subset",
            "--executor",
            executor,
            "--workers",
            "1",
            "--subsets",
            "lj+emt",
            "--output",
            f"failing-{executor}",
        )
        stderr = elmlff(workplace, *arguments, *options, code=1).stderr
        assert "fitting conservative with lj+emt failed: 'conservative' learns an energy" in stderr
        assert len(stderr.strip().splitlines()) == 1
