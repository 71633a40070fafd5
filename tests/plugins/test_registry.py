"""The registry: presets and package clashes of plugins, refused records, and names that two packages use."""

from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint

import pytest

from elmlff_core.contracts.hookspecs import PackageClash, Preset, hookimpl
from elmlff_core.errors import PluginError
from elmlff_core.plugins.loading import load_plugin
from elmlff_core.plugins.records import Failure, Origin
from elmlff_core.plugins.registry import Registry, registry

OWN, ONE, TWO = (Origin(name, "1.0", f"{name}_module") for name in ("elmlff", "one", "two"))
WET = Preset("wet", "water-net", "a model of water", {"width": 8}, {"quick": {"steps": 10}})
ICE = PackageClash("ice and fire", lambda: "", "part them")


def load(monkeypatch: pytest.MonkeyPatch, **hooks):
    """Load a module with these hooks."""
    module = types.ModuleType("offered")
    for name, answer in hooks.items():
        setattr(module, name, hookimpl(_answering(answer)))
    monkeypatch.setitem(sys.modules, "offered", module)
    return load_plugin(EntryPoint("offered", "offered", "elmlff"), ONE)


def _answering(answer):
    return lambda: answer


def test_presets_and_clashes_are_loaded(monkeypatch):
    loaded = load(monkeypatch, elmlff_presets=[WET], elmlff_package_clashes=[ICE])
    assert loaded == [("preset", WET), ("package clash", ICE)]


@pytest.mark.parametrize(
    ("hook", "record", "reason"),
    [
        ("elmlff_presets", Preset("-9", "a", "s", {}), "Preset.name is '-9', expected letters"),
        ("elmlff_presets", Preset("a b", "a", "s", {}), "Preset.name is 'a b', expected letters"),
        ("elmlff_presets", Preset("a", "", "s", {}), "Preset.adapter is '', expected the name of an adapter"),
        ("elmlff_presets", Preset("a", "b", None, {}), "Preset.summary is None, expected a string"),
        ("elmlff_presets", Preset("a", "b", "s", [1]), "Preset.options is [1], expected a mapping"),
        (
            "elmlff_presets",
            Preset("a", "b", "s", {}, {"slow": {}}),
            "Preset.budgets is {'slow': {}}, expected a mapping",
        ),
        ("elmlff_presets", Preset("a", "b", "s", {}, {"quick": 3}), "quick or long or paper -> options"),
        ("elmlff_presets", Preset("a", "b", "s", {}, default="no"), "Preset.default is 'no', expected true or false"),
        (
            "elmlff_presets",
            Preset("a", "b", "s", {}, order="first"),
            "Preset.order is 'first', expected a whole number",
        ),
        ("elmlff_presets", ICE, "elmlff_presets yielded PackageClash, expected Preset"),
        ("elmlff_package_clashes", PackageClash("", print, "x"), "PackageClash.subject is '', expected a string"),
        ("elmlff_package_clashes", PackageClash("a", "b", "x"), "PackageClash.find is 'b', expected a callable"),
        ("elmlff_package_clashes", PackageClash("a", print, ""), "PackageClash.remedy is '', expected a string"),
    ],
)
def test_records_that_would_fail_when_used_are_refused(monkeypatch, hook, record, reason):
    failure = load(monkeypatch, **{hook: [record]})
    assert isinstance(failure, Failure)
    assert reason in failure.reason


def test_one_preset_in_place_of_several_is_refused(monkeypatch):
    failure = load(monkeypatch, elmlff_presets=WET)
    assert failure.reason == "elmlff_presets returned one Preset: yield it, or return a list of them"


def test_the_error_for_a_module_without_hooks_names_all_hooks(monkeypatch):
    assert load(monkeypatch).reason == (
        "it defines no hook of elmlff; the hooks are elmlff_force_fields, elmlff_meta_models, elmlff_presets, "
        "elmlff_environments and elmlff_package_clashes"
    )


def test_a_preset_name_that_two_packages_use_is_given_to_neither():
    found = Registry()
    found.add([("preset", WET, ONE), ("preset", WET, TWO)])
    assert found.presets == {}
    with pytest.raises(PluginError, match=r"preset 'wet' of one 1.0 .* one 1.0 \(one_module\) and two 1.0"):
        found.preset("wet")


def test_elmlff_keeps_its_own_preset():
    found = Registry()
    other = Preset("wet", "water-net", "another", {})
    found.add([("preset", WET, OWN), ("preset", other, ONE)])
    assert found.preset("wet") is WET
    assert [(failure.kind, failure.origin) for failure in found.failures] == [("preset", ONE)]


def test_a_preset_may_have_the_name_of_an_adapter():
    assert registry().preset("nep").adapter == registry().force_field("nep").name


def test_presets_are_sorted_by_order_and_then_by_registration():
    found = Registry()
    given = [Preset(name, "x", "", {}, order=order) for name, order in (("a", 2), ("b", 0), ("c", 1), ("d", 0))]
    found.add([("preset", preset, ONE) for preset in given])
    assert list(found.presets) == ["b", "d", "c", "a"]


def test_clashes_of_several_packages_are_kept():
    found = Registry()
    found.add([("package clash", ICE, ONE), ("package clash", ICE, TWO)])
    assert found.clashes == [(ICE, ONE), (ICE, TWO)]
    assert found.failures == []
