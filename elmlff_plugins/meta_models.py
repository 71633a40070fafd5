"""The meta-models that come with elmlff, registered by the same hook as those of other packages."""

from collections.abc import Iterator

from elmlff_core.contracts.hookspecs import MetaModelPlugin, hookimpl
from elmlff_plugins import references

# Small batches with weights averaged over about 100 steps give lower errors in the same time than large ones.
TRAINING_OF_EGAT = {"batch_size": 8, "learning_rate": 2e-3, "loss": "norm", "averaging": 0.99, "gradient_clip": 10.0}
LONG_OF_ACE = {"functions": 2500}
CONSERVATIVE = {
    "trained": True,
    # Larger weights of the stress give better stresses and worse forces (benchmarks/stress_weight.py).
    "training": TRAINING_OF_EGAT | {"batch_size": 16, "energy_weight": 1.0, "stress_weight": 0.01},
    "precisions": ("float32",),  # forces are gradients, in which bfloat16 leaves two digits
    "stress": True,
    "conservative": True,
    "needs_energies": True,
}


def _gat(options):
    from elmlff_core.meta.gat import GATMeta  # torch takes seconds to import, and listing plugins does not need it

    return GATMeta(options)


def _egat(options):
    from elmlff_core.meta.egat import EGATMeta

    return EGATMeta(options)


def _ace(options):
    from elmlff_core.meta.ace import ACEMeta

    return ACEMeta(options)


def _egat_on_ace(options):
    from elmlff_core.meta.on_ace import EGATOnACEMeta

    return EGATOnACEMeta(options)


def _conservative(options):
    from elmlff_core.meta.conservative import ConservativeMeta

    return ConservativeMeta(options)


def _conservative_on_ace(options):
    from elmlff_core.meta.on_ace import ConservativeOnACEMeta

    return ConservativeOnACEMeta(options)


@hookimpl
def elmlff_meta_models() -> Iterator[MetaModelPlugin]:
    """The meta-models mean, median, best, linear, ace, gat, egat, egat-ace, conservative and conservative-ace."""
    from elmlff_core.meta.linear import LinearMeta, LinearOptions
    from elmlff_core.meta.options import (
        ACEOptions,
        ConservativeOnACEOptions,
        ConservativeOptions,
        EGATOnACEOptions,
        EGATOptions,
        GATOptions,
    )
    from elmlff_core.meta.simple import BestMeta, MeanMeta, MedianMeta, NoOptions

    yield MetaModelPlugin("mean", "mean of the base models", NoOptions, MeanMeta, stress=True, conservative=True)
    yield MetaModelPlugin("median", "component-wise median of the base models", NoOptions, MedianMeta)
    yield MetaModelPlugin("best", "the base model with the lowest validation error", NoOptions, BestMeta)
    yield MetaModelPlugin(
        "linear",
        "linear combination of the base models, by least squares per element",
        LinearOptions,
        LinearMeta,
        stress=True,
        citation=(references.STACKED_REGRESSIONS,),
    )
    yield MetaModelPlugin(
        "ace",
        "base models and an atomic cluster expansion in one energy, by least squares",
        ACEOptions,
        _ace,
        budgets={"long": LONG_OF_ACE},
        sees_geometry=True,
        stress=True,
        conservative=True,
        needs_energies=True,
        citation=(references.ATOMIC_CLUSTER_EXPANSION, references.SOAP),
    )
    yield MetaModelPlugin(
        "gat",
        "graph attention network of the paper",
        GATOptions,
        _gat,
        budgets={"paper": {"target": "direct", "rotate": False}},
        trained=True,
        maskable=True,
        citation=(references.GRAPH_ATTENTION,),
    )
    yield MetaModelPlugin(
        "egat",
        "equivariant graph attention",
        EGATOptions,
        _egat,
        # On thousands of structures twice as many layers err by a tenth less, on hundreds by as much.
        budgets={"long": {"layers": 6}},
        trained=True,
        training=TRAINING_OF_EGAT,
        maskable=True,
        sees_descriptors=True,
        citation=(references.PAINN,),  # its layers follow those of PaiNN
    )
    yield MetaModelPlugin(
        "egat-ace",
        "equivariant graph attention over base models and ace",
        EGATOnACEOptions,
        _egat_on_ace,
        budgets={"long": {"ace": LONG_OF_ACE}},
        trained=True,
        training=TRAINING_OF_EGAT,
        stress=True,
        needs_energies=True,
        sees_descriptors=True,
        citation=(references.PAINN, references.ATOMIC_CLUSTER_EXPANSION, references.SOAP),
    )
    yield MetaModelPlugin(
        "conservative",
        "energy from geometry and base energies, with forces as its gradient",
        ConservativeOptions,
        _conservative,
        **CONSERVATIVE,
        citation=(references.PAINN,),
    )
    yield MetaModelPlugin(
        "conservative-ace",
        "energy from geometry, base energies and that of ace, with forces as its gradient",
        ConservativeOnACEOptions,
        _conservative_on_ace,
        budgets={"long": {"ace": LONG_OF_ACE}},
        **CONSERVATIVE,
        citation=(references.PAINN, references.ATOMIC_CLUSTER_EXPANSION, references.SOAP),
    )
