"""Options of the neural meta-models; they are in a module of their own so that listing plugins imports no torch."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from elmlff_core.contracts.hookspecs import Cutoff, Options


class GATOptions(Options):
    """Options of `gat`; the defaults give the network of the paper.

    Attributes
    ----------
    readout : ``pooled`` (as in the paper, for one composition and order of atoms) or ``atom`` (for any structures)
    target : ``delta`` learns the error of the linear combination of the base models, starting from zero; ``direct`` (as
        in the paper) learns the forces themselves
    rotate : whether each structure is shown to the network in a random orientation in every epoch.  The network is not
        rotation-equivariant by construction; without this it learns only the orientations of the training structures.
        ``auto`` rotates if no training structure is periodic, because molecules rotate freely and cells do not
    cutoff : Å
    channels : width of one attention head in each layer
    heads : attention heads
    averaged_layers : number of last layers that average their heads
    residual : whether layers have residuals
    """

    readout: Literal["pooled", "atom"] = "pooled"
    target: Literal["delta", "direct"] = "delta"
    rotate: bool | Literal["auto"] = "auto"
    cutoff: Cutoff = 5.0
    channels: tuple[int, ...] = Field((32, 64, 128, 128, 128, 256, 256, 256), min_length=1)
    heads: int = Field(4, ge=1)
    averaged_layers: int = Field(3, ge=0)
    residual: bool = True


class AttentionOptions(Options):
    """Options of the equivariant meta-models.

    Attributes
    ----------
    cutoff : Å
    width : number of scalars, and of vectors, of each atom
    layers : attention layers
    heads : attention heads; divides `width`
    n_radial : radial basis functions
    variance : whether a standard deviation of each force is also learnt, which then replaces the committee spread in
        uncertainties.  The forces do not depend on it
    """

    cutoff: Cutoff = 5.0
    width: int = Field(64, ge=1)
    layers: int = Field(3, ge=1)
    heads: int = Field(8, ge=1)
    n_radial: int = Field(10, ge=1)
    variance: bool = True

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads is {self.heads}, which does not divide width {self.width}")
        return self


class EGATOptions(AttentionOptions):
    """Options of `egat`.

    Attributes
    ----------
    remove_net_force : whether the mean force of each structure is subtracted.  This is right for isolated molecules and
        whole periodic cells, and wrong if some atoms of the system are not in the structure
    guard : whether a base model that is far away from the others is pulled back before the network sees it
    hidden : share of the structures of a batch in training whose base models are hidden behind their linear
        combination.  The network then learns more from the environments of atoms, and less by heart how base models err
    components : of the descriptors of base models, at most, where these are asked for them (setting `descriptors`)
    """

    remove_net_force: bool = False
    guard: bool = True
    hidden: float = Field(0.0, ge=0, lt=1)
    components: int = Field(16, ge=0)


class ConservativeOptions(AttentionOptions):
    """Options of `conservative`.

    Attributes
    ----------
    weights : ``environment`` makes the weight of each base model depend on the environments of the atoms, averaged over
        the structure; ``fixed`` gives each base model the same weight in all structures
    """

    weights: Literal["environment", "fixed"] = "environment"
    width: int = Field(48, ge=1)
    layers: int = Field(2, ge=1)


class ACEOptions(Options):
    """Options of `ace`.

    Attributes
    ----------
    cutoff : Å
    degree : largest degree of a function, the sum of n and l of its factors; ``auto`` is the largest with at most
        `functions` of them
    functions : number of functions around atoms of each element, at most; there are 5,000 in all at most
    environments : number of environments in training structures, of all elements, to whose likeness the energy of an
        atom is linear too
    energy_weight : weight of the errors of energies divided by the roots of the numbers of atoms, in eV, beside the
        errors of forces in eV/Å
    """

    cutoff: Cutoff = 6.0
    degree: Annotated[int, Field(ge=3, le=20)] | Literal["auto"] = "auto"
    functions: int = Field(1400, ge=1)
    environments: int = Field(500, ge=0, le=2000)
    energy_weight: float = Field(3.0, ge=0)


class EGATOnACEOptions(EGATOptions):
    """Options of `egat-ace`: those of `egat`, and in a table of their own those of `ace`.

    Attributes
    ----------
    ace : options of `ace`
    """

    ace: ACEOptions = ACEOptions()


class ConservativeOnACEOptions(ConservativeOptions):
    """Options of `conservative-ace`: those of `conservative`, and in a table of their own those of `ace`.

    Attributes
    ----------
    ace : options of `ace`
    """

    ace: ACEOptions = ACEOptions()
