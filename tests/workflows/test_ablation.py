"""Variants of the paper's network, their table, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from elmlff_core.errors import ConfigError
from elmlff_core.fits.tasks import FitResult
from elmlff_core.workflows.ablation.page import ablation_table
from elmlff_core.workflows.ablation.results import Ablation, VariantErrors
from elmlff_core.workflows.ablation.variants import Variant, gat_variants
from tests.cli.small_data import elmlff, write_small_data


def test_variants_of_the_papers_network():
    variants = {variant.name: variant for variant in gat_variants({"heads": 2})}
    assert list(variants) == ["full", "no-residuals", *(f"no-residuals-minus-{n}" for n in range(1, 6))]
    assert variants["full"].options == {"heads": 2}
    assert variants["no-residuals"].options == {"heads": 2, "residual": False}
    assert variants["no-residuals-minus-1"].options["channels"] == [32, 64, 128, 128, 128, 256, 256]
    assert [variants[f"no-residuals-minus-{n}"].options["averaged_layers"] for n in range(1, 6)] == [2, 1, 0, 0, 0]
    assert variants["no-residuals-minus-5"].options["channels"] == [32, 64, 128]


def test_remaining_layers_do_not_change():
    from elmlff_core.meta.gat import GATNetwork
    from elmlff_core.meta.options import GATOptions

    networks = [GATNetwork(GATOptions(**variant.options), 2, _elements(), 5) for variant in gat_variants({})]
    whole = [parameter.shape for parameter in networks[1].stack.layers.parameters()]
    for n_less, network in enumerate(networks[2:], start=1):
        shapes = [parameter.shape for parameter in network.stack.layers.parameters()]
        assert len(network.stack.layers) == 8 - n_less
        assert shapes == whole[: len(shapes)]


def _elements():
    import torch

    return torch.tensor([1, 6])


def test_a_network_of_few_layers_keeps_one_and_wrong_options_are_errors():
    few = [variant.name for variant in gat_variants({"channels": [4, 4]})]
    assert few == ["full", "no-residuals", "no-residuals-minus-1"]
    with pytest.raises(ConfigError, match="unknown key 'chanels'"):
        gat_variants({"chanels": [4]})


def variant_errors(name: str, *valid: float) -> VariantErrors:
    results = [FitResult({"train": e, "valid": e, "test": 2 * e}, 60.0, 10) for e in valid]
    return VariantErrors.of(Variant(name, name, {}), results)


def ablation(*variants: VariantErrors) -> Ablation:
    return Ablation(("a",), list(variants))


def test_errors_are_means_over_seeds_with_their_deviation():
    found = variant_errors("x", 0.1, 0.2, 0.6)
    assert found.errors == pytest.approx({"train": 0.3, "valid": 0.3, "test": 0.6})
    assert found.seed_std["valid"] == pytest.approx(np.sqrt((0.04 + 0.01 + 0.09) / 2))
    assert variant_errors("x", 0.1).seed_std == {"test": None, "valid": None, "train": None}
    table = ablation_table(ablation(variant_errors("gat", 0.2), variant_errors("y", 0.3)))
    assert table.rows[1] == ["y", "0.6000", "0.3000", "0.3000", "+50.0 %", "10", "1.0"]


def test_the_summary_reports_differences_within_the_deviation_over_seeds():
    assert ablation(variant_errors("gat", 0.1), variant_errors("y", 0.3)).summary.startswith(
        "The whole network is best on validation: 0.1000"
    )
    assert ablation(variant_errors("gat", 0.30, 0.40), variant_errors("y", 0.29, 0.39)).summary.endswith(
        "a difference not larger than the standard deviation over seeds."
    )
    assert ablation(variant_errors("gat", 0.30, 0.31), variant_errors("y", 0.10, 0.11)).summary.endswith(
        "(test 0.6100 ±0.0141)."
    )


def test_the_command_fits_each_variant_and_resumes(tmp_path: Path):
    write_small_data(tmp_path)
    toml = (tmp_path / "elmlff.toml").read_text().replace("[meta.gat]\nchannels = [8, 8]", "[meta]\nchannels = [8, 8]")
    (tmp_path / "elmlff.toml").write_text(toml)

    def run() -> str:
        return elmlff(tmp_path, "ablate", "--seeds", "2", "--executor", "serial", "--output", "run").stdout

    assert "gat in 3 variants with 2 seeds, 3 epochs each: 0 of 6 fits finished before" in run()
    record = json.loads((tmp_path / "run" / "ablation.json").read_text())
    assert [found["name"] for found in record["variants"]] == ["full", "no-residuals", "no-residuals-minus-1"]
    assert (
        record["variants"][2]["n_parameters"]
        < record["variants"][1]["n_parameters"]
        < record["variants"][0]["n_parameters"]
    )
    lines = (tmp_path / "run" / "ablation.csv").read_text().splitlines()
    assert len(lines) == 1 + 3 * 2
    assert "without residuals and the last layer" in (tmp_path / "run" / "ablation.html").read_text()
    (tmp_path / "run" / "fit" / "no-residuals-minus-1-seed1" / "result.json").unlink()
    assert "5 of 6 fits finished before" in run()
    again = json.loads((tmp_path / "run" / "ablation.json").read_text())
    assert [found["per_seed"] for found in again["variants"]] == [found["per_seed"] for found in record["variants"]]
