"""The environments of force fields whose packages clash with others; those that fit together share one.

Each was installed with the versions here, and its models were loaded: with the weights in the wheels, or with untrained
ones where these would be downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator

from elmlff_core.contracts.hookspecs import EnvironmentRecipe, hookimpl
from elmlff_plugins.deepmd.evaluation import TENSORFLOW

CHGNET_AND_SEVENNET = "chgnet-sevennet"
TBLITE, MACE, ORB, MATTERSIM, UPET = "tblite", "mace", "orb", "mattersim", "upet"


@hookimpl
def elmlff_environments() -> Iterator[EnvironmentRecipe]:
    """The recipes; most of the space is PyTorch with CUDA."""
    yield EnvironmentRecipe(
        name=CHGNET_AND_SEVENNET,
        summary="CHGNet and SevenNet",
        requirements=("chgnet==0.4.2", "sevenn==0.13.0", "numpy", "ase"),
        python=">=3.10",
        gigabytes=6.0,
    )
    yield EnvironmentRecipe(
        name=TBLITE,
        summary="semi-empirical GFN1-xTB and GFN2-xTB",
        requirements=("tblite==0.8.0", "numpy", "ase"),
        python=">=3.10",
        gigabytes=0.4,
    )
    yield EnvironmentRecipe(
        name=MACE,
        summary="MACE foundation models",
        requirements=("mace-torch==0.3.16", "numpy", "ase"),
        python=">=3.9",
        gigabytes=6.3,
    )
    yield EnvironmentRecipe(
        name=ORB,
        summary="Orb models",
        requirements=("orb-models==0.7.0", "numpy", "ase"),
        python=">=3.12",
        gigabytes=6.5,
    )
    yield EnvironmentRecipe(
        name=MATTERSIM,
        summary="MatterSim",
        requirements=("mattersim==1.2.5", "numpy", "ase"),
        python=">=3.12",
        gigabytes=7.0,
    )
    yield EnvironmentRecipe(
        name=UPET,
        summary="PET models of metatrain",
        requirements=("upet==0.3.1", "numpy", "ase"),
        python=">=3.11",
        gigabytes=6.5,
    )
    yield EnvironmentRecipe(
        name=TENSORFLOW,
        summary="frozen models `.pb` of DeePMD-kit with TensorFlow",
        requirements=("deepmd-kit[cpu]==3.2.0", "vesin", "numpy", "ase"),
        python=">=3.10",
        gigabytes=2.0,
    )
