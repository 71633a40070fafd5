"""The meta-models that come with elmlff, registered like anybody's."""

from collections.abc import Iterator

from elmlff_core.hookspecs import MetaModelPlugin, hookimpl


def _gat(options):
    from elmlff_core.meta.gat import GATMeta  # torch takes seconds to import, and listing needs none of it

    return GATMeta(options)


@hookimpl
def elmlff_meta_models() -> Iterator[MetaModelPlugin]:
    """mean, median, best, linear and gat."""
    from elmlff_core.meta.linear import LinearMeta, LinearOptions
    from elmlff_core.meta.options import GATOptions
    from elmlff_core.meta.simple import BestMeta, MeanMeta, MedianMeta, NoOptions

    yield MetaModelPlugin("mean", "mean of the bases", NoOptions, MeanMeta)
    yield MetaModelPlugin("median", "component-wise median of the bases", NoOptions, MedianMeta)
    yield MetaModelPlugin("best", "the base with the lowest validation error", NoOptions, BestMeta)
    yield MetaModelPlugin(
        "linear", "per-element least-squares mix of the bases, closed form", LinearOptions, LinearMeta
    )
    yield MetaModelPlugin(
        "gat",
        "the paper's graph attention network",
        GATOptions,
        _gat,
        budgets={"paper": {"target": "absolute", "rotate": False}},
        trained=True,
    )
