"""Adversarial witnesses: images that a model misclassifies after a change of a few grey levels per value.

A witness is a proof that anyone can check with one forward pass, without trusting its finder. It holds the id of a test
sample, the change ``eps`` in whole grey levels, and the sign of the change of every value; the image is ``clip(sample +
eps * sign, 0, 255)``, so no change beyond ``eps`` can be expressed. Signs are packed into bits, filtered like the rows
of a PNG, and deflated.

A file is an npz archive of stored arrays (never compressed, never pickled); the size of every field is checked on
reading.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import rfc8785
from annotated_types import Ge, Le, Len

from certify.core.canonical_json import parse_canonical
from certify.core.errors import DataError, UsageError
from certify.core.validation import validated
from certify.data.sources import Image

FORMAT = "leanmark/witnesses/1"
MAX_FILE_BYTES = 256 << 20
MAX_WITNESSES = 1_000_000
MAX_EPS = 64
"""Largest allowed change in grey levels; a larger one would no longer be the same image."""
ID_BYTES = 16
"""Length of the prefix of a sample's SHA-256; long enough to make a second preimage infeasible."""
FILTERS = 4

Digest = Annotated[str, Len(64, 64)]
Signs = npt.NDArray[np.int8]
Method = Literal["fgsm", "pgd", "apgd", "square", "other"]


@dataclass(frozen=True)
class WitnessHeader:
    """Header of a witness file.

    Attributes:
        format: :data:`FORMAT`.
        model: content digest (``leanmarkContent``) of the attacked model file.
        test_digest: digest of the test part with the samples.
        samples: number of attacked samples, the first ones of :func:`certify.data.altered_images.stress_order`.
        method: how they were found; no check depends on it.
        gradients: hex SHA-256 of the checkpoint whose gradients were used; null if only the model file was queried.
        straight_through: whether the checkpoint's values were rounded with a straight-through gradient estimator.
        eps: sizes of change that were tried, in grey levels, ascending.
    """

    format: str
    model: Digest
    test_digest: Digest
    samples: Annotated[int, Ge(1), Le(MAX_WITNESSES)]
    method: Method
    gradients: Digest | None
    straight_through: bool
    eps: Annotated[tuple[Annotated[int, Ge(1), Le(MAX_EPS)], ...], Len(1, 16)]


@dataclass(frozen=True)
class Witness:
    """One adversarial image.

    Attributes:
        sample: first 16 bytes of the SHA-256 of the sample.
        label: true class of the sample.
        eps: change of every value in grey levels.
        packed: packed signs, see :func:`pack_signs`.
    """

    sample: bytes
    label: int
    eps: int
    packed: bytes


@dataclass(frozen=True)
class WitnessFile:
    """A file of witnesses."""

    header: WitnessHeader
    witnesses: tuple[Witness, ...]

    def to_bytes(self) -> bytes:
        """Return the bytes of the file; equal witnesses give equal bytes."""
        witnesses = self.witnesses
        arrays = {
            "header": np.frombuffer(rfc8785.dumps(_plain(self.header)), dtype=np.uint8),
            "sample": np.frombuffer(b"".join(witness.sample for witness in witnesses), dtype=np.uint8),
            "label": np.array([witness.label for witness in witnesses], dtype="<u4"),
            "eps": np.array([witness.eps for witness in witnesses], dtype=np.uint8),
            "length": np.array([len(witness.packed) for witness in witnesses], dtype="<u4"),
            "signs": np.frombuffer(b"".join(witness.packed for witness in witnesses), dtype=np.uint8),
        }
        stream = io.BytesIO()
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # its stub takes allow_pickle for one of them
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> WitnessFile:
        """Parse a file from an untrusted source.

        Raises:
            DataError: it is not a valid witness file.
        """
        try:
            arrays = dict(_arrays(content))
            values = parse_canonical(arrays["header"].tobytes(), "its header")
            header = validated(WitnessHeader, values, "the header", lambda *_: name)
            if header.format != FORMAT:
                raise ValueError(f"its format is {header.format[:40]!r}")
            return cls(header, tuple(_witnesses(arrays)))
        except UsageError as error:
            raise DataError(str(error)) from error
        except (zipfile.BadZipFile, KeyError, ValueError, TypeError, EOFError, OSError) as error:
            raise DataError(f"{name} is not a valid witness file ({str(error)[:120]}).") from error

    @classmethod
    def read(cls, path: Path) -> WitnessFile:
        """Read a file.

        Raises:
            DataError: it cannot be read, or is not a valid witness file.
        """
        try:
            size = path.stat().st_size
            if size > MAX_FILE_BYTES:
                raise DataError(f"A witness file may have at most {MAX_FILE_BYTES} bytes, but {path} has {size}.")
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}).") from error
        return cls.from_bytes(content, str(path))


def _plain(header: WitnessHeader) -> dict[str, Any]:
    return {**asdict(header), "eps": list(header.eps)}


TYPES = {"header": "|u1", "sample": "|u1", "label": "<u4", "eps": "|u1", "length": "<u4", "signs": "|u1"}


def _arrays(content: bytes) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield the arrays of an npz archive, each of exactly the size stated in its header."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if sorted(names) != sorted(f"{name}.npy" for name in TYPES):
            raise ValueError(f"it contains {', '.join(names)[:80]}")
        # Only uncompressed arrays are read, because a compressed one could expand to any size.
        if any(member.compress_type != zipfile.ZIP_STORED or member.file_size > len(content) for member in members):
            raise ValueError("its arrays are compressed")
        for name, kind in TYPES.items():
            stream = io.BytesIO(archive.read(f"{name}.npy"))
            # Later versions of the format allow longer headers.
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ValueError(f"{name} is not an array of numpy's format 1.0")
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
            rest = stream.read()
            if dtype.str != kind or len(shape) != 1 or shape[0] * dtype.itemsize != len(rest):
                raise ValueError(f"{name} must be a one-dimensional array of {kind}")
            yield name, np.frombuffer(rest, dtype=dtype)


def _witnesses(arrays: dict[str, npt.NDArray[Any]]) -> Iterator[Witness]:
    count = len(arrays["label"])
    lengths, blob, ids = arrays["length"].astype(np.int64), arrays["signs"].tobytes(), arrays["sample"].tobytes()
    # All lengths must agree before anything is indexed.
    if count > MAX_WITNESSES or len(arrays["eps"]) != count or len(lengths) != count or len(ids) != ID_BYTES * count:
        raise ValueError("its arrays have different lengths")
    if int(lengths.sum()) != len(blob):
        raise ValueError("its signs are truncated")
    start = 0
    for i in range(count):
        end = start + int(lengths[i])
        sample = ids[i * ID_BYTES : (i + 1) * ID_BYTES]
        yield Witness(sample, int(arrays["label"][i]), int(arrays["eps"][i]), blob[start:end])
        start = end


def sample_id(digest: str) -> bytes:
    """Return the id of a sample in witness files, from its hex SHA-256."""
    return bytes.fromhex(digest)[:ID_BYTES]


def pack_signs(signs: Signs) -> bytes:
    """Pack signs into a filter number and deflated bits.

    Each channel is encoded as its difference from the previous one (they mostly move together), and each value as its
    difference from the one to the left or above; the filter with the fewest bytes is used.

    Args:
        signs: -1 or 1, (H, W, 3).

    Example:
        >>> signs = np.ones((32, 32, 3), dtype=np.int8)
        >>> len(pack_signs(signs)) < 20, bool((unpack_signs(pack_signs(signs), (32, 32, 3)) == signs).all())
        (True, True)
    """
    # Channel by channel, so that the filters compare neighbouring values of one channel.
    bits = np.moveaxis(signs > 0, -1, 0)
    packed = []
    for number in range(FILTERS):
        # Raw deflate, because a header and a checksum would be repeated in every witness.
        writer = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
        plain = np.packbits(_filtered(bits, number)).tobytes()
        packed.append(bytes([number]) + writer.compress(plain) + writer.flush())
    return min(packed, key=len)


def unpack_signs(packed: bytes, shape: Sequence[int]) -> Signs:
    """Inverse of :func:`pack_signs`, (H, W, 3) of -1 and 1.

    Raises:
        ValueError: the bytes do not encode the signs of an image of that shape.
    """
    height, width, channels = shape
    count = height * width * channels
    size = -(-count // 8)
    if not packed or packed[0] >= FILTERS:
        raise ValueError("its signs have an unknown filter")
    reader = zlib.decompressobj(-15)
    try:
        # Reading one byte more than expected is enough to notice a decompression bomb.
        plain = reader.decompress(packed[1:], size + 1)
    except zlib.error as error:
        raise ValueError("its signs are damaged") from error
    if len(plain) != size or not reader.eof or reader.unused_data:
        raise ValueError("the number of its signs is not the size of the sample")
    bits = np.unpackbits(np.frombuffer(plain, dtype=np.uint8))
    if bits[count:].any():
        raise ValueError("the number of its signs is not the size of the sample")
    planes = _unfiltered(bits[:count].reshape(channels, height, width).astype(np.bool_), packed[0])
    signs: Signs = np.where(np.moveaxis(planes, 0, -1), 1, -1).astype(np.int8)
    return signs


def _filtered(bits: npt.NDArray[np.bool_], number: int) -> npt.NDArray[np.bool_]:
    coded: npt.NDArray[np.bool_] = bits.copy()
    if number >= 1:
        coded[1:] ^= bits[:-1]
    before = coded.copy()
    if number == 2:
        coded[:, :, 1:] ^= before[:, :, :-1]
    elif number == 3:
        coded[:, 1:] ^= before[:, :-1]
    return coded


def _unfiltered(bits: npt.NDArray[np.bool_], number: int) -> npt.NDArray[np.bool_]:
    decoded: npt.NDArray[np.bool_] = bits
    if number in (2, 3):
        # The inverse of a running XOR is its accumulation.
        decoded = np.logical_xor.accumulate(decoded, axis=4 - number)
    if number >= 1:
        decoded = np.logical_xor.accumulate(decoded, axis=0)
    return decoded


def moved(image: Image, signs: Signs, eps: int) -> Image:
    """Return the witness's image: every value changed by ``eps`` grey levels, clipped to 0 to 255.

    Args:
        image: the sample, uint8 (H, W, 3).
        signs: -1 or 1, (H, W, 3).
        eps: change in grey levels.
    """
    # Wider than uint8, or sums would wrap around.
    changed: Image = np.clip(image.astype(np.int16) + eps * signs.astype(np.int16), 0, 255).astype(np.uint8)
    return changed
