"""Small published datasets for tests: their repository on disk, their catalogue, and a server that can fail."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

SYMBOLS = ["C", "H", "H"]
BENT = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # mean positions, Å
FRAMES = {"train": {"set.000": 7, "set.001": 4}, "test": {"set.000": 3}}
REMOTE = {"train": "study/training_data", "test": "study/validation_data"}


def blob(content: bytes) -> str:
    """Return the hash that `git hash-object` gives."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def crystals(n_structures: int, seed: int) -> list[Atoms]:
    """Make rattled copper crystals with labels that are random."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_structures):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05, rng=rng)
        atoms.calc = SinglePointCalculator(atoms, energy=rng.normal(), forces=0.1 * rng.normal(size=(4, 3)))
        found.append(atoms)
    return found


def mlearn_json(structures: Sequence[Atoms]) -> bytes:
    """Return labelled structures in the form of the JSON files of mlearn, with the keys that nothing needs."""
    return json.dumps([mlearn_entry(atoms) for atoms in structures]).encode()


def mlearn_entry(atoms: Atoms) -> dict[str, Any]:
    """Return one labelled structure in the form of the JSON files of mlearn; its stress is wrong."""
    places = zip(atoms.symbols, atoms.get_scaled_positions(wrap=False), atoms.positions, strict=True)
    sites = [
        {"species": [{"element": symbol, "occu": 1}], "abc": list(abc), "xyz": list(xyz), "label": symbol}
        for symbol, abc, xyz in places
    ]
    return {
        "structure": {
            "@module": "pymatgen.core.structure", "@class": "Structure", "charge": None,
            "lattice": {"matrix": atoms.cell.tolist(), "a": 0.0, "volume": 0.0}, "sites": sites,
        },
        "num_atoms": len(atoms),
        "outputs": {
            "energy": atoms.get_potential_energy(), "forces": atoms.get_forces().tolist(),
            "virial_stress": [1e3, 2e3, 3e3, 4e3, 5e3, 6e3],
        },
        "element": atoms.get_chemical_symbols()[0], "group": atoms.info.get("group", ""), "tag": "train",
        "description": "of a test",
    }  # fmt: skip


class FakeRepository:
    """A server for the folder `root` at `url`.

    Attributes
    ----------
    requested : requested paths, in order
    cut : paths of which only half is sent before the connection is closed
    refused : paths that are answered with status 503
    """

    def __init__(self, folder: Path, short_name: str = "fluid") -> None:
        self.short_name = short_name
        self.root = folder / "repository"
        self.catalogue = folder / "catalogue.json"
        self.requested: list[str] = []
        self.cut: set[str] = set()
        self.refused: set[str] = set()
        splits = {name: self._write_split(name, seed) for seed, name in enumerate(FRAMES)}
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.write_catalogue(splits)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def write_catalogue(self, splits: dict[str, Any]) -> None:
        dataset = {
            "name": f"paper-{self.short_name}", "short_name": self.short_name, "summary": "a fluid", "n_atoms": [3, 3],
            "labels": ["energy", "forces"], "source": "https://example.org/fluid", "revision": "0" * 40,
            "url": self.url, "licence": "MIT", "parts": splits,
        }  # fmt: skip
        self.catalogue.write_text(json.dumps({"format_version": 2, "datasets": [dataset]}))

    def add(self, name: str, format_name: str, files: dict[str, tuple[str, bytes]], frames: dict[str, int]) -> None:
        """Add a dataset of one file, (path, content), for each split; without a number of frames, it has no size."""
        parts: dict[str, Any] = {}
        for split, (path, content) in files.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_bytes(content)
            facts = {"git_blob": blob(content), **({"size": len(content)} if split in frames else {})}
            parts[split] = {"format": format_name, "path": path, "facts": facts, "frames": frames.get(split)}
        catalogue = json.loads(self.catalogue.read_text())
        catalogue["datasets"].append({
            "name": name, "summary": "crystals", "theory": "of tests", "labels": ["energy", "forces"],
            "source": "https://example.org/crystals", "revision": "1" * 40, "url": self.url, "licence": "BSD-3-Clause",
            "citation": "A. Author, 2020", "parts": parts,
        })  # fmt: skip
        self.catalogue.write_text(json.dumps(catalogue))

    def _write_split(self, name: str, seed: int) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        folder = self.root / REMOTE[name]
        for set_name, n_frames in FRAMES[name].items():
            (folder / set_name).mkdir(parents=True)
            np.save(folder / set_name / "box.npy", np.tile(np.diag([9.0, 9.0, 9.0]).ravel(), (n_frames, 1)))
            np.save(folder / set_name / "coord.npy", BENT.ravel() + 0.1 * rng.normal(size=(n_frames, 9)))
            np.save(folder / set_name / "energy.npy", rng.normal(size=n_frames))
            np.save(folder / set_name / "force.npy", rng.normal(size=(n_frames, 9)))
        (folder / "type.raw").write_text("0\n1\n1\n")
        (folder / "type_map.raw").write_text("C\nH\n")
        return {
            "format": "deepmd/npy",
            "folder": REMOTE[name],
            "types": _facts(folder),
            "sets": {s: {"frames": n, "files": _facts(folder / s)} for s, n in FRAMES[name].items()},
        }

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        repository = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.lstrip("/")
                repository.requested.append(path)
                file = repository.root / path
                if path in repository.refused or not file.is_file():
                    self.send_error(503 if path in repository.refused else 404)
                    return
                content = file.read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if path in repository.cut else content)

            def log_message(self, *arguments: object) -> None: ...

        return Handler


def _facts(folder: Path) -> dict[str, Any]:
    contents = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    return {name: {"git_blob": blob(content), "size": len(content)} for name, content in contents.items()}
