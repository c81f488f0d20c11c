"""Pictures over the wire: read from bytes and data URIs, refused with a sentence before they cost anything."""

import base64
import io
import struct
import zlib

import pytest
from PIL import Image

from accessory.serve.pictures import MOST_BYTES, MOST_PIXELS, picture_from_bytes, picture_from_data_uri
from SPHINX_V.errors import DataError, UsageError


def saved(picture: Image.Image, form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def uri(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def test_what_comes_back_are_the_pixels():
    picture = Image.new("RGB", (5, 3), (10, 20, 30))
    for form in ("PNG", "WEBP"):
        read = picture_from_bytes(saved(picture, form, lossless=True))
        assert (read.mode, read.size, read.getpixel((4, 2))) == ("RGB", (5, 3), (10, 20, 30))
    assert picture_from_data_uri(uri(saved(picture))).tobytes() == picture.tobytes()
    assert picture_from_data_uri(uri(saved(picture), "image/jpg")).size == picture.size, "no type, but many write it"


def test_alpha_is_kept():
    picture = Image.new("RGBA", (4, 4), (1, 2, 3, 0))
    picture.putpixel((1, 2), (1, 2, 3, 255))
    read = picture_from_bytes(saved(picture))
    assert read.mode == "RGBA"
    assert read.getchannel("A").getbbox() == (1, 2, 2, 3)


def test_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert picture_from_bytes(saved(Image.new("RGB", (8, 4)), "JPEG", exif=exif)).size == (4, 8)


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 64))


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "not a picture of JPEG, PNG, WEBP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture of"),
        (b"%PDF-1.7 " + b"\xff\xd8\xff", "not a picture of"),
        (saved(Image.new("RGB", (4, 4)), "GIF"), "not a picture of"),
        (saved(Image.new("RGB", (4, 4)), "BMP"), "not a picture of"),
        (saved(Image.effect_noise((64, 64), 50), "JPEG")[:-900], "cannot be decoded"),
        (png_header(60_000, 60_000), "3600000000 pixels"),
        (png_header(16_000, 3_000), f"16000×3000 pixels, the limit is {MOST_PIXELS}"),
        (b"\0" * (MOST_BYTES + 1), f"{MOST_BYTES + 1} bytes, the limit is"),
    ],
    ids=["empty", "svg", "polyglot", "gif", "bmp", "truncated", "bomb", "large", "bytes"],
)
def test_what_is_no_picture_is_refused(data, words):
    with pytest.raises(DataError) as caught:
        picture_from_bytes(data, "picture 1")
    assert words in str(caught.value)
    assert "picture 1" in str(caught.value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("/etc/hostname", "begins with '/etc/hostname'"),
        ("file:///etc/hostname", "begins with 'file:"),
        ("data:image/svg+xml;base64,AAAA", "give data:TYPE"),
        ("data:image/png,AAAA", "give data:TYPE"),
        ("data:image/png;base64", "give data:TYPE"),
        ("data:image/png;base64,AA*A", "not base64"),
        ("", "begins with ''"),
    ],
)
def test_another_address_is_refused(text, words):
    with pytest.raises(UsageError) as caught:
        picture_from_data_uri(text)
    assert words in str(caught.value)


def test_a_long_address_is_refused_by_its_length():
    with pytest.raises(DataError, match="the limit is"):
        picture_from_data_uri("data:image/png;base64," + "A" * (2 * MOST_BYTES))
