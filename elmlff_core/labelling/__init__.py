"""Labelling: energies, forces and stresses of structures by any ASE calculator, here, on a cluster, or elsewhere."""
