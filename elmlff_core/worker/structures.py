"""Messages with the input and output of `BaseForceField.predict`: structures and predictions as named arrays.

Workers under other interpreters import this file, so it keeps to Python 3.9, numpy and ase.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from elmlff_core.contracts.prediction import Prediction
from elmlff_core.worker.protocol import DTYPES, Message, ProtocolError

STANDARD_ARRAYS = ("numbers", "positions")
EXTRA = "extra:"


def pack_structures(structures: Sequence[Atoms], request: int) -> Message:
    """Make the message ``predict``.

    Its arrays are ``n_atoms`` (n_structures,), ``numbers`` (n_rows,), ``positions`` (n_rows, 3) in Å, ``cells``
    (n_structures, 3, 3) in Å and ``pbc`` (n_structures, 3), with n_rows the sum of `n_atoms`.  Further per-atom arrays
    (charges, magnetic moments, tags) and ``info`` are included, because a calculator may read them; labels and
    constraints are not.

    Raises
    ------
    ProtocolError
        A structure has data that are neither an array of numbers nor JSON.
    """
    arrays = {
        "n_atoms": np.array([len(atoms) for atoms in structures], dtype=np.int64),
        "numbers": _joined([atoms.arrays["numbers"] for atoms in structures], (), np.int64),
        "positions": _joined([atoms.arrays["positions"] for atoms in structures], (3,), np.float64),
        "cells": _joined([atoms.cell.array[None] for atoms in structures], (3, 3), np.float64),
        "pbc": _joined([atoms.pbc[None] for atoms in structures], (3,), np.bool_),
    }
    extras, extra_arrays = _pack_extras(structures)
    info = {str(index): _pack_info(atoms.info, index) for index, atoms in enumerate(structures) if atoms.info}
    header = {"kind": "predict", "request": request, "extras": extras, "info": info}
    return Message(header, {**arrays, **extra_arrays})


def unpack_structures(message: Message) -> list[Atoms]:
    """Return the structures of a message from `pack_structures`."""
    arrays = message.arrays
    n_atoms = arrays["n_atoms"]
    ends = np.cumsum(n_atoms).tolist()
    structures = [
        Atoms(
            numbers=arrays["numbers"][end - count : end],
            positions=arrays["positions"][end - count : end],
            cell=arrays["cells"][index],
            pbc=arrays["pbc"][index],
        )
        for index, (count, end) in enumerate(zip(n_atoms.tolist(), ends))  # noqa: B905 (strict is of Python 3.10)
    ]
    for number, (name, members) in enumerate(message.header["extras"]):
        values, row = arrays[f"{EXTRA}{number}"], 0
        for index in members:
            structures[index].set_array(name, values[row : row + len(structures[index])])
            row += len(structures[index])
    for index, entries in message.header["info"].items():
        structures[int(index)].info = _unpack_value(entries)
    return structures


def pack_prediction(prediction: Prediction, request: int) -> Message:
    """Make the message ``result`` with ``n_atoms``, ``forces``, and what else there is."""
    arrays = {"n_atoms": np.asarray(prediction.n_atoms, dtype=np.int64)}
    for name in ("forces", "energy", "stress"):
        if getattr(prediction, name) is not None:
            arrays[name] = np.asarray(getattr(prediction, name), dtype=np.float64)
    if prediction.descriptors is not None:
        arrays["descriptors"] = np.asarray(prediction.descriptors, dtype=np.float32)
    return Message({"kind": "result", "request": request}, arrays)


def unpack_prediction(message: Message) -> Prediction:
    """Return the prediction of a message from `pack_prediction`; ProtocolError if an array is missing or invalid."""
    arrays = message.arrays
    expected = {"n_atoms": "<i8", "forces": "<f8", "energy": "<f8", "stress": "<f8", "descriptors": "<f4"}
    for name, dtype in expected.items():
        array = arrays.get(name)
        if array is None and name in ("n_atoms", "forces"):
            raise ProtocolError(f"the answer holds no {name}")
        if array is not None and array.dtype.str != dtype:
            raise ProtocolError(f"the answer holds {name} of dtype {array.dtype}, expected {np.dtype(dtype)}")
    # The arrays are copied, because those of a message are read-only and keep the whole message in memory.
    copies = {name: array.copy() for name, array in arrays.items() if name in expected}
    return Prediction(**copies)


def _joined(arrays: Sequence[np.ndarray], shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.concatenate([np.zeros((0, *shape), dtype), *arrays]).astype(dtype, copy=False)


def _pack_extras(structures: Sequence[Atoms]) -> tuple[list[Any], dict[str, np.ndarray]]:
    """Collect per-atom arrays other than elements and positions; those of the same name and type are joined."""
    groups: dict[tuple[str, str, tuple[int, ...]], list[int]] = defaultdict(list)
    for index, atoms in enumerate(structures):
        for name, array in atoms.arrays.items():
            if name in STANDARD_ARRAYS:
                continue
            dtype = array.dtype.newbyteorder("<").str
            if dtype not in DTYPES:
                raise ProtocolError(
                    f"structure {index} has an array '{name}' of type {array.dtype} that cannot be sent: remove it"
                )
            groups[name, dtype, array.shape[1:]].append(index)
    extras: list[Any] = []
    arrays = {}
    for number, ((name, _, _), members) in enumerate(groups.items()):
        extras.append([name, members])
        arrays[f"{EXTRA}{number}"] = np.concatenate([structures[index].arrays[name] for index in members])
    return extras, arrays


def _pack_info(info: dict[Any, Any], index: int) -> Any:
    try:
        return _pack_value(info)
    except TypeError as error:
        raise ProtocolError(f"structure {index} has info that cannot be sent ({error}): remove it") from error


def _pack_value(value: Any) -> Any:
    """Convert `value` to JSON; arrays and dictionaries are marked, so that their types can be restored."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return _pack_value(value.item())
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufU":
        return {"array": value.tolist(), "dtype": value.dtype.str}
    if isinstance(value, (list, tuple)):
        return [_pack_value(item) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _pack_value(item) for key, item in value.items()}}
    raise TypeError(f"a value of type {type(value).__name__}")


def _unpack_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpack_value(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "dict" in value:
        return {key: _unpack_value(item) for key, item in value["dict"].items()}
    return np.array(value["array"], dtype=value["dtype"])
