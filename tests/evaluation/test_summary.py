"""The summary in words and the table on screen, from rows with numbers made by hand."""

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
    """The row of a meta-model with these test errors of its seeds."""
    by_seed = [errors(value) for value in test]
    mean, seed_std = over_seeds(by_seed)
    per_seed = [{"seed": number, "errors": one, "seconds": 90.0} for number, one in enumerate(by_seed)]
    name = f"stack ({meta})" if kind == "stack" else f"{meta}, geometry only"
    return ModelErrors(name, kind, mean, seed_std, per_seed, meta, 90.0, 1234567, chosen)


LEAST_SQUARES = ModelErrors("linear combination", "baseline", errors(0.30), meta="linear")


def test_a_stack_that_pays() -> None:
    rows = [base("dp1", 0.5), base("nep", 0.4), LEAST_SQUARES, fitted("gat", 0.24, chosen=True)]
    assert summary(rows) == (
        "stack (gat): test error 0.2400 eV/Å, 40.0 % below the best base model (nep, 0.4000) and 20.0 % below the best "
        "baseline (linear combination, 0.3000)."
    )


def test_a_stack_that_does_not_pay() -> None:
    assert summary([base("nep", 0.4), LEAST_SQUARES, fitted("gat", 0.33, chosen=True)]) == (
        "stack (gat): test error 0.3300 eV/Å, 17.5 % below the best base model (nep, 0.4000) and 10.0 % above the best "
        "baseline (linear combination, 0.3000): the stack does not pay here."
    )


def test_a_stack_that_stayed_at_the_mix_it_starts_from_does_not_pay() -> None:
    rows = [base("nep", 0.4), LEAST_SQUARES, fitted("gat", 0.2999, chosen=True)]
    assert summary(rows).endswith(
        "and the same as the best baseline (linear combination, 0.3000): the stack does not pay here."
    )


def test_least_squares_among_the_meta_models_is_still_what_is_to_beat() -> None:
    linear = ModelErrors("stack (linear)", "stack", errors(0.30), meta="linear")
    found = summary([base("nep", 0.4), linear, fitted("gat", 0.33, chosen=True)])
    assert found.startswith("stack (gat), of 2 chosen on validation: test error 0.3300")
    assert "10.0 % above the best baseline (stack (linear), 0.3000): the stack does not pay here." in found


def test_another_stack_that_is_better_on_test_structures_is_no_rival() -> None:
    """The choice was made on validation: test errors have no say in it."""
    assert "does not pay" not in summary([base("nep", 0.4), fitted("egat", 0.1), fitted("gat", 0.2, chosen=True)])


def test_what_the_bases_bring_with_several_seeds() -> None:
    """Differences 0.02 and 0.06: mean 0.04, standard deviation sqrt(2) * 0.02."""
    rows = [base("nep", 0.4), fitted("gat", 0.22, 0.26, kind="baseline"), fitted("gat", 0.2, 0.2, chosen=True)]
    assert "The base models bring 0.0400 ±0.0283 eV/Å: the difference to gat, geometry only" in summary(rows)
    assert "which reaches 0.2400 ±0.0283." in summary(rows)


def test_a_gain_within_the_spread_over_seeds_is_called_so() -> None:
    """Differences -0.01 and 0.03: mean 0.01, standard deviation sqrt(2) * 0.02."""
    rows = [base("nep", 0.4), fitted("gat", 0.19, 0.23, kind="baseline"), fitted("gat", 0.2, 0.2, chosen=True)]
    assert "The base models bring 0.0100 ±0.0283 eV/Å, no more than the standard deviation over seeds" in summary(rows)


def test_bases_that_bring_nothing() -> None:
    rows = [base("nep", 0.4), fitted("gat", 0.15, kind="baseline"), fitted("gat", 0.2, chosen=True)]
    found = summary(rows)
    assert (
        "The base models bring nothing: the error is 0.0500 eV/Å above that of gat, geometry only, which reaches"
        in found
    )
    assert "the stack does not pay here" in found


def test_mean_and_sample_deviation_over_seeds() -> None:
    mean, seed_std = over_seeds([errors(0.1), errors(0.2), errors(0.6)])
    assert mean["test"]["rmse_per_frame"] == pytest.approx(0.3)
    assert seed_std["test"]["rmse_per_frame"] == pytest.approx(((0.04 + 0.01 + 0.09) / 2) ** 0.5)
    assert seed_std["valid"]["mae"] == 0
    assert over_seeds([errors(0.1)]) == (errors(0.1), {})


def test_the_gap_of_each_base_trained_here_is_told() -> None:
    rows = [base("nep", 0.4, train=0.1), base("given", 0.3), fitted("gat", 0.2, chosen=True)]
    note = in_sample_note(rows, ["nep"])
    assert "nep 0.1000 on training and 0.4000 on test structures" in note
    assert "given" not in note


def shown(rows: list[ModelErrors], *splits: str) -> list[str]:
    out = io.StringIO()
    print_errors(Console(file=out, width=160), rows, splits)
    return out.getvalue().splitlines()


def test_the_table_shows_spread_minutes_and_parameters() -> None:
    lines = shown([base("nep", 0.4), fitted("linear", 0.3), fitted("gat", 0.1, 0.3, chosen=True)], "test", "valid")
    cells = [cell.strip() for cell in next(line for line in lines if "gat" in line).strip("│").split("│")]
    assert cells == [
        "stack (gat) *", "0.2000 ±0.1414", "0.4000 ±0.2828", "0.1000 ±0.0707", "0.5000 ±0.0000", "1.5", "1,234,567"
    ]  # fmt: skip
    cells = [cell.strip() for cell in next(line for line in lines if "nep" in line).strip("│").split("│")]
    assert cells == ["nep", "0.4000", "0.8000", "0.2000", "0.5000", "", ""]
    assert [line.strip() for line in lines[-2:]] == [
        "* chosen on validation",
        "± standard deviation over 2 seeds; minutes are those of one",
    ]


def test_a_plain_table_has_no_column_or_line_for_what_was_not_done() -> None:
    stack = ModelErrors("stack (gat)", "stack", errors(0.2), meta="gat", chosen=True)
    text = "\n".join(shown([base("nep", 0.4), stack], "test"))
    assert not [word for word in ("minutes", "parameters", "±", "*", "valid") if word in text]
