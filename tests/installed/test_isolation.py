"""Plugins that raise, exit, are misspelt, old, malformed or take a name: no command breaks, and each is named."""

import json

import pytest


@pytest.fixture(scope="module")
def entries(infested) -> dict[str, dict]:
    listed = json.loads(infested.elmlff("plugins", "--json").stdout)
    return {entry["package"]: entry for entry in listed if entry["package"] != "elmlff"}


def test_what_a_plugin_prints_is_not_in_the_json(infested):
    assert infested.elmlff("plugins", "--json").stderr.strip() == "going"


@pytest.mark.parametrize(
    ("package", "name", "reason"),
    [
        ("elmlff-raises", "raises", "ImportError: libfoo.so.3: cannot open shared object file"),
        ("elmlff-exits", "exits", "SystemExit: it ends Python when imported (3)"),
        (
            "elmlff-misspelt",
            "misspelt",
            "'elmlff_force_feilds' is no hook of elmlff; did you mean 'elmlff_force_fields'?",
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


def test_an_old_signature_is_told(entries):
    assert "config" in entries["elmlff-old"]["problem"]
    assert entries["elmlff-old"]["works"] is False


def test_a_name_of_elmlffs_own_cannot_be_taken(infested, entries):
    entry = entries["elmlff-takes-dp"]
    assert (entry["kind"], entry["name"]) == ("adapter", "dp")
    assert "elmlff 0.1.0" in entry["problem"]
    assert "elmlff-takes-dp 1.2" in entry["problem"]
    listed = json.loads(infested.elmlff("plugins", "--json").stdout)
    assert [one["package"] for one in listed if one["name"] == "dp" and one["works"]] == ["elmlff"]


def test_a_name_that_two_packages_claim_names_both_when_used(infested, entries, tmp_path):
    for package in ("elmlff-twin-one", "elmlff-twin-two"):
        assert entries[package]["name"] == "twin"
        assert entries[package]["works"] is False
    (tmp_path / "elmlff.toml").write_text('stack = ["a"]\n[models.a]\nadapter = "twin"\n')
    done = infested.elmlff("models", "--check", "a", folder=tmp_path, check=False)
    assert done.returncode == 1
    assert "elmlff-twin-one 1.2" in done.stdout
    assert "elmlff-twin-two 1.2" in done.stdout


def test_an_adapter_whose_backend_is_missing_tells_the_line_that_installs_it(infested, entries):
    assert entries["elmlff-needs-more"]["problem"] == "not_to_be_found not installed: pip install elmlff-needs-more"
    done = infested.elmlff("plugins", "--check", "needy", check=False)
    assert done.returncode == 1
    assert "pip install elmlff-needs-more" in done.stdout


@pytest.mark.parametrize("command", [["--help"], ["plugins"], ["models"], ["plugins", "--check", "linear"]])
def test_other_commands_work(infested, tmp_path, command):
    infested.elmlff(*command, folder=tmp_path)


def test_a_table_names_every_failure_and_tracebacks_are_shown_on_request(infested, tmp_path):
    listed = infested.elmlff("plugins", folder=tmp_path).stdout
    for name in ("raises", "exits", "misspelt", "old", "unmarked", "wrong-record", "twin"):
        assert f" {name} " in listed
    assert "Traceback" not in listed
    shown = infested.elmlff("plugins", "--traceback", folder=tmp_path).stdout
    assert "raise ImportError('libfoo.so.3" in shown


def test_an_unknown_adapter_hints_at_plugins_that_failed(infested, tmp_path):
    (tmp_path / "elmlff.toml").write_text('stack = ["a"]\n[models.a]\nadapter = "lost"\n')
    done = infested.elmlff("models", "--check", "a", folder=tmp_path, check=False)
    assert "elmlff-raises 1.2" in done.stdout


def test_the_doctor_names_them_and_fails(infested, tmp_path):
    done = infested.elmlff("doctor", "--quick", "--json", folder=tmp_path, check=False)
    assert done.returncode == 1
    wrong = [finding for finding in json.loads(done.stdout) if finding["area"] == "plugins"]
    assert {finding["subject"] for finding in wrong} >= {"raises of elmlff-raises 1.2", "twin of elmlff-twin-one 1.2"}
