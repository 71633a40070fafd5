"""The message format: messages are restored exactly, and damaged frames are errors."""

from __future__ import annotations

import json
import struct
import zlib

import numpy as np
import pytest

from elmlff_core.worker.protocol import FrameReader, Message, ProtocolError, encode

HEADER = {"kind": "predict", "request": 3, "text": "Å"}
ARRAYS = {"a": np.arange(12.0).reshape(4, 3), "empty": np.zeros((0, 3)), "flags": np.array([True, False])}


def decode(frame, step=1 << 20):
    reader = FrameReader()
    for start in range(0, len(frame), step):
        assert reader.message() is None
        reader.feed(frame[start : start + step])
    return reader.message()


def by_hand(header, payload=b"", magic=b"ELMW", version=1):
    """Make a frame as described in docs/worker-protocol.md, without the tested code."""
    head = json.dumps(header).encode()
    prefix = magic + struct.pack("<HHIQI", version, 0, len(head), len(payload), zlib.crc32(head + payload))
    return prefix + head + payload


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_messages_are_restored(step):
    message = decode(encode(Message(HEADER, ARRAYS)), step)
    assert message.kind == "predict"
    assert message.header == HEADER
    for name, array in ARRAYS.items():
        assert message.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(message.arrays[name], array)


def test_a_frame_made_by_hand():
    header = {"kind": "result", "arrays": [["x", "<f8", [2, 1]], ["n", "<i8", []]]}
    message = decode(by_hand(header, struct.pack("<ddq", 1.5, -2.0, 7)))
    np.testing.assert_array_equal(message.arrays["x"], [[1.5], [-2.0]])
    assert message.arrays["n"] == 7


def test_arrays_of_other_byte_order_and_layout():
    arrays = {"big": np.arange(3, dtype=">f8"), "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    message = decode(encode(Message(HEADER, arrays)))
    for name, array in arrays.items():
        np.testing.assert_array_equal(message.arrays[name], array)


def test_arrays_of_text_are_refused():
    with pytest.raises(ProtocolError, match="'names' of dtype <U1 cannot be sent"):
        encode(Message(HEADER, {"names": np.array(["x"])}))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"step 1\n", "found the bytes"),
        (b"ELMX", "found the bytes"),
        (by_hand({"arrays": []}, version=2), "version 2, expected 1"),
        (by_hand({"arrays": []})[:-1] + b"!", "checksum"),
        (by_hand({"arrays": []}) + b"more", "4 bytes follow"),
        (by_hand({"kind": "result"}), "header .* cannot be read"),
        (by_hand([1, 2]), "header .* cannot be read"),
        (by_hand({"arrays": [["x", "<f8", [2]]]}, b"12345678"), "'x' .* is cut off"),
        (by_hand({"arrays": [["x", "|O", [1]]]}, b"12345678"), r"dtype \|O"),
        (by_hand({"arrays": [["x", "<f8", [-1]]]}), "shape"),
        (by_hand({"arrays": [["x", "<f8", [1]]]}, b"123456789"), "1 bytes beside its arrays"),
        (by_hand({"arrays": []}, b"1"), "1 bytes beside its arrays"),
        (b"ELMW" + struct.pack("<HHIQI", 1, 0, 2**31, 0, 0), "impossible lengths"),
    ],
)
def test_damaged_frames_are_errors(frame, reason):
    with pytest.raises(ProtocolError, match=reason):
        decode(frame)
