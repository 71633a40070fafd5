"""Load one plugin in isolation: whatever it does wrong becomes a `Failure`, never an exception."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib.metadata import EntryPoint
from typing import Any

import pluggy

from elmlff_core.contracts.hookspecs import PROJECT, ForceFieldPlugin, HookSpecs, MetaModelPlugin, Options
from elmlff_core.errors import PluginError, did_you_mean
from elmlff_core.plugins.records import Failure, Kind, Origin, Record

HOOKS = tuple(name for name in vars(HookSpecs) if name.startswith(f"{PROJECT}_"))
NAME = re.compile(r"[A-Za-z][\w.-]*")


def origin_of(entry_point: EntryPoint) -> Origin:
    """The distribution and module of an entry point."""
    distribution = entry_point.dist
    if distribution is None:
        return Origin("unknown", "", entry_point.value)
    return Origin(distribution.name, distribution.version, entry_point.value)


def load_plugin(entry_point: EntryPoint, origin: Origin) -> list[tuple[Kind, Record]] | Failure:
    """Import a plugin and collect what its hooks offer; a Failure where anything goes wrong."""
    try:
        # What a plugin prints must not land in the middle of JSON.
        with redirect_stdout(sys.stderr):
            return list(_records(entry_point))
    except KeyboardInterrupt:
        raise  # the user's, not the plugin's
    except BaseException as error:  # SystemExit too: a plugin that exits at import must not end elmlff
        return Failure(entry_point.name, origin, one_line(error), traceback.format_exc())


def one_line(error: BaseException) -> str:
    """An exception in one line: its type and the text, shortened."""
    text = " ".join(str(error).split())
    if isinstance(error, PluginError):
        return text
    if isinstance(error, SystemExit):
        return f"SystemExit: it ends Python when imported ({text or 'no code'})"
    text = text if len(text) <= 300 else f"{text[:297]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _records(entry_point: EntryPoint) -> Iterator[tuple[Kind, Record]]:
    """What one plugin offers, after checking its hooks in a plugin manager of its own."""
    plugin = entry_point.load()
    _refuse_misspelt(plugin)
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(HookSpecs)
    manager.register(plugin, name=entry_point.name)
    manager.check_pending()
    _refuse_without_hooks(plugin, manager)
    kinds: list[tuple[Kind, type[Record], pluggy.HookCaller]] = [
        ("adapter", ForceFieldPlugin, manager.hook.elmlff_force_fields),
        ("meta-model", MetaModelPlugin, manager.hook.elmlff_meta_models),
    ]
    for kind, record_type, hook in kinds:
        for answer in hook():
            for record in _iterated(answer, hook.name):
                if not isinstance(record, record_type):
                    raise PluginError(f"{hook.name} yielded {type(record).__name__}, expected {record_type.__name__}")
                _check_fields(record)
                yield kind, record


def _refuse_misspelt(plugin: object) -> None:
    """Functions that look like hooks of elmlff but are none would otherwise be passed over in silence."""
    for name in dir(plugin):
        if name.startswith(f"{PROJECT}_") and name not in HOOKS and callable(getattr(plugin, name)):
            raise PluginError(f"'{name}' is no hook of elmlff{did_you_mean(name, HOOKS)}")


def _refuse_without_hooks(plugin: object, manager: pluggy.PluginManager) -> None:
    if manager.get_hookcallers(plugin):
        return
    if undecorated := [name for name in HOOKS if hasattr(plugin, name)]:
        raise PluginError(f"'{undecorated[0]}' is not marked with @hookimpl of elmlff_core.contracts.hookspecs")
    raise PluginError(f"it defines no hook of elmlff; the hooks are {' and '.join(HOOKS)}")


def _iterated(answer: Any, hook: str) -> Iterator[Any]:
    if isinstance(answer, ForceFieldPlugin | MetaModelPlugin):
        raise PluginError(f"{hook} returned one {type(answer).__name__}: yield it, or return a list of them")
    try:
        return iter(answer)
    except TypeError:
        raise PluginError(f"{hook} returned {type(answer).__name__}, expected records to iterate over") from None


def _check_fields(record: Record) -> None:
    """PluginError where a field of `record` would fail only when used."""

    def refuse(field: str, expected: str) -> None:
        raise PluginError(f"{type(record).__name__}.{field} is {getattr(record, field)!r}, expected {expected}")

    if not isinstance(record.name, str) or not NAME.fullmatch(record.name):
        refuse("name", "letters, digits, '.', '_' and '-', starting with a letter")
    for field in ("summary", "extra"):
        if not isinstance(getattr(record, field), str):
            refuse(field, "a string")
    if not (isinstance(record.options, type) and issubclass(record.options, Options)):
        refuse("options", "a subclass of elmlff_core.contracts.hookspecs.Options")
    # A lone string would be taken for a sequence of one-letter modules.
    if isinstance(record.requires, str) or not all(isinstance(module, str) for module in record.requires):
        refuse("requires", "a tuple of module names")
    maker = "load" if isinstance(record, ForceFieldPlugin) else "make"
    if not callable(getattr(record, maker)):
        refuse(maker, "a callable")
    if isinstance(record, ForceFieldPlugin) and record.trainer is not None:
        for method in ("length", "train"):
            if not callable(getattr(record.trainer, method, None)):
                refuse("trainer", f"an object with a method '{method}', see TrainableAdapter")
