"""What `elmlff cite` gives for a stack: papers of all its parts once, and a paragraph with the run's own numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import tomli_w

from elmlff_core.contracts.hookspecs import ForceFieldPlugin, Options
from elmlff_core.errors import ElmlffError, PluginError
from elmlff_core.plugins.loading import _check_fields
from elmlff_core.plugins.registry import registry
from elmlff_core.report.citation import References, cite


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The files of a run, as `elmlff stack` writes them."""
    models = [
        {"name": "dp3", "adapter": "dp", "options": {"descriptor": "se_e3", "steps": 2000}},
        {"name": "painn", "adapter": "painn", "options": {"n_atom_basis": 128}},
        {"name": "mine", "adapter": "gone", "options": {}},
    ]
    (tmp_path / "stack.json").write_text(json.dumps({"meta": {"name": "egat", "options": {}}, "base_models": models}))
    errors = [
        {"name": name, "kind": kind, "chosen": kind == "stack", "errors": {"test": {"rmse_per_frame": value}}}
        for name, kind, value in (
            ("dp3", "base model", 0.08), ("painn", "base model", 0.03), ("linear combination", "baseline", 0.02),
            ("stack (egat)", "stack", 0.01234),
        )
    ]  # fmt: skip
    fits = [{"meta": "egat", "geometry_only": False, "epochs": 7, "seed": 3}]
    splits = {"train": [0] * 80, "valid": [0] * 10, "test": [0] * 10}
    metrics = {"errors": errors, "fits": fits, "splits": splits, "folds": [[0], [1], [2]]}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    config = {"data": {"train": "slab_1.extxyz", "split": "blocks"}, "training": {"batch_size": 8}}
    (tmp_path / "config.toml").write_text(tomli_w.dumps(config))
    return tmp_path


def keys(bibtex: str) -> list[str]:
    return re.findall(r"^@\w+\{(\w+),", bibtex, re.MULTILINE)


def test_every_part_brings_its_papers_once(run):
    found = cite(run)
    # PaiNN is the paper of a base model and of the layers of egat; the preset dp3 brings one of its own.
    assert keys(found.bibtex) == ["Yin2024", "Zeng2025", "Zhang2018", "Wang2022", "Schuett2023", "Schuett2021"]
    assert found.missing == ("mine",)
    cited = {key for group in re.findall(r"\\cite\{([^}]+)\}", found.methods) for key in group.split(",")}
    assert cited == set(keys(found.bibtex))


def test_the_paragraph_has_the_numbers_of_the_run(run):
    text = cite(run).methods
    for part in (
        "3 base models", "descriptor se\\_e3, steps 2000", "at most 7 epochs (seed 3, batch size 8)", "from 3 folds",
        "slab\\_1.extxyz were split by whole blocks of the trajectory: 80 to train, 10 to validate and 10 to test",
        "is 0.0123~eV/\\AA, compared with 0.0300 for painn, 0.0200 for linear combination",
    ):  # fmt: skip
        assert part in text, text


def test_a_bundled_stack_alone_is_enough(run):
    for name in ("metrics.json", "config.toml"):
        (run / name).unlink()
    assert "They are combined by the meta-model egat" in cite(run).methods


def test_a_folder_without_a_stack_is_refused(tmp_path):
    with pytest.raises(ElmlffError, match="contains no stack"):
        cite(tmp_path)


def test_two_papers_with_one_key_get_two():
    references = References()
    one, two = "@article{A2024, title = {one}}", "@article{A2024, title = {two}}"
    assert references.add([one, two]) == "~\\cite{A2024,A2024b}"
    assert references.add([two]) == "~\\cite{A2024b}"
    assert list(references) == [one, "@article{A2024b, title = {two}}"]


def test_citations_of_plugins_are_checked_when_they_are_loaded():
    plugin = ForceFieldPlugin("mine", "mine", Options, lambda request: None, citation=("doi:10.1/1",))
    with pytest.raises(PluginError, match=r"ForceFieldPlugin\.citation .* expected a tuple of BibTeX entries"):
        _check_fields(plugin)
    with pytest.raises(PluginError, match="citation"):
        _check_fields(ForceFieldPlugin("mine", "mine", Options, lambda request: None, citation="@article{A, b}"))


def test_every_adapter_of_elmlff_has_papers_with_balanced_braces():
    records = [record for _, record, origin in registry().records() if origin.distribution == "elmlff"]
    adapters = [record for record in records if isinstance(record, ForceFieldPlugin)]
    assert all(record.citation for record in adapters)
    for record in records:
        for entry in record.citation:
            assert entry.count("{") == entry.count("}"), entry
            assert re.search(r"^  (doi|url) +=", entry, re.MULTILINE), entry
