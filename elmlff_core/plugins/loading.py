"""Load one plugin in isolation: any error in it becomes a `Failure`, never an exception."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from importlib.metadata import EntryPoint
from typing import Any, get_args

import pluggy
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from elmlff_core.contracts.hookspecs import (
    PROJECT,
    EnvironmentRecipe,
    ForceFieldPlugin,
    HookSpecs,
    MetaModelPlugin,
    Options,
    PackageClash,
    Preset,
)
from elmlff_core.errors import PluginError, did_you_mean
from elmlff_core.plugins.records import Contribution, Failure, Kind, Origin, Record
from elmlff_core.settings.config import MODEL_NAME, Budget

HOOKS = tuple(name for name in vars(HookSpecs) if name.startswith(f"{PROJECT}_"))
NAME = re.compile(r"[A-Za-z][\w.-]*")
# Type, key and fields of one BibTeX entry.
BIBTEX = re.compile(r"@(\w+)\{([^\s,{}]+),(.*\})", re.DOTALL)


def origin_of(entry_point: EntryPoint) -> Origin:
    """Return the distribution and module of an entry point."""
    distribution = entry_point.dist
    if distribution is None:
        return Origin("unknown", "", entry_point.value)
    return Origin(distribution.name, distribution.version, entry_point.value)


def load_plugin(entry_point: EntryPoint, origin: Origin) -> list[tuple[Kind, Contribution]] | Failure:
    """Import a plugin and collect the records that its hooks yield, or return a Failure if there is any error."""
    try:
        # The output of a plugin must not mix with JSON on standard output.
        with redirect_stdout(sys.stderr):
            return list(_records(entry_point))
    except KeyboardInterrupt:
        raise  # from the user, not from the plugin
    except BaseException as error:  # SystemExit too: a plugin that exits at import must not end elmlff
        return Failure(entry_point.name, origin, one_line(error), traceback.format_exc())


def one_line(error: BaseException) -> str:
    """Describe an exception in one line: its type and its text, shortened."""
    text = " ".join(str(error).split())
    if isinstance(error, PluginError):
        return text
    if isinstance(error, SystemExit):
        return f"SystemExit: it ends Python when imported ({text or 'no code'})"
    text = text if len(text) <= 300 else f"{text[:297]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _records(entry_point: EntryPoint) -> Iterator[tuple[Kind, Contribution]]:
    """Yield the records of one plugin, after a check of its hooks in a separate plugin manager."""
    plugin = entry_point.load()
    _refuse_misspelt(plugin)
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(HookSpecs)
    manager.register(plugin, name=entry_point.name)
    manager.check_pending()
    _refuse_without_hooks(plugin, manager)
    kinds: list[tuple[Kind, type[Contribution], pluggy.HookCaller]] = [
        ("adapter", ForceFieldPlugin, manager.hook.elmlff_force_fields),
        ("meta-model", MetaModelPlugin, manager.hook.elmlff_meta_models),
        ("preset", Preset, manager.hook.elmlff_presets),
        ("environment", EnvironmentRecipe, manager.hook.elmlff_environments),
        ("package clash", PackageClash, manager.hook.elmlff_package_clashes),
    ]
    for kind, record_type, hook in kinds:
        for answer in hook():
            for record in _iterated(answer, hook.name):
                if not isinstance(record, record_type):
                    raise PluginError(f"{hook.name} yielded {type(record).__name__}, expected {record_type.__name__}")
                _check_fields(record)
                yield kind, record


def _refuse_misspelt(plugin: object) -> None:
    """Refuse functions with names like hooks of elmlff that are not hooks: pluggy would silently ignore them."""
    for name in dir(plugin):
        if name.startswith(f"{PROJECT}_") and name not in HOOKS and callable(getattr(plugin, name)):
            raise PluginError(f"'{name}' is not a hook of elmlff{did_you_mean(name, HOOKS)}")


def _refuse_without_hooks(plugin: object, manager: pluggy.PluginManager) -> None:
    if manager.get_hookcallers(plugin):
        return
    if undecorated := [name for name in HOOKS if hasattr(plugin, name)]:
        raise PluginError(f"'{undecorated[0]}' is not marked with @hookimpl of elmlff_core.contracts.hookspecs")
    raise PluginError(f"it defines no hook of elmlff; the hooks are {', '.join(HOOKS[:-1])} and {HOOKS[-1]}")


def _iterated(answer: Any, hook: str) -> Iterator[Any]:
    if isinstance(answer, Contribution):
        raise PluginError(f"{hook} returned one {type(answer).__name__}: yield it, or return a list of them")
    try:
        return iter(answer)
    except TypeError:
        raise PluginError(f"{hook} returned {type(answer).__name__}, expected records to iterate over") from None


def _check_fields(record: Contribution) -> None:
    """Raise PluginError on a field of `record` that would otherwise fail only in use."""
    if isinstance(record, PackageClash):
        _check_clash(record)
        return
    pattern = MODEL_NAME if isinstance(record, Preset) else NAME  # names of models may start with a digit
    if not isinstance(record.name, str) or not pattern.fullmatch(record.name):
        start = "a letter or a digit" if isinstance(record, Preset) else "a letter"
        raise _unfit(record, "name", f"letters, digits, '.', '_' and '-', starting with {start}")
    if not isinstance(record.summary, str):
        raise _unfit(record, "summary", "a string")
    if isinstance(record, EnvironmentRecipe):
        _check_recipe(record)
        return
    if not _are_names(record.citation) or not all(BIBTEX.fullmatch(entry.strip()) for entry in record.citation):
        raise _unfit(record, "citation", "a tuple of BibTeX entries, each like '@article{Key2024, ...}'")
    if isinstance(record, Preset):
        _check_preset(record)
    else:
        _check_record(record)


def _unfit(record: Contribution, field: str, expected: str) -> PluginError:
    return PluginError(f"{type(record).__name__}.{field} is {getattr(record, field)!r}, expected {expected}")


def _check_record(record: Record) -> None:
    if not isinstance(record.extra, str):
        raise _unfit(record, "extra", "a string")
    if not (isinstance(record.options, type) and issubclass(record.options, Options)):
        raise _unfit(record, "options", "a subclass of elmlff_core.contracts.hookspecs.Options")
    if not _are_names(record.requires):
        raise _unfit(record, "requires", "a tuple of module names")
    maker = "load" if isinstance(record, ForceFieldPlugin) else "make"
    if not callable(getattr(record, maker)):
        raise _unfit(record, maker, "a callable")
    if isinstance(record, ForceFieldPlugin):
        _check_adapter(record)


def _check_adapter(record: ForceFieldPlugin) -> None:
    if not isinstance(record.cutoff_option, str):
        raise _unfit(record, "cutoff_option", "a string")
    if not _are_names(record.thread_variables):
        raise _unfit(record, "thread_variables", "a tuple of names of environment variables")
    for method in ("length", "train"):
        if record.trainer is not None and not callable(getattr(record.trainer, method, None)):
            raise _unfit(record, "trainer", f"an object with a method '{method}', see TrainableAdapter")


def _are_names(names: Any) -> bool:
    # A string alone would be read as a sequence of one-letter names.
    return not isinstance(names, str) and all(isinstance(name, str) for name in names)


def _check_preset(preset: Preset) -> None:
    if not isinstance(preset.adapter, str) or not NAME.fullmatch(preset.adapter):
        raise _unfit(preset, "adapter", "the name of an adapter")
    if not isinstance(preset.options, Mapping):
        raise _unfit(preset, "options", "a mapping: option -> value")
    budgets = get_args(Budget)
    fits = isinstance(preset.budgets, Mapping) and all(
        budget in budgets and isinstance(options, Mapping) for budget, options in preset.budgets.items()
    )
    if not fits:
        raise _unfit(preset, "budgets", f"a mapping: {' or '.join(budgets)} -> options")
    if not isinstance(preset.default, bool):
        raise _unfit(preset, "default", "true or false")
    if not isinstance(preset.order, int):
        raise _unfit(preset, "order", "a whole number")
    for field in ("environment", "level_of_theory", "licence", "download"):
        if not isinstance(getattr(preset, field), str):
            raise _unfit(preset, field, "a string")
    if not _are_names(preset.elements):
        raise _unfit(preset, "elements", "a tuple of chemical symbols")


def _check_recipe(recipe: EnvironmentRecipe) -> None:
    if not _are_names(recipe.requirements) or not recipe.requirements:
        raise _unfit(recipe, "requirements", "a tuple of requirements such as 'chgnet==0.4.2'")
    for requirement in recipe.requirements:
        try:
            Requirement(requirement)
        except InvalidRequirement:
            raise _unfit(recipe, "requirements", "a tuple of requirements such as 'chgnet==0.4.2'") from None
    try:
        SpecifierSet(recipe.python)
    except (InvalidSpecifier, TypeError, AttributeError):
        raise _unfit(recipe, "python", "a range of versions such as '>=3.10,<3.13'") from None
    if not isinstance(recipe.gigabytes, (int, float)):
        raise _unfit(recipe, "gigabytes", "a number")


def _check_clash(clash: PackageClash) -> None:
    for field in ("subject", "remedy"):
        if not isinstance(getattr(clash, field), str) or not getattr(clash, field):
            raise _unfit(clash, field, "a string that is not empty")
    if not callable(clash.find):
        raise _unfit(clash, "find", "a callable")
