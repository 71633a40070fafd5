"""Calculators that fail or misbehave in the way their names describe; workers import this file by its path."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class Spring(Calculator):
    """Atoms bound to the origin: energy r²/2 and forces -r, in eV and Å."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.before(atoms)
        self.results = {"energy": 0.5 * float(np.sum(atoms.positions**2)), "forces": -atoms.positions}

    def before(self, atoms: Any) -> None:
        """Run before each structure."""


class OutsideNotebooks(Spring):
    """Refuses to be made where a notebook has chosen a backend of matplotlib."""

    def __init__(self) -> None:
        super().__init__()
        if "MPLBACKEND" in os.environ:
            raise ValueError(f"MPLBACKEND is {os.environ['MPLBACKEND']}")


class Stopwatch(Spring):
    """Takes `seconds` for each structure, and writes the times of start and end to `log`."""

    def __init__(self, log: str, seconds: float) -> None:
        super().__init__()
        self._log, self._seconds = Path(log), seconds

    def before(self, atoms: Any) -> None:
        start = time.time()
        time.sleep(self._seconds)
        with self._log.open("a") as file:
            file.write(f"{start} {time.time()}\n")


class Dying(Spring):
    """Kills its process at a structure with ``info["fatal"]``; with `once`, only if that file does not exist yet."""

    def __init__(self, once: str = "", signal_number: int = signal.SIGSEGV) -> None:
        super().__init__()
        self._once, self._signal = once, signal_number

    def before(self, atoms: Any) -> None:
        if not atoms.info.get("fatal") or (self._once and Path(self._once).exists()):
            return
        if self._once:
            Path(self._once).touch()
        print("the last output of the calculator")
        os.kill(os.getpid(), self._signal)


class Hanging(Spring):
    """Sleeps for 10 minutes at a structure with ``info["fatal"]``; with `child`, it also starts a child that sleeps."""

    def __init__(self, child: bool = False) -> None:
        super().__init__()
        self.child = subprocess.Popen(["sleep", "600"]) if child else None

    def before(self, atoms: Any) -> None:
        if atoms.info.get("fatal"):
            print(f"pids {os.getpid()} {self.child.pid if self.child else os.getpid()}", file=sys.stderr, flush=True)
            time.sleep(600)


class Stuck(Spring):
    """Hangs in native code that does not release the interpreter, at a structure with ``info["fatal"]``."""

    def before(self, atoms: Any) -> None:
        if atoms.info.get("fatal"):
            print(f"pids {os.getpid()} {os.getpid()}", file=sys.stderr, flush=True)
            10 ** (10**9)


class Garbling(Spring):
    """Writes bytes that are not a message into every pipe that it can write to."""

    def __init__(self, text: str = "step 1: energy -1.0\n") -> None:
        super().__init__()
        self._text = text

    def before(self, atoms: Any) -> None:
        for entry in Path("/proc/self/fd").iterdir():
            descriptor = int(entry.name)
            if descriptor > 2 and is_pipe(entry) and descriptor in select.select([], [descriptor], [], 0)[1]:
                os.write(descriptor, self._text.encode())


class Chatty(Spring):
    """Prints `size` characters for every structure from Python, and a line each from native code and from a child."""

    def __init__(self, size: int = 100) -> None:
        super().__init__()
        print("import noise")
        self._size = size

    def before(self, atoms: Any) -> None:
        print("x" * self._size)
        os.write(1, b"native noise\n")
        subprocess.run(["echo", "noise of a child"], check=True)


class StartsDaemon(Spring):
    """Starts a process in a session of its own that outlives it, and writes its id to `file`."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self._file = Path(file)

    def before(self, atoms: Any) -> None:
        daemon = subprocess.Popen(["sleep", "600"], start_new_session=True)
        self._file.write_text(str(daemon.pid))


class PrintsForEver(Spring):
    """Prints ten megabytes for each structure, and then takes a while."""

    def before(self, atoms: Any) -> None:
        sys.stdout.write("step of the self-consistent cycle\n" * 300_000)
        sys.stdout.flush()
        time.sleep(0.3)


class Hungry(Spring):
    """Keeps `mib` MiB for each structure until the end of a batch, with a limit of `limit_mib` MiB above its use."""

    def __init__(self, mib: int, limit_mib: int) -> None:
        super().__init__()
        self._mib = mib
        used = 4096 * int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (used + (limit_mib << 20),) * 2)

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        # The adapter keeps the energies until the end of the batch.
        self.results["energy"] = HeavyEnergy(self.results["energy"], np.ones(self._mib << 17))


class HeavyEnergy(float):
    """A number that keeps a large array in memory."""

    def __new__(cls, value: float, ballast: np.ndarray) -> HeavyEnergy:
        energy = super().__new__(cls, value)
        energy.ballast = ballast
        return energy


class Magnetic(Spring):
    """A calculator whose energy is the sum of initial magnetic moments, initial charges and ``info["charge"]``."""

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        moments, charges = atoms.get_initial_magnetic_moments(), atoms.get_initial_charges()
        self.results["energy"] = float(moments.sum() + charges.sum() + atoms.info.get("charge", 0))


def is_pipe(entry: Path) -> bool:
    """Whether a file descriptor under /proc is a pipe."""
    try:
        return os.readlink(entry).startswith("pipe:")
    except OSError:
        return False


def exits() -> None:
    """End the process instead of making a calculator."""
    print("no licence found")
    sys.exit(3)


class ImportLister(Spring):
    """Prints the files of all imported modules of elmlff, as JSON."""

    def before(self, atoms: Any) -> None:
        files = [getattr(module, "__file__", None) for name, module in sys.modules.items() if name.startswith("elmlff")]
        print(json.dumps(files))
