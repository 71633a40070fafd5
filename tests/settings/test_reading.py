"""What is wrong in a settings file is refused, whatever goes over it."""

from __future__ import annotations

from pathlib import Path

import pytest

from elmlff_core.errors import ConfigError
from elmlff_core.settings.config import MODEL_NAME
from elmlff_core.settings.reading import read_config

WRONG = {
    "a text where a table belongs": ('data = "train.extxyz"', "'data' in .*elmlff.toml"),
    "a table that there is not": ('[stack]\nmodels = ["dp1"]', "unknown key 'stack'"),
    "a name that leads out": ('[models."../../x"]\nadapter = "nep"', "cannot name a model"),
    "a name with a slash": ('base_models = ["a/b"]', "cannot name a model"),
    "a name with a plus": ('base_models = ["a+b", "a", "b"]', "cannot name a model"),
    "a seed that NumPy refuses": ("seed = 4294967296", "'seed' in .*less than 4294967296"),
    "an infinite number": ("[training]\nlearning_rate = inf", "finite number"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_refused_also_where_the_command_sets_the_same_key(name: str, tmp_path: Path) -> None:
    text, message = WRONG[name]
    path = tmp_path / "elmlff.toml"
    path.write_text(text)
    over = {"data": {"train": "methane"}, "base_models": ["dp1"], "seed": 1, "training": {"learning_rate": 0.1}}
    with pytest.raises(ConfigError, match=message):
        read_config(path, over)


def test_a_value_is_not_lost_below_a_table() -> None:
    with pytest.raises(ConfigError, match=r"'data' is set to 'x', and to a table with data\.split"):
        read_config(None, {}, ["data=x", "data.split=blocks"])
    with pytest.raises(ConfigError, match=r"'meta\.gat' is set to 5, and to a table with meta\.gat\.heads"):
        read_config(None, {}, ["meta.gat=5", "meta.gat.heads=2"])


@pytest.mark.parametrize(
    ("key", "message"),
    [("heads = 7", "heads is 7, which does not divide width 64"), ("cutoff = inf", "finite"), ("cutoff = 1e9", "100")],
)
def test_options_that_no_network_can_have_are_refused_before_anything_long(key: str, message: str) -> None:
    import tomllib

    from elmlff_core.fits.meta_models import make_meta

    with pytest.raises(ConfigError, match=message):
        make_meta("egat", tomllib.loads(key))


def test_an_interpreter_beside_the_file_is_not_looked_up_in_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elmlff.toml").write_text('[models.mine]\nadapter = "ase"\npython = "./python"')
    monkeypatch.chdir(tmp_path)
    assert read_config().models["mine"].python == str(tmp_path / "python")


def test_names_of_models() -> None:
    assert all(map(MODEL_NAME.fullmatch, ("dp1", "7net-l3i5", "mine_2", "a.b")))
    assert not any(map(MODEL_NAME.fullmatch, ("", "a b", "..", "[/red]", "-x", "ä")))


@pytest.mark.parametrize("assignment", ["meta.gat.residual=" + "[" * 5000, ".".join(["meta"] * 5000) + "=1"])
def test_settings_that_are_nested_too_deeply_are_refused(assignment):
    with pytest.raises(ConfigError, match="nested too deeply"):
        read_config(assignments=[assignment])
