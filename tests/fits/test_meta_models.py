"""Assignment of options to meta-models, if the settings name one meta-model or several."""

from __future__ import annotations

from pathlib import Path

import pytest

from elmlff_core.base_models.named import with_base_models
from elmlff_core.data.splits import Splits, read_splits
from elmlff_core.errors import ElmlffError
from elmlff_core.fits.meta_models import resolve_meta_models, with_resolved
from elmlff_core.settings.config import Config
from elmlff_core.settings.reading import read_config
from elmlff_core.settings.run_folder import RunFolder


@pytest.fixture(scope="module")
def splits() -> Splits:
    return read_splits(Config().data)


def options(splits: Splits, *assignments: str) -> dict[str, dict]:
    config = read_config(None, {}, assignments)
    return {meta.name: meta.options for meta in resolve_meta_models(config, splits)}


def test_one_meta_model_takes_flat_options_and_those_of_its_table(splits: Splits) -> None:
    flat = options(splits, "meta.name=gat", "meta.rotate=false", "meta.heads=2")
    table = options(splits, "meta.name=gat", "meta.gat.rotate=false", "meta.gat.heads=2")
    assert flat == table == {"gat": {"rotate": False, "heads": 2}}
    # An option in the table of the meta-model has precedence.
    assert options(splits, "meta.name=gat", "meta.gat.heads=2", "meta.heads=3") == {"gat": {"heads": 2}}


@pytest.mark.parametrize("name", ["linear, gat", '["linear", "gat"]'])
def test_several_take_the_options_of_their_tables(splits: Splits, name: str) -> None:
    found = options(splits, f"meta.name={name}", "meta.gat.rotate=false", "meta.linear.ridge=0.5")
    assert found == {"linear": {"ridge": 0.5}, "gat": {"rotate": False}}
    assert list(found) == ["linear", "gat"]


def test_the_budget_options_of_one_meta_model_do_not_apply_to_another(splits: Splits) -> None:
    found = options(splits, "budget=paper", "meta.name=linear,gat", "meta.gat.rotate=true")
    assert found == {"linear": {}, "gat": {"target": "direct", "rotate": True}}
    longer = options(splits, "budget=long", "meta.name=ace,egat,conservative", "meta.egat.heads=4")
    assert longer == {"ace": {"functions": 2500}, "egat": {"layers": 6, "heads": 4}, "conservative": {}}


def test_an_option_with_the_name_of_a_meta_model_is_that_of_the_meta_model_beside_it(splits: Splits) -> None:
    given = ("meta.egat-ace.ace.cutoff=7", "meta.ace.functions=100")
    found = options(splits, "meta.name=ace,egat-ace", *given)
    assert found == {"ace": {"functions": 100}, "egat-ace": {"ace": {"cutoff": 7}}}
    # Alone it has its options without its name.
    assert options(splits, "meta.name=egat-ace", "meta.ace.cutoff=7") == {"egat-ace": {"ace": {"cutoff": 7}}}


def test_a_table_of_a_meta_model_that_is_not_used_is_allowed(splits: Splits) -> None:
    assert options(splits, "meta.name=linear", "meta.gat.rotate=false") == {"linear": {}}


WRONG = {
    "no such meta-model": (["meta.name=linear,gta"], "no meta-model is called 'gta'; did you mean 'gat'?"),
    "no such table": (["meta.gta.rotate=false"], "no meta-model is called 'gta'; did you mean 'gat'?"),
    "ambiguous option": (["meta.name=linear,gat", "meta.rotate=false"], "several meta-models: 'meta.gat.rotate'"),
    "unknown option": (["meta.name=linear,gat", "meta.rotat=false"], "did you mean 'rotate'?"),
    "option of another": (["meta.name=linear,gat", "meta.linear.rotate=false"], "unknown key 'rotate' in the options"),
    "twice": (["meta.name=gat,gat"], "a meta-model is named twice"),
    "none": (["meta.name=,"], "name at least one meta-model"),
    "no name": (["meta.name=3"], "'name' must be a name"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_in_options_are_reported(splits: Splits, case: str) -> None:
    assignments, message = WRONG[case]
    with pytest.raises(ElmlffError) as caught:
        options(splits, *assignments)
    assert message in str(caught.value)


def test_options_of_ace_in_another_meta_model_join_those_of_the_budget(splits: Splits) -> None:
    found = options(splits, "budget=long", "meta.name=ace,egat-ace,conservative-ace", "meta.egat-ace.ace.cutoff=7.0")
    assert found["ace"] == {"functions": 2500}
    assert found["egat-ace"] == {"ace": {"functions": 2500, "cutoff": 7.0}}
    assert found["conservative-ace"] == {"ace": {"functions": 2500}}


def test_the_budget_of_ace_is_read_again_beside_a_meta_model_that_has_an_option_of_its_name(splits: Splits) -> None:
    config = with_base_models(read_config(None, {}, ["meta.name=ace,egat-ace", "budget=long"]))
    again = Config(**with_resolved(config, resolve_meta_models(config, splits)).model_dump(mode="json"))
    assert {meta.name: meta.options for meta in resolve_meta_models(again, splits)}["ace"] == {"functions": 2500}


@pytest.mark.parametrize("names", ["gat", "linear,gat"])
def test_the_settings_of_a_run_read_again_are_the_same_run(splits: Splits, tmp_path: Path, names: str) -> None:
    assignments = [f"meta.name={names}", "meta.gat.heads=2", "budget=paper", "seeds=2", "folds=3"]
    config = with_base_models(read_config(None, {}, assignments))
    resolved = with_resolved(config, resolve_meta_models(config, splits))
    RunFolder.open(tmp_path / "run", "key", resolved)
    again = read_config(tmp_path / "run" / "config.toml")
    assert with_resolved(again, resolve_meta_models(again, splits)).digest() == resolved.digest()
    assert again.meta_names == tuple(names.split(","))


@pytest.mark.parametrize("change", ["geometry_only=true", "seeds=2", "folds=2", "meta.name=linear,gat", "meta.heads=2"])
def test_the_digest_covers_all_compared_settings(change: str) -> None:
    assert read_config(None, {}, [change]).digest() != Config().digest()
