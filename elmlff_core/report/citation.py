r"""The papers behind a stack as BibTeX, and a paragraph on its making for the methods section of an article.

Everything comes from the folder of a run: ``stack.json``, and, where they are beside it, ``config.toml``,
``metrics.json`` and ``diagnostics.json``.  Adapters, presets and meta-models bring their own papers.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from elmlff_core.contracts.hookspecs import PROJECT, MetaModelPlugin
from elmlff_core.errors import ElmlffError
from elmlff_core.files import read_json
from elmlff_core.plugins.loading import BIBTEX
from elmlff_core.plugins.registry import MIXED, registry
from elmlff_core.report.provenance import versions as versions_of_today
from elmlff_core.settings.run_folder import CONFIG_FILE, METRICS_FILE

METHOD = r"""@misc{Yin2024,
  author        = {Yin, Bangchen and Yin, Yue and Tang, Yuda W. and Xiao, Hai},
  title         = {{EL-MLFFs}: Ensemble Learning of Machine Learning Force Fields},
  year          = {2024},
  eprint        = {2403.17507},
  archivePrefix = {arXiv},
  url           = {https://arxiv.org/abs/2403.17507},
}"""
# How keys of the settings read in a sentence.
TRAINING = {
    "batch_size": "batch size",
    "learning_rate": "learning rate",
    "loss": "loss",
    "averaging": "averaging",
    "gradient_clip": "gradients clipped in units of their usual norm at",
}
SPLITS = {"random": "at random", "blocks": "by whole blocks of the trajectory", "clusters": "by whole clusters"}


@dataclass(frozen=True)
class Citation:
    r"""What to cite for a stack.

    Attributes
    ----------
    methods : a paragraph in LaTeX, which cites the references by their keys
    references : BibTeX entries, the method's first
    missing : base models whose adapter, which is not installed here or brings none, gives no references
    """

    methods: str
    references: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def bibtex(self) -> str:
        """All references as the text of one file."""
        return "\n\n".join(self.references) + "\n"


def cite(folder: Path) -> Citation:
    """Return what to cite for the stack in `folder`.

    Raises ElmlffError if there is no stack, or a file of it cannot be read.
    """
    folder = folder.expanduser()
    if not (folder / "stack.json").exists():
        raise ElmlffError(f"{folder} contains no stack: name the folder of an `elmlff stack` run")
    stack = read_json(folder / "stack.json", ("meta", "base_models"), "restore it, or stack again")
    metrics, config = _optional(folder / METRICS_FILE), _settings(folder / CONFIG_FILE)
    versions = _optional(folder / "diagnostics.json").get("versions") or versions_of_today()
    entries = References()
    method = entries.add([METHOD])
    models = {entry["name"]: entries.add(_papers(entry)) for entry in stack["base_models"]}
    meta_keys = entries.add(paper for plugin in _known(stack["meta"]["name"]) for paper in plugin.citation)
    described = [_base_model(entry, models[entry["name"]]) for entry in stack["base_models"]]
    number = f"{len(models)} base model{'s' * (len(models) != 1)}"
    sentences = [
        f"Forces are those of a stack of {number}, made with elmlff {versions.get(PROJECT, '')} after the method of "
        f"EL-MLFFs{method}.",
        f"Base models: {'; '.join(described)}.",
        _meta_model(stack["meta"], meta_keys, metrics, config),
        *_data(config, metrics),
        *_errors(metrics),
        *_backends(stack["base_models"], versions),
    ]
    missing = tuple(name for name, keys in models.items() if not keys)
    return Citation(" ".join(sentences), tuple(entries), missing)


class References:
    """Distinct BibTeX entries, in order; entries of different papers with the same key get different keys."""

    def __init__(self) -> None:
        self._entries: dict[str, str] = {}
        self._keys: dict[str, str] = {}  # text as its plugin gives it -> key

    def __iter__(self) -> Any:
        return iter(self._entries.values())

    def add(self, entries: Iterable[str]) -> str:
        r"""Add entries; return the LaTeX command that cites them, as ``~\cite{key1,key2}``, or "" for no entries."""
        keys = [self._keys.get(entry) or self._new(entry) for entry in entries]
        return f"~\\cite{{{','.join(keys)}}}" if keys else ""

    def _new(self, entry: str) -> str:
        found = BIBTEX.fullmatch(entry.strip())
        assert found is not None, "checked when the plugin was loaded"
        kind, key, rest = found.groups()
        free = key
        for letter in "bcdefghijklmnopqrstuvwxyz":
            if free not in self._entries:
                break
            free = key + letter
        self._entries[free] = f"@{kind}{{{free},{rest}"
        self._keys[entry] = free
        return free


def _papers(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the papers of a base model: those of its adapter, and of the preset of its name."""
    found = registry()
    adapter = found.force_fields.get(entry["adapter"])
    preset = found.presets.get(entry["name"])
    papers = adapter[0].citation if adapter else ()
    return papers + (preset[0].citation if preset and preset[0].adapter == entry["adapter"] else ())


def _base_model(entry: Mapping[str, Any], keys: str) -> str:
    """Return a base model with its kind, papers and options."""
    adapter = registry().force_fields.get(entry["adapter"])
    kind = adapter[0].summary if adapter else f"adapter {entry['adapter']}"
    options = {key: value for key, value in entry["options"].items() if _is_telling(value)}
    listed = ", ".join(f"{_text(key)} {_text(value)}" for key, value in options.items())
    return f"{_text(entry['name'])} ({_text(kind)}{keys}{'; ' * bool(listed)}{listed})"


def _is_telling(value: Any) -> bool:
    return value not in (None, "", "auto", False) and not isinstance(value, Mapping)


def _known(name: str) -> list[MetaModelPlugin]:
    """Return those of the meta-models in `name` that are installed."""
    known = registry().meta_models
    return [known[part][0] for part in name.split(MIXED) if part in known]


def _meta_model(meta: Mapping[str, Any], keys: str, metrics: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    names = meta["name"].split(MIXED)
    what = f" ({_text(', and '.join(plugin.summary for plugin in _known(meta['name'])))})".removesuffix(" ()")
    fits = [fit for fit in metrics.get("fits", ()) if fit["meta"] in names and not fit["geometry_only"]]
    epochs = next((fit["epochs"] for fit in fits if fit["epochs"]), None)
    training = {key: value for key, value in config.get("training", {}).items() if key in TRAINING and value}
    listed = "".join(f", {TRAINING[key]} {_text(value)}" for key, value in training.items())
    averaged = meta.get("averaged", 1)  # runs of older versions average nothing
    seed = f"seed {fits[0]['seed']}" if fits else ""
    seeds = f"{seed} and the {averaged - 1} after it, averaged" if averaged > 1 else seed
    if meta.get("with_geometry_only"):
        seeds = f"{seeds}{'' if averaged > 1 else ', averaged'} with {averaged} without base models"
    length = f" for at most {epochs} epochs ({seeds}{listed})" if epochs else ""
    folds = metrics.get("folds")
    features = f" on out-of-fold predictions from {len(folds)} folds" if folds else ""
    how = "trained" if epochs else "fitted"
    return f"They are combined by the meta-model {_text(meta['name'])}{what}{keys}, {how}{features}{length}."


def _data(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """Return a sentence on the structures and their split, if the run recorded it."""
    data, splits = config.get("data", {}), metrics.get("splits")
    if not splits or "train" not in data:
        return []
    n_train, n_valid, n_test = (len(splits[name]) for name in ("train", "valid", "test"))
    if data.get("test"):
        return [
            f"Of {_text(data['train'])}, {n_train} structures served to train and {n_valid} to validate; the test set "
            f"is {n_test} structures of {_text(data['test'])}."
        ]
    return [
        f"The structures of {_text(data['train'])} were split {SPLITS[data['split']]}: {n_train} to train, {n_valid} "
        f"to validate and {n_test} to test."
    ]


def _errors(metrics: Mapping[str, Any]) -> list[str]:
    """Return the test errors of the stack, of the best base model and of the linear combination, in one sentence."""
    found = {error["name"]: error for error in metrics.get("errors", ()) if "test" in error["errors"]}
    chosen = next((error for error in found.values() if error.get("chosen")), None)
    if chosen is None:
        return []
    bases = [error for error in found.values() if error["kind"] == "base model"]
    others = [min(bases, key=_rmse)] if bases else []
    others += [error for error in found.values() if error["kind"] == "baseline"]
    compared = ", ".join(f"{_rmse(error):.4f} for {_text(error['name'])}" for error in others)
    return [
        "On the test structures the root mean square error of the forces, averaged over structures, is "
        f"{_rmse(chosen):.4f}~eV/\\AA" + (f", compared with {compared}." if compared else ".")
    ]


def _backends(base_models: Sequence[Mapping[str, Any]], versions: Mapping[str, str]) -> list[str]:
    """Return a sentence with the versions of the packages that the adapters need."""
    distributions, found = packages_distributions(), {}
    for entry in base_models:
        adapter = registry().force_fields.get(entry["adapter"])
        for module in adapter[0].requires if adapter else ():
            for name in distributions.get(module.partition(".")[0], ()):
                if name in versions:
                    found[name] = versions[name]
    listed = ", ".join(f"{_text(name)} {version}" for name, version in found.items())
    return [f"Versions: {listed}."] if found else []


def _rmse(error: Mapping[str, Any]) -> float:
    return float(error["errors"]["test"]["rmse_per_frame"])


def _text(value: Any) -> str:
    """Return `value` as text for LaTeX."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = "(" + ", ".join(map(str, value)) + ")"
    return re.sub(r"([&%$#_{}])", r"\\\1", str(value))


def _optional(path: Path) -> dict[str, Any]:
    """Read a JSON file that a bundled or copied stack may lack."""
    return dict(read_json(path, (), "restore it, or remove it")) if path.exists() else {}


def _settings(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise ElmlffError(f"cannot read {path}: {error}; restore it, or remove it") from error
