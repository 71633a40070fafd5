"""The checks of `elmlff doctor`, and its exit code if something is wrong."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError

import pytest

from elmlff_core.contracts.hookspecs import PackageClash
from elmlff_core.doctor import machine
from elmlff_core.doctor.clashes import clashes
from elmlff_core.doctor.finding import Finding
from elmlff_core.plugins import requirements
from elmlff_core.plugins.records import Origin
from elmlff_core.plugins.registry import Registry, registry
from elmlff_core.resources import n_cores
from elmlff_plugins.deepmd import adapter as deepmd


def levels(findings) -> dict[str, str]:
    return {finding.subject: finding.level for finding in findings}


@pytest.mark.parametrize(
    ("environment", "subject", "level"),
    [
        ({"OMP_NUM_THREADS": "4"}, "OMP_NUM_THREADS", "ok"),
        ({"OMP_NUM_THREADS": "5"}, "OMP_NUM_THREADS", "wrong"),
        ({"OMP_NUM_THREADS": "4,2"}, "OMP_NUM_THREADS", "ok"),
        ({"MKL_NUM_THREADS": "many"}, "MKL_NUM_THREADS", "wrong"),
        ({"DP_INTRA_OP_PARALLELISM_THREADS": "8"}, "DP_INTRA_OP_PARALLELISM_THREADS", "wrong"),
        (
            {"DP_INTRA_OP_PARALLELISM_THREADS": "4", "DP_INTER_OP_PARALLELISM_THREADS": "2"},
            "DP_INTRA_OP_PARALLELISM_THREADS and DP_INTER_OP_PARALLELISM_THREADS",
            "wrong",
        ),
    ],
)
def test_threads_against_four_cores(environment, subject, level):
    multiplied = registry().force_field("dp").thread_variables
    assert levels(machine.threads(environment, 4, [multiplied]))[subject] == level


def test_cores_are_no_more_than_the_process_may_use():
    import os

    assert 1 <= n_cores() <= (os.cpu_count() or 1)


def test_the_cache_is_measured(tmp_path):
    (tmp_path / "one.safetensors").write_bytes(b"0" * 2_500_000)
    (finding,) = machine.cache(tmp_path)
    assert finding.message.startswith("predictions in 1 files, 2.5 MB")


def test_a_cache_that_cannot_be_written_is_wrong(tmp_path):
    (tmp_path / "file").write_text("")
    (finding,) = machine.cache(tmp_path / "file" / "cache")
    assert finding.level == "wrong"
    assert "ELMLFF_CACHE" in finding.remedy


@pytest.fixture
def installed(monkeypatch):
    """Pretend that certain versions are installed, and that packages require certain versions."""
    versions, required = {}, {}

    def version(name):
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(requirements, "version", version)
    monkeypatch.setattr(requirements, "requires", lambda name: required.get(name, []))
    return versions, required


def test_mace_beside_deepmd_is_a_known_clash(installed):
    versions, required = installed
    versions |= {"mace-torch": "0.3.14", "deepmd-kit": "3.2.0", "e3nn": "0.4.4"}
    required |= {"mace-torch": ["e3nn==0.4.4"], "deepmd-kit": ['e3nn>=0.5.9; extra == "torch"']}
    required["elmlff"] = ['deepmd-kit[torch]<4,>=3.2; extra == "deepmd"']
    found = list(clashes(registry()))
    assert [finding.subject for finding in found] == ["mace-torch and deepmd-kit", "deepmd-kit"]
    assert 'python = "mace-torch-env/bin/python"' in found[0].remedy
    assert found[1].message == "e3nn 0.4.4 is installed, deepmd-kit[torch] needs >=0.5.9"
    assert found[1].remedy == 'pip install "elmlff[deepmd]"'


def test_an_old_schnetpack_is_a_known_clash(installed):
    versions, _ = installed
    versions["schnetpack"] = "2.0.4"
    (finding,) = clashes(registry())
    assert finding.subject == "schnetpack before 2.2"
    assert 'pip install "elmlff[schnet]"' in finding.remedy


def test_no_clash_is_reported_too(installed):
    assert list(clashes(registry())) == [
        Finding("clashes", "versions", "ok", "no clash among elmlff, its backends and known force fields")
    ]


def test_deepmd_without_its_pytorch_extra_is_a_known_clash(installed, monkeypatch):
    versions, _ = installed
    versions["deepmd-kit"] = "3.2.0"
    monkeypatch.setattr(deepmd, "is_importable", lambda module: module != "e3nn")
    (finding,) = clashes(registry())
    assert finding.subject == "deepmd-kit without its PyTorch extra"
    assert finding.remedy == 'pip install "elmlff[deepmd]"'


def test_the_remedy_for_unmet_requirements_of_a_force_field_is_its_own_environment(installed):
    versions, required = installed
    versions |= {"chgnet": "0.4.2", "numpy": "2.4.0", "torch": "2.11.0"}
    required["chgnet"] = ["numpy<2.4", "torch<2.10"]
    found = list(clashes(registry()))
    assert [(finding.subject, finding.message) for finding in found] == [
        ("chgnet", "numpy 2.4.0 is installed, chgnet needs <2.4"),
        ("chgnet", "torch 2.11.0 is installed, chgnet needs <2.10"),
    ]
    assert {finding.remedy for finding in found} == {requirements.own_environment("chgnet")}


def test_a_failing_check_of_a_plugin_does_not_end_the_examination(installed):
    found = Registry(
        clashes=[(PackageClash("this and that", lambda: str(1 / 0), "separate them"), Origin("odd", "1", "m"))]
    )
    (finding,) = clashes(found)
    assert (finding.subject, finding.level) == ("this and that", "wrong")
    assert finding.message == "the check of odd 1 failed: ZeroDivisionError: division by zero"


def test_the_command_names_what_is_wrong_and_fails(elmlff, tmp_path):
    (tmp_path / "elmlff.toml").write_text('[models.far]\nadapter = "ase"\npython = "nowhere/bin/python"\n')
    done = elmlff(
        "doctor", "--json", folder=tmp_path, check=False,
        OMP_NUM_THREADS="4096", ELMLFF_CACHE=str(tmp_path / "cache"),
    )  # fmt: skip
    assert done.returncode == 1
    findings = json.loads(done.stdout)
    wrong = {finding["subject"] for finding in findings if finding["level"] == "wrong"}
    assert wrong >= {"OMP_NUM_THREADS", "model 'far'"}
    assert {finding["area"] for finding in findings} == {
        "python", "threads", "cache", "clashes", "plugins", "backends", "settings",
    }  # fmt: skip
    torch = next(finding for finding in findings if finding["subject"] == "torch")
    assert torch["level"] == "ok"
    assert "CUDA" in torch["message"]
