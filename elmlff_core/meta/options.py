"""Options of the neural meta-models, apart from them so that listing plugins imports no torch."""

from typing import Literal

from pydantic import Field

from elmlff_core.hookspecs import Options


class GATOptions(Options):
    """Options of `gat`; the defaults are the paper's network.

    Attributes
    ----------
    readout : ``pooled`` (the paper's, for one composition and atom order) or ``atom`` (any structures)
    target : ``correction`` learns what the per-element least-squares mix of the bases leaves, starting from zero;
        ``absolute`` (the paper's) learns the forces
    rotate : whether each structure is shown to the network in a random orientation in every epoch.  The network is not
        rotation-equivariant by construction; without this it knows the orientations of the training structures alone.
        ``auto``: yes where no training structure is periodic, as molecules are free to turn and cells are not
    cutoff : Å
    channels : width of one attention head in each layer
    heads : attention heads
    averaged_layers : how many of the last layers average their heads
    residual : whether layers have residuals
    """

    readout: Literal["pooled", "atom"] = "pooled"
    target: Literal["correction", "absolute"] = "correction"
    rotate: bool | Literal["auto"] = "auto"
    cutoff: float = Field(5.0, gt=0)
    channels: tuple[int, ...] = Field((32, 64, 128, 128, 128, 256, 256, 256), min_length=1)
    heads: int = Field(4, ge=1)
    averaged_layers: int = Field(3, ge=0)
    residual: bool = True
