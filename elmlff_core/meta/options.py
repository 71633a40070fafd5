"""Options of the neural meta-models, apart from them so that listing plugins imports no torch."""

from typing import Literal, Self

from pydantic import Field, model_validator

from elmlff_core.contracts.hookspecs import Options

LARGEST_CUTOFF = 100.0  # Å; beyond, neighbour lists fill any memory


class GATOptions(Options):
    """Options of `gat`; the defaults are the paper's network.

    Attributes
    ----------
    readout : ``pooled`` (the paper's, for one composition and atom order) or ``atom`` (any structures)
    target : ``delta`` learns what the linear combination of the bases leaves, starting from zero; ``direct`` (the
        paper's) learns the forces themselves
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
    target: Literal["delta", "direct"] = "delta"
    rotate: bool | Literal["auto"] = "auto"
    cutoff: float = Field(5.0, gt=0, le=LARGEST_CUTOFF)
    channels: tuple[int, ...] = Field((32, 64, 128, 128, 128, 256, 256, 256), min_length=1)
    heads: int = Field(4, ge=1)
    averaged_layers: int = Field(3, ge=0)
    residual: bool = True


class AttentionOptions(Options):
    """Options of the equivariant meta-models.

    Attributes
    ----------
    cutoff : Å
    width : scalars, and vectors, of each atom
    layers : attention layers
    heads : attention heads; divides `width`
    n_radial : radial basis functions
    """

    cutoff: float = Field(5.0, gt=0, le=LARGEST_CUTOFF)
    width: int = Field(64, ge=1)
    layers: int = Field(3, ge=1)
    heads: int = Field(8, ge=1)
    n_radial: int = Field(10, ge=1)

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads is {self.heads}, which does not divide width {self.width}")
        return self


class EGATOptions(AttentionOptions):
    """Options of `egat`.

    Attributes
    ----------
    remove_net_force : whether the mean force of each structure is subtracted.  Right for isolated molecules and whole
        periodic cells; wrong where part of the system is not in the structure
    variance : whether a standard deviation of each force is learnt beside it, for uncertainties in place of the
        committee spread.  The forces do not depend on it
    """

    remove_net_force: bool = False
    variance: bool = False


class ConservativeOptions(AttentionOptions):
    """Options of `conservative`.

    Attributes
    ----------
    weights : ``environment`` lets what surrounds the atoms decide on the share of each base, averaged over the
        structure; ``fixed`` gives each base one share everywhere
    """

    weights: Literal["environment", "fixed"] = "environment"
    width: int = Field(48, ge=1)
    layers: int = Field(2, ge=1)
