"""Broken plugins do not break any command, and each is listed with its fault."""

import json

import pytest


@pytest.fixture(scope="module")
def entries(with_broken_plugins) -> dict[str, dict]:
    listed = json.loads(with_broken_plugins.elmlff("plugins", "--json").stdout)
    return {entry["package"]: entry for entry in listed if entry["package"] != "elmlff"}


def test_the_output_of_a_plugin_is_not_in_the_json(with_broken_plugins):
    assert with_broken_plugins.elmlff("plugins", "--json").stderr.strip() == "going"


@pytest.mark.parametrize(
    ("package", "name", "reason"),
    [
        ("elmlff-raises", "raises", "ImportError: libfoo.so.3: cannot open shared object file"),
        ("elmlff-exits", "exits", "SystemExit: it ends Python when imported (3)"),
        (
            "elmlff-misspelt",
            "misspelt",
            "'elmlff_force_feilds' is not a hook of elmlff; did you mean 'elmlff_force_fields'?",
        ),
        (
            "elmlff-unmarked",
            "unmarked",
            "'elmlff_force_fields' is not marked with @hookimpl of elmlff_core.contracts.hookspecs",
        ),
        (
            "elmlff-wrong-record",
            "wrong-record",
            "ForceFieldPlugin.options is <class 'dict'>, expected a subclass of "
            "elmlff_core.contracts.hookspecs.Options",
        ),
    ],
)
def test_a_plugin_that_failed_is_listed_with_its_reason(entries, package, name, reason):
    entry = entries[package]
    assert (entry["kind"], entry["name"], entry["works"]) == ("plugin", name, False)
    assert entry["problem"] == reason


def test_the_error_names_an_outdated_signature(entries):
    assert "config" in entries["elmlff-old"]["problem"]
    assert entries["elmlff-old"]["works"] is False


def test_a_plugin_cannot_use_a_name_of_elmlff(with_broken_plugins, entries):
    entry = entries["elmlff-takes-dp"]
    assert (entry["kind"], entry["name"]) == ("adapter", "dp")
    assert "elmlff 0.1.0" in entry["problem"]
    assert "elmlff-takes-dp 1.2" in entry["problem"]
    listed = json.loads(with_broken_plugins.elmlff("plugins", "--json").stdout)
    assert [one["package"] for one in listed if one["name"] == "dp" and one["works"]] == ["elmlff"]


def test_the_error_on_a_name_of_two_packages_names_both(with_broken_plugins, entries, tmp_path):
    for package in ("elmlff-twin-one", "elmlff-twin-two"):
        assert entries[package]["name"] == "twin"
        assert entries[package]["works"] is False
    (tmp_path / "elmlff.toml").write_text('base_models = ["a"]\n[models.a]\nadapter = "twin"\n')
    done = with_broken_plugins.elmlff("models", "--check", "a", folder=tmp_path, check=False)
    assert done.returncode == 1
    assert "elmlff-twin-one 1.2" in done.stdout
    assert "elmlff-twin-two 1.2" in done.stdout


def test_an_adapter_without_its_backend_gives_the_install_command(with_broken_plugins, entries):
    assert entries["elmlff-needs-more"]["problem"] == "not_to_be_found not installed: pip install elmlff-needs-more"
    done = with_broken_plugins.elmlff("plugins", "--check", "needy", check=False)
    assert done.returncode == 1
    assert "pip install elmlff-needs-more" in done.stdout


@pytest.mark.parametrize("command", [["--help"], ["plugins"], ["models"], ["plugins", "--check", "linear"]])
def test_other_commands_work(with_broken_plugins, tmp_path, command):
    with_broken_plugins.elmlff(*command, folder=tmp_path)


def test_the_table_names_every_failure_and_shows_tracebacks_on_request(with_broken_plugins, tmp_path):
    listed = with_broken_plugins.elmlff("plugins", folder=tmp_path).stdout
    for name in ("raises", "exits", "misspelt", "old", "unmarked", "wrong-record", "twin"):
        assert f" {name} " in listed
    assert "Traceback" not in listed
    shown = with_broken_plugins.elmlff("plugins", "--traceback", folder=tmp_path).stdout
    assert "raise ImportError('libfoo.so.3" in shown


def test_the_error_on_an_unknown_adapter_names_failed_plugins(with_broken_plugins, tmp_path):
    (tmp_path / "elmlff.toml").write_text('base_models = ["a"]\n[models.a]\nadapter = "lost"\n')
    done = with_broken_plugins.elmlff("models", "--check", "a", folder=tmp_path, check=False)
    assert "elmlff-raises 1.2" in done.stdout


def test_the_doctor_names_broken_plugins_and_fails(with_broken_plugins, tmp_path):
    done = with_broken_plugins.elmlff("doctor", "--quick", "--json", folder=tmp_path, check=False)
    assert done.returncode == 1
    findings = [finding for finding in json.loads(done.stdout) if finding["area"] == "plugins"]
    subjects = {finding["subject"] for finding in findings}
    assert subjects >= {"raises of elmlff-raises 1.2", "twin of elmlff-twin-one 1.2"}
