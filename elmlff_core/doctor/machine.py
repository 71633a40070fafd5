"""Checks of cores, threads, GPUs and the cache folder."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from elmlff_core.doctor.finding import Finding

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # read by torch and numpy alike
SLOW = "more threads than cores make training up to ten times slower"
LITTLE_SPACE = 1e9  # bytes: about the forces of a few models for 100,000 structures of 100 atoms


def threads(environment: Mapping[str, str], cores: int, multiplied: Sequence[Sequence[str]] = ()) -> Iterator[Finding]:
    """Compare thread settings with the number of cores.

    Parameters
    ----------
    environment : environment variables and their values
    cores : number of cores that this process may use
    multiplied : groups of variables; the number of threads at work is the product of the variables of a group
    """
    yield Finding("threads", "cores", "ok", f"{cores} available")
    values: dict[str, int] = {}
    for name in dict.fromkeys((*THREADS, *chain.from_iterable(multiplied))):
        text = environment.get(name)
        if text is None:
            continue
        first = text.split(",")[0].strip()  # OpenMP takes one number per level of nesting
        if not first.isdigit():
            yield Finding("threads", name, "wrong", f"is '{text}', expected a number", f"export {name}=1")
            continue
        values[name] = int(first)
        remedy = f"export {name}={cores}"
        if values[name] > cores:
            yield Finding("threads", name, "wrong", f"{first} threads on {cores} cores: {SLOW}", remedy)
        else:
            yield Finding("threads", name, "ok", f"{first} threads on {cores} cores")
    for group in filter(None, multiplied):
        counts = [values.get(name, 1) for name in group]
        if math.prod(counts) > cores >= max(counts):
            message = f"{math.prod(counts)} threads together on {cores} cores: {SLOW}"
            yield Finding("threads", " and ".join(group), "wrong", message, "export each as 1")
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > 1.2 * cores:
        message = f"{load:.1f} processes are running on {cores} cores: everything takes longer"
        yield Finding("threads", "load", "note", message)


def driver_gpus() -> list[str]:
    """Return the GPUs that the NVIDIA driver lists, independent of PyTorch."""
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.startswith("GPU ")]


def cache(directory: Path) -> Iterator[Finding]:
    """Check the folder of cached predictions: whether it can be written, and its size."""
    remedy = "set ELMLFF_CACHE to a folder that can be written"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
        # Another run may remove a file while the files are counted.
        files = [path for path in directory.rglob("*.safetensors") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        free = shutil.disk_usage(directory).free
    except OSError as error:
        yield Finding("cache", str(directory), "wrong", f"cannot be written: {error.strerror or error}", remedy)
        return
    message = f"predictions in {len(files)} files, {size / 1e6:.1f} MB; {free / 1e9:.1f} GB free on its disk"
    if free < LITTLE_SPACE:
        yield Finding("cache", str(directory), "wrong", f"{message}: too little", remedy)
    else:
        yield Finding("cache", str(directory), "ok", message)
