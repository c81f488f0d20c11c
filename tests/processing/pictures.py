"""Small picture files for tests: pixels that all differ, and headers that promise anything."""

import struct
import zlib

import numpy
from PIL import Image


def colours(width=6, height=4):
    """A picture whose pixels all differ: red counts columns, green counts rows."""
    array = numpy.zeros((height, width, 3), dtype=numpy.uint8)
    array[..., 0] = numpy.arange(width) * 30
    array[..., 1] = numpy.arange(height)[:, None] * 40
    array[..., 2] = 100
    return Image.fromarray(array)


def saved(folder, picture, name, **options):
    picture.save(folder / name, **options)
    return folder / name


def forged_png(width, height, depth=8, pixels=b"", colour=2):
    """A valid header that promises width × height pixels, and `pixels`, by default none; `colour` 2 is RGB."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
