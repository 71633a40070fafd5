"""Executors of Dask and Parsl: job scripts, a queue, a running scheduler, and what is refused before work begins."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from elmlff_core.errors import ConfigError, ElmlffError
from elmlff_core.execution import clusters, executors
from elmlff_core.execution.clusters import check_cluster, job_script
from elmlff_core.execution.executors import check_executor
from elmlff_core.execution.placement import NAMES, Placement
from elmlff_core.execution.trust import refuse_executor
from elmlff_core.plugins import requirements
from elmlff_core.settings.config import Config, JobConfig, ResourcesConfig
from tests.conftest import REPOSITORY
from tests.docs.pages import blocks
from tests.execution.fake_queue import history, make_queue

PAGE = REPOSITORY / "docs" / "clusters.md"
FULL = JobConfig(
    queue="short", account="chem", walltime="01:30", cores=6, memory="10GB", workers=3, directives=("-z now",),
    lines=("module load gcc",),
)  # fmt: skip


@pytest.fixture
def dask() -> None:
    if importlib.util.find_spec("dask_jobqueue") is None:  # its import would change what Ctrl-C does in this process
        pytest.skip("comes with the extra 'dask'")


def test_the_job_script_of_the_page_is_that_of_its_settings(dask: None) -> None:
    (settings,) = (block for block in blocks(PAGE, "toml") if "dask-slurm" in block)
    (script,) = (block for block in blocks(PAGE, "bash") if "dask_worker" in block)
    placement = Placement.of(Config.model_validate(tomllib.loads(settings)).resources)
    assert job_script(placement).replace(sys.executable, "PYTHON") == script
    assert placement.n_workers(100) == 8


def test_the_example_prints_the_job_script(dask: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (settings,) = (block for block in blocks(PAGE, "toml") if "dask-slurm" in block)
    (example,) = (block for block in blocks(PAGE, "python") if "job_script" in block)
    (tmp_path / "elmlff.toml").write_text(settings)
    (tmp_path / "example.py").write_text(example)
    monkeypatch.chdir(tmp_path)
    runpy.run_path("example.py")
    assert "#SBATCH --constraint=rome" in capsys.readouterr().out


QUEUES = {
    "dask-slurm": (
        "#SBATCH -p short", "#SBATCH -A chem", "#SBATCH -t 01:30", "#SBATCH --cpus-per-task=6", "#SBATCH --mem=10G",
        "#SBATCH -z now",
    ),
    "dask-pbs": ("#PBS -q short", "#PBS -A chem", "#PBS -l walltime=01:30", "ncpus=6:mem=9537MB", "#PBS -z now"),
    "dask-lsf": ("#BSUB -q short", '#BSUB -P "chem"', "#BSUB -W 01:30", "#BSUB -n 6", "#BSUB -z now"),
}  # fmt: skip


@pytest.mark.parametrize("name", QUEUES)
def test_a_job_asks_the_queue_for_what_the_settings_say(dask: None, name: str) -> None:
    script = job_script(Placement(name, job=FULL))
    for line in QUEUES[name]:
        assert line in script
    assert "export OMP_NUM_THREADS=2\n" in script  # 6 cores for 3 workers
    assert script.index("module load gcc") < script.index(sys.executable)
    assert "--nworkers 3" in script
    assert script.rstrip().endswith("--nthreads 1")  # one task at a time


def test_settings_that_make_no_job_are_refused(dask: None) -> None:
    with pytest.raises(ConfigError, match=r"\[resources.job\] make no job for 'dask-slurm': .*many"):
        job_script(Placement("dask-slurm", job=JobConfig(memory="many")))
    with pytest.raises(ValueError, match="3 workers of a job share 2 of its cores"):
        JobConfig(cores=2, workers=3)


def test_a_machine_without_the_queue_is_told(dask: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="'dask-pbs' submits jobs by 'qsub', which is not on PATH"):
        check_executor(Placement("dask-pbs"))


@pytest.mark.parametrize(("name", "extra"), [("dask", "dask"), ("dask-lsf", "dask"), ("parsl", "parsl")])
def test_a_missing_package_is_refused_with_the_line_that_installs_it(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements, "is_importable", lambda module: False)
    with pytest.raises(ConfigError, match=re.escape(f'pip install "elmlff[{extra}]"')):
        check_cluster(Placement(name))


def test_every_executor_can_be_opened_by_its_name() -> None:
    assert {*NAMES} == {"processes", "serial", *clusters.NEEDED}


def test_where_a_run_is_computed_does_not_change_what_it_is() -> None:
    here, there = Config(), Config(resources=ResourcesConfig(executor="dask", workers=3))
    assert here.digest() == there.digest()
    assert here.digest() != Config(seed=1).digest()


def test_one_worker_process_is_the_command_itself() -> None:
    assert Placement.of(ResourcesConfig(workers=1)).executor == "serial"
    assert Placement.of(ResourcesConfig(workers=2)) == Placement("processes", 2)
    assert Placement.of(ResourcesConfig(executor="dask", workers=1)).executor == "dask"


def test_workers_are_not_more_than_tasks() -> None:
    assert Placement("processes", 8).n_workers(3) == 3
    assert Placement("dask-slurm", job=JobConfig(cores=4, workers=4)).n_workers(100) == 4  # one job
    assert Placement("dask-slurm", 20, job=JobConfig(cores=4, workers=2)).n_workers(100) == 20
    assert Placement("dask-slurm", 20, job=JobConfig(cores=5, workers=2)).n_threads(20) == 2


CODE = {
    "executor": ResourcesConfig(executor="os:abort"),
    "address": ResourcesConfig(executor="dask", address="tcp://192.0.2.1:8786"),
    "job.lines": ResourcesConfig(job=JobConfig(lines=("rm -r precious",))),
    "job.directives": ResourcesConfig(job=JobConfig(directives=("--wrap=x",))),
}


@pytest.mark.parametrize("key", CODE)
def test_settings_of_others_do_not_decide_which_code_runs(key: str, tmp_path: Path) -> None:
    with pytest.raises(ElmlffError, match=rf"{tmp_path} is not trusted: its setting resources\.{key} = .*say --trust"):
        refuse_executor(CODE[key], tmp_path, "say --trust")


def test_an_executor_that_the_user_names_is_allowed(tmp_path: Path) -> None:
    refuse_executor(ResourcesConfig(executor="os:abort"), tmp_path, "say --trust", "os:abort")
    refuse_executor(ResourcesConfig(executor="dask-slurm", workers=4), tmp_path, "say --trust")


def test_workers_start_before_numpy_is_loaded() -> None:
    """Its number of threads is set when it is loaded; worker processes import this module before they set it."""
    code = f"import sys, {executors.__name__}; print(sorted({{'numpy', 'torch', 'distributed'}} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def in_fresh_process(code: str, folder: Path) -> str:
    """Run `code` as a script in `folder`, because cluster libraries keep threads and state until their process ends."""
    script = folder / "script.py"
    script.write_text(f"if __name__ == '__main__':\n    {code}\n")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, script.name], cwd=folder, env=environment, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORTS = "; ".join(
    [
        "import os, sys",
        "from elmlff_core.execution.executors import opened",
        "from elmlff_core.execution.placement import Placement",
    ]
)


def test_a_running_scheduler_is_found_by_its_file(dask: None, tmp_path: Path) -> None:
    code = [
        IMPORTS,
        "from distributed import LocalCluster",
        "cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)",
        "import json; json.dump({'type': 'Scheduler', 'id': '1', 'address': cluster.scheduler_address, 'workers': {}}, "
        "open('scheduler.json', 'w'))",
        "with opened(Placement('dask', address='scheduler.json'), 1, 1) as executor: "
        "print(executor.submit(os.getpid).result(60) != os.getpid())",
        "print(len(cluster.scheduler.workers))",  # it is not ended with the executor
        "cluster.close()",
    ]
    assert in_fresh_process("\n    ".join(code), tmp_path).split() == ["True", "1"]


def test_an_interruption_ends_the_jobs(dask: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C stays what it is, though dask-jobqueue replaces its handler."""
    monkeypatch.setenv("PATH", make_queue(tmp_path / "queue"))
    code = [
        IMPORTS,
        "import signal, threading, time",
        "try:",
        "    with opened(Placement('dask-slurm'), 1, 1) as executor:",
        "        executor.submit(pow, 2, 3).result(200)",
        "        threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()",
        "        executor.submit(time.sleep, 200).result()",
        "except KeyboardInterrupt:",
        "    print('interrupted')",
    ]
    assert in_fresh_process("\n    ".join(code), tmp_path).strip() == "interrupted"
    assert [line.split()[0] for line in history(tmp_path / "queue")] == ["submitted", "cancelled"]


def test_an_interruption_of_all_processes_ends_parsl(tmp_path: Path) -> None:
    pytest.importorskip("parsl", reason="comes with the extra 'parsl'")
    code = [
        "os.setpgrp()",  # as a shell does, whose Ctrl-C reaches the group
        "try:",
        "    with opened(Placement('parsl'), 1, 1) as executor:",
        "        executor.submit(pow, 2, 3).result(200)",
        "        threading.Timer(1, os.killpg, (os.getpgrp(), signal.SIGINT)).start()",
        "        executor.submit(subprocess.run, ['sleep', '200']).result()",
        "except KeyboardInterrupt:",
        "    print('interrupted')",
    ]
    imports = [IMPORTS, "import signal, subprocess, threading"]
    assert in_fresh_process("\n    ".join([*imports, *code]), tmp_path).strip() == "interrupted"


@pytest.mark.parametrize("name", ["my_dask:executor", "my_parsl:config"])
def test_functions_of_the_page_return_executors(name: str, tmp_path: Path) -> None:
    module = name.partition(":")[0]
    package = {"my_dask": "distributed", "my_parsl": "parsl"}[module]
    pytest.importorskip(package, reason="comes with the extra 'test'")
    (example,) = (block for block in blocks(PAGE, "python") if f"from {package} import" in block)
    (tmp_path / f"{module}.py").write_text(re.sub(r"(n_workers|max_workers_per_node)=4", r"\1=1", example))
    use = f"with opened(Placement('{name}'), 1, 1) as executor: print(executor.submit(pow, 2, 3).result(200))"
    assert in_fresh_process(f"{IMPORTS}\n    {use}", tmp_path).strip() == "8"
