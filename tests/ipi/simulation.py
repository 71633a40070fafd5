"""Simulations of a real i-PI, each a process with a unix socket of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import ase.io
import numpy as np
from ase import Atoms, units

from elmlff_core.ipi import atomic_units

INPUT = """
<simulation verbosity="medium">
  <output prefix="run">
    <properties stride="1" filename="out" flush="1">
      [ step, potential{{electronvolt}}, conserved{{electronvolt}}, volume{{angstrom3}}, virial_md{{ev/ang3}} ]
    </properties>
    <trajectory filename="pos" stride="1" format="ase"> positions </trajectory>
    {trajectories}
  </output>
  <total_steps>{steps}</total_steps>
  <prng><seed>1</seed></prng>
  <ffsocket name="stack" mode="{where}" pbc="false">
    <address>{address}</address>
    {socket}
  </ffsocket>
  <system>
    <initialize nbeads="{beads}">
      <file mode="ase"> {structure} </file>
      <velocities mode="thermal" units="kelvin"> {temperature} </velocities>
    </initialize>
    <forces> <force forcefield="stack"/> </forces>
    <ensemble>
      <temperature units="kelvin"> 300 </temperature>
      <pressure units="gigapascal"> 2 </pressure>
    </ensemble>
    <motion mode="dynamics">
      <dynamics mode="{mode}">
        <timestep units="femtosecond"> 2 </timestep>
        {dynamics}
      </dynamics>
    </motion>
  </system>
</simulation>
"""
NPT = """
<thermostat mode="langevin"> <tau units="femtosecond"> 100 </tau> </thermostat>
<barostat mode="isotropic">
  <tau units="femtosecond"> 200 </tau>
  <thermostat mode="langevin"> <tau units="femtosecond"> 200 </tau> </thermostat>
</barostat>
"""


def extras(*names: str) -> str:
    """Return what makes i-PI write the extras of these names, each in a file of its own."""
    return "\n".join(
        f'<trajectory filename="{name}" stride="1" extra_type="{name}"> extras </trajectory>' for name in names
    )


def free_port() -> int:
    """Return a TCP port of this machine that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Simulation:
    """A process of i-PI in `folder`, which ends with the block of ``with``; with `port` it listens there by TCP.

    Attributes
    ----------
    options : how a client finds it, by ``elmlff serve``
    socket : path of its socket
    """

    def __init__(self, folder: Path, structure: Path, port: int | None = None, **values: object) -> None:
        self.folder = folder
        self.short = tempfile.mkdtemp(prefix="ipi-", dir="/tmp")  # paths of sockets have at most 107 characters
        self.options: tuple[str, ...] = ("--unix", "stack", "--sockets-prefix", f"{self.short}/")
        listens: dict[str, object] = {"where": "unix", "address": "stack"}
        if port is not None:
            self.options = ("--host", "127.0.0.1", "--port", str(port))
            listens = {"where": "inet", "address": "127.0.0.1", "socket": f"<port>{port}</port>"}
        self.socket = f"{self.short}/stack"
        standard = {
            "steps": 20, "beads": 1, "temperature": AT_REST, "mode": "nve", "dynamics": "", "socket": "",
            "trajectories": "",
        }  # fmt: skip
        text = INPUT.format(**standard | {"structure": structure} | listens | values)
        (folder / "input.xml").write_text(text)
        self.log = (folder / "log").open("w")
        self.process = subprocess.Popen(
            [str(Path(sys.executable).parent / "i-pi"), "input.xml", "-S", f"{self.short}/"],
            cwd=folder, stdout=self.log, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.short)

    @property
    def said(self) -> str:
        """What i-PI has printed."""
        return (self.folder / "log").read_text()

    def ended(self) -> int:
        """Wait until i-PI ends; return its exit code."""
        return self.process.wait(timeout=120)

    def wait_for(self, text: str) -> None:
        """Wait until i-PI has printed `text`."""
        deadline = time.monotonic() + 120
        while text not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)

    @contextmanager
    def then_ended(self) -> Iterator[None]:
        """Let i-PI make a few more steps, and then end by itself, while the block runs."""
        n = len((self.folder / "run.out").read_text().splitlines())

        def end() -> None:
            try:
                self.wait_for_steps(n)
            except BaseException:
                self.process.kill()  # the block waits for it
                raise
            (self.folder / "EXIT").touch()

        thread = threading.Thread(target=end)
        thread.start()
        yield
        thread.join()

    def wait_for_steps(self, n: int) -> None:
        """Wait until it has made `n` steps."""
        deadline, path = time.monotonic() + 120, self.folder / "run.out"
        while not (path.exists() and len(path.read_text().splitlines()) > n + len(HEAD)):
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.02)

    def columns(self) -> dict[str, np.ndarray]:
        """Return the properties that it has written, a row for each step."""
        rows = np.loadtxt(self.folder / "run.out", ndmin=2)
        return dict(zip(HEAD, rows.T[: len(HEAD)], strict=True)) | {"virial": rows[:, len(HEAD) :]}

    def frames(self, bead: int = 0) -> list[Atoms]:
        """Return the structures that it has written, in Å as a stack sees them: ``ase`` has another Bohr."""
        frames = ase.io.read(self.folder / f"run.pos_{bead}.extxyz", ":")
        for atoms in frames:
            atoms.set_cell(atoms.cell.array * (atomic_units.BOHR / units.Bohr), scale_atoms=True)
        return frames

    def extras(self, name: str) -> np.ndarray:
        """Return the extras of this name that it has written: (n_steps, ...)."""
        steps: list[list[list[float]]] = []
        for line in (self.folder / f"run.{name}_0").read_text().splitlines():
            if line.lstrip().startswith("#"):
                steps.append([])
            else:
                steps[-1].append([float(word) for word in line.split()])
        return np.array(steps)


HEAD = ("step", "energy", "conserved", "volume")
AT_REST = 1e-9  # K; for zero i-PI takes the temperature of the ensemble
