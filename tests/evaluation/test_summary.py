"""The summary in words and the table on the screen, from errors made by hand."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from elmlff_core.cli.console import print_errors
from elmlff_core.evaluation.model_errors import ModelErrors, over_seeds
from elmlff_core.evaluation.summary import in_sample_note, summary


def errors(test: float, valid: float = 0.5, train: float = 0.5) -> dict[str, dict[str, float]]:
    values = {"test": test, "valid": valid, "train": train}
    return {split: {"rmse_per_frame": value, "rmse": 2 * value, "mae": value / 2} for split, value in values.items()}


def base(name: str, test: float, train: float = 0.5) -> ModelErrors:
    return ModelErrors(name, "base model", errors(test, train=train))


def fitted(meta: str, *test: float, kind: str = "stack", chosen: bool = False) -> ModelErrors:
    """Errors of a meta-model with these test errors of its seeds."""
    by_seed = [errors(value) for value in test]
    mean, seed_std = over_seeds(by_seed)
    per_seed = [{"seed": number, "errors": one, "seconds": 90.0} for number, one in enumerate(by_seed)]
    name = f"stack ({meta})" if kind == "stack" else f"{meta}, geometry only"
    return ModelErrors(name, kind, mean, seed_std, per_seed, meta, 90.0, 1234567, chosen)


LINEAR = ModelErrors("linear combination", "baseline", errors(0.30), meta="linear")


def test_a_stack_that_is_the_best_model() -> None:
    models = [base("dp1", 0.5), base("nep", 0.4), LINEAR, fitted("gat", 0.24, chosen=True)]
    assert summary(models) == (
        "stack (gat): test error 0.2400 eV/Å, 40.0 % below the best base model (nep, 0.4000) and 20.0 % below the best "
        "baseline (linear combination, 0.3000)."
    )


def test_a_stack_that_is_not_the_best_model() -> None:
    assert summary([base("nep", 0.4), LINEAR, fitted("gat", 0.33, chosen=True)]) == (
        "stack (gat): test error 0.3300 eV/Å, 17.5 % below the best base model (nep, 0.4000) and 10.0 % above the best "
        "baseline (linear combination, 0.3000): the stack is not the best model here."
    )


def test_a_stack_that_stays_at_the_linear_combination_is_not_the_best_model() -> None:
    models = [base("nep", 0.4), LINEAR, fitted("gat", 0.2999, chosen=True)]
    assert summary(models).endswith(
        "and the same as the best baseline (linear combination, 0.3000): the stack is not the best model here."
    )


def test_a_linear_combination_among_the_meta_models_is_a_baseline() -> None:
    linear = ModelErrors("stack (linear)", "stack", errors(0.30), meta="linear")
    found = summary([base("nep", 0.4), linear, fitted("gat", 0.33, chosen=True)])
    assert found.startswith("stack (gat), best of 2 stacks on validation: test error 0.3300")
    assert "10.0 % above the best baseline (stack (linear), 0.3000): the stack is not the best model here." in found


def test_another_stack_with_a_lower_test_error_is_not_compared() -> None:
    """The stack is chosen by validation error; test errors must not be used."""
    assert "not the best model" not in summary([base("nep", 0.4), fitted("egat", 0.1), fitted("gat", 0.2, chosen=True)])


def test_the_contribution_of_base_models_with_several_seeds() -> None:
    """Differences 0.02 and 0.06: mean 0.04, standard deviation sqrt(2) * 0.02."""
    models = [base("nep", 0.4), fitted("gat", 0.22, 0.26, kind="baseline"), fitted("gat", 0.2, 0.2, chosen=True)]
    found = summary(models)
    assert "The base models lower the error by 0.0400 ±0.0283 eV/Å, compared with gat, geometry only" in found
    assert found.endswith("gat, geometry only (0.2400 ±0.0283).")


def test_a_contribution_within_the_standard_deviation_over_seeds_is_reported_as_such() -> None:
    """Differences -0.01 and 0.03: mean 0.01, standard deviation sqrt(2) * 0.02."""
    models = [base("nep", 0.4), fitted("gat", 0.19, 0.23, kind="baseline"), fitted("gat", 0.2, 0.2, chosen=True)]
    found = summary(models)
    assert "The base models lower the error by 0.0100 ±0.0283 eV/Å, compared with gat, geometry only" in found
    assert found.endswith("(0.2100 ±0.0283), not more than the standard deviation over seeds.")


def test_base_models_that_do_not_lower_the_error() -> None:
    models = [base("nep", 0.4), fitted("gat", 0.15, kind="baseline"), fitted("gat", 0.2, chosen=True)]
    found = summary(models)
    assert (
        "The base models do not lower the error: it is 0.0500 eV/Å above that of gat, geometry only (0.1500)." in found
    )
    assert "the stack is not the best model here" in found


def test_mean_and_sample_deviation_over_seeds() -> None:
    mean, seed_std = over_seeds([errors(0.1), errors(0.2), errors(0.6)])
    assert mean["test"]["rmse_per_frame"] == pytest.approx(0.3)
    assert seed_std["test"]["rmse_per_frame"] == pytest.approx(((0.04 + 0.01 + 0.09) / 2) ** 0.5)
    assert seed_std["valid"]["mae"] == 0
    assert over_seeds([errors(0.1)]) == (errors(0.1), {})


def test_the_note_has_the_errors_of_each_in_sample_base_model() -> None:
    models = [base("nep", 0.4, train=0.1), base("given", 0.3), fitted("gat", 0.2, chosen=True)]
    note = in_sample_note(models, ["nep"])
    assert "nep 0.1000 on training and 0.4000 on test structures" in note
    assert "given" not in note


def shown(models: list[ModelErrors], *splits: str) -> list[str]:
    out = io.StringIO()
    print_errors(Console(file=out, width=160), models, splits)
    return out.getvalue().splitlines()


def test_the_table_shows_standard_deviation_minutes_and_parameters() -> None:
    lines = shown([base("nep", 0.4), fitted("linear", 0.3), fitted("gat", 0.1, 0.3, chosen=True)], "test", "valid")
    cells = [cell.strip() for cell in next(line for line in lines if "gat" in line).strip("│").split("│")]
    assert cells == [
        "stack (gat) *", "0.2000 ±0.1414", "0.4000 ±0.2828", "0.1000 ±0.0707", "0.5000 ±0.0000", "1.5", "1,234,567"
    ]  # fmt: skip
    cells = [cell.strip() for cell in next(line for line in lines if "nep" in line).strip("│").split("│")]
    assert cells == ["nep", "0.4000", "0.8000", "0.2000", "0.5000", "", ""]
    assert [line.strip() for line in lines[-2:]] == [
        "* chosen by its validation error",
        "± standard deviation over 2 seeds; minutes are the mean time of one fit",
    ]


def test_a_table_without_fits_has_no_columns_for_them() -> None:
    stack = ModelErrors("stack (gat)", "stack", errors(0.2), meta="gat", chosen=True)
    text = "\n".join(shown([base("nep", 0.4), stack], "test"))
    assert not [word for word in ("minutes", "parameters", "±", "*", "valid") if word in text]
