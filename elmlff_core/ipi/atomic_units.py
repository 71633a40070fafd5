"""i-PI's atomic units in the units of elmlff.

They are i-PI's own numbers, as in its potentials, and not those of a newer CODATA: i-PI writes energies in eV with
them, and only with the same numbers these are the energies that the stack gave.  ASE's differ by 1e-7, which is 1e-4 eV
in 1000 eV.  (Structures that i-PI reads and writes in its mode ``ase`` have ASE's Bohr, 1.4e-8 away.)
"""

BOHR = 1 / 1.8897261  # Å
HARTREE = 1 / 0.036749326  # eV
FORCE = HARTREE / BOHR  # eV/Å
