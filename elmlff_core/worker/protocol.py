"""The message format between elmlff and its workers: frames with a JSON header and raw arrays; no pickles.

A frame consists of, in this order and little-endian::

    magic b"ELMW" | version u16 | zero u16 | header length u32 | payload length u64 | CRC-32 u32 | header | payload

The header is a JSON object in UTF-8; its key ``arrays`` lists the name, dtype and shape of each array.  The payload is
the bytes of the arrays, one after the other.  The checksum covers header and payload.

Workers under other interpreters import this file, so it keeps to Python 3.9, and to the standard library until an array
is decoded.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
MAGIC = b"ELMW"
PREFIX = struct.Struct("<4sHHIQI")
# Far larger than any batch: with these limits a damaged prefix is an error at once, not after reading exabytes.
MAX_HEADER_BYTES = 1 << 30
MAX_PAYLOAD_BYTES = 1 << 40
DTYPES = frozenset({"<f8", "<f4", "<i8", "<i4", "<i2", "|i1", "|u1", "<u2", "<u4", "<u8", "|b1"})


class ProtocolError(Exception):
    """The bytes are not a message of this protocol and version."""


@dataclass(frozen=True)
class Message:
    """The content of a frame.

    Attributes
    ----------
    header : JSON values; ``kind`` is the kind of the message
    arrays : by name; in a received message, read-only views of the bytes of the frame
    """

    header: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Kind: ``describe``, ``described``, ``open``, ``ready``, ``predict``, ``result`` or ``error``."""
        return str(self.header.get("kind", ""))


def encode(message: Message) -> bytes:
    """Return the frame of `message`; raise ProtocolError if the dtype of an array cannot be sent."""
    described, contents = [], []
    for name, array in message.arrays.items():
        little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        if little.dtype.str not in DTYPES:
            raise ProtocolError(f"array '{name}' of dtype {array.dtype} cannot be sent")
        described.append([name, little.dtype.str, list(little.shape)])
        contents.append(little.tobytes())
    header = json.dumps({**message.header, "arrays": described}).encode()
    payload = b"".join(contents)
    checksum = zlib.crc32(payload, zlib.crc32(header))
    return b"".join((PREFIX.pack(MAGIC, VERSION, 0, len(header), len(payload), checksum), header, payload))


class FrameReader:
    """Assembles one message from bytes as they arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lengths: tuple[int, int, int] | None = None

    def feed(self, data: bytes) -> None:
        """Add bytes; raise ProtocolError as soon as they cannot be the beginning of a message."""
        self._buffer += data
        if not self._buffer.startswith(MAGIC[: len(self._buffer)]):
            raise ProtocolError(f"expected a message, found the bytes {bytes(self._buffer[:16])!r}")
        if self._lengths is None and len(self._buffer) >= PREFIX.size:
            self._lengths = _lengths(bytes(self._buffer[: PREFIX.size]))

    def message(self) -> Message | None:
        """Return the message once it is complete, otherwise None; raise ProtocolError if it is damaged."""
        if self._lengths is None:
            return None
        header_length, payload_length, checksum = self._lengths
        end = PREFIX.size + header_length + payload_length
        if len(self._buffer) < end:
            return None
        if len(self._buffer) > end:
            raise ProtocolError(f"{len(self._buffer) - end} bytes follow the message, expected none")
        body = memoryview(bytes(self._buffer))[PREFIX.size :]
        if zlib.crc32(body) != checksum:
            raise ProtocolError("the checksum of the message does not match its bytes")
        return _decode(body[:header_length], body[header_length:])


def _lengths(prefix: bytes) -> tuple[int, int, int]:
    _, version, zero, header_length, payload_length, checksum = PREFIX.unpack(prefix)
    if version != VERSION:
        raise ProtocolError(f"the message is of protocol version {version}, expected {VERSION}")
    if zero != 0 or header_length > MAX_HEADER_BYTES or payload_length > MAX_PAYLOAD_BYTES:
        raise ProtocolError("the message begins with impossible lengths")
    return header_length, payload_length, checksum


def _decode(header_bytes: memoryview, payload: memoryview) -> Message:
    try:
        header = json.loads(bytes(header_bytes))
        described = [(str(name), str(dtype), tuple(map(int, shape))) for name, dtype, shape in header.pop("arrays")]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ProtocolError(f"the header of the message cannot be read: {error}") from error
    return Message(header, _arrays(described, payload))


def _arrays(described: list[tuple[str, str, tuple[int, ...]]], payload: memoryview) -> dict[str, np.ndarray]:
    if not described:
        if len(payload):
            raise ProtocolError(f"the message holds {len(payload)} bytes beside its arrays")
        return {}
    import numpy as np

    arrays, offset = {}, 0
    for name, dtype, shape in described:
        if dtype not in DTYPES or any(length < 0 for length in shape):
            raise ProtocolError(f"array '{name}' of the message has dtype {dtype} and shape {shape}")
        count = math.prod(shape)
        size = count * np.dtype(dtype).itemsize
        if offset + size > len(payload):
            raise ProtocolError(f"array '{name}' of the message is cut off")
        arrays[name] = np.frombuffer(payload, dtype=dtype, count=count, offset=offset).reshape(shape)
        offset += size
    if offset != len(payload):
        raise ProtocolError(f"the message holds {len(payload) - offset} bytes beside its arrays")
    return arrays
