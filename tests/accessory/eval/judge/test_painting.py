"""The picture that a judge sees: darkened as the protocol says, nothing marked covered, of a size that can be sent."""

import base64
import io

import numpy
import pytest
from PIL import Image

from accessory.eval.judge.painting import BOX_BRIGHTNESS, POINT_BRIGHTNESS, PaintedPicture, as_jpeg
from SPHINX_V import Box, DataError, Mask, Point, Scribble


def file_of(folder, size=(1100, 800), color=(200, 100, 50), name="a.png"):
    Image.new("RGB", size, color).save(folder / name)
    return folder / name


def painted(path, *marks, max_side=1536):
    return PaintedPicture(path, marks, max_side)


def test_the_ground_is_darkened_by_the_kind_of_mark(tmp_path):
    path = file_of(tmp_path)
    for marks, factor in (((Box(10, 10, 60, 60),), 0.8), ((Point(10, 10),), 0.7), ((), 1.0)):
        corner = painted(path, *marks).paint().getpixel((1090, 790))
        assert corner == tuple(round(value * factor) for value in (200, 100, 50))
    assert (BOX_BRIGHTNESS, POINT_BRIGHTNESS) == (0.8, 0.7)


def test_nothing_inside_a_box_is_covered(tmp_path):
    path = file_of(tmp_path)
    boxes = (Box(300, 300, 420, 312), Box(300, 316, 420, 330), Box(0, 0, 1100, 800), Box(900, 10, 1000, 200))
    drawn = numpy.asarray(painted(path, *boxes).paint())
    ground = numpy.array([160, 80, 40])
    for box in (boxes[0], boxes[1]):
        inside = drawn[int(box.y0) + 1 : int(box.y1) - 1, int(box.x0) + 1 : int(box.x1) - 1]
        assert (inside == ground).all(-1).mean() > 0.75, "two lines apart, neighbours' frames take little of each other"
    alone = numpy.asarray(painted(path, boxes[3]).paint())
    assert (alone[10:200, 900:1000] == ground).all()
    assert not (alone[5:10, 905:995] == ground).all()


def test_a_box_as_large_as_the_picture_is_seen_all_around(tmp_path):
    drawn = numpy.asarray(painted(file_of(tmp_path), Box(0, 0, 1100, 800)).paint())
    ground = numpy.array([160, 80, 40])
    for edge in (drawn[400, :8], drawn[400, -8:], drawn[:8, 550], drawn[-8:, 550]):
        assert not (edge == ground).all()


def test_marks_stand_where_they_are_in_a_picture_of_another_size(tmp_path):
    path = file_of(tmp_path, (4000, 2000))
    picture = painted(path, Point(3000, 500), max_side=1000)
    drawn = numpy.asarray(picture.paint())
    assert drawn.shape == (500, 1000, 3)
    assert picture.size() == (1000, 500)
    dot = drawn[119:131, 744:756]  # its number stands further off
    rows, columns = numpy.nonzero((dot == (255, 64, 140)).all(-1))  # the first colour of the palette
    assert abs(rows.mean() + 119 - 125) < 1
    assert abs(columns.mean() + 744 - 750) < 1


def test_a_tiny_picture_grows_a_whole_number_of_times(tmp_path):
    picture = painted(file_of(tmp_path, (20, 12)), Box(2, 2, 8, 8))
    assert picture.size() == picture.paint().size == (20 * 51, 12 * 51)


def test_a_rotated_photograph_is_painted_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (1200, 1100), "white").save(tmp_path / "turned.jpg", exif=exif)
    picture = painted(tmp_path / "turned.jpg", Point(1090, 1190))
    assert picture.size() == picture.paint().size == (1100, 1200)


def test_a_mark_outside_the_picture_is_refused_by_the_header_alone(tmp_path):
    picture = painted(file_of(tmp_path), Box(2000, 10, 2100, 20))
    for look in (picture.check, picture.paint):
        with pytest.raises(DataError, match=r"a\.png: prompt 1 .*outside the picture of 1100×800"):
            look()


def test_the_data_url_is_the_painted_picture(tmp_path):
    picture = painted(file_of(tmp_path), Point(100, 100))
    head, _, body = picture.data_url().partition(",")
    assert head == "data:image/jpeg;base64"
    sent = Image.open(io.BytesIO(base64.b64decode(body)))
    assert (sent.format, sent.size) == ("JPEG", (1100, 800))
    difference = numpy.asarray(sent).astype(int) - numpy.asarray(picture.paint())
    assert abs(difference).mean() < 1


def test_a_picture_that_compresses_badly_is_made_to_fit():
    noise = Image.fromarray(numpy.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=numpy.uint8))
    assert Image.open(io.BytesIO(as_jpeg(noise))).size == (400, 300)
    for limit in (100_000, 40_000, 5_000):
        encoded = as_jpeg(noise, limit)
        assert len(encoded) <= limit
    assert Image.open(io.BytesIO(encoded)).size[0] < 400


def test_the_digest_tells_pictures_marks_and_sizes_apart(tmp_path):
    one, other = file_of(tmp_path), file_of(tmp_path, color=(200, 100, 51), name="b.png")
    mask, more = numpy.zeros((800, 1100), bool), numpy.zeros((800, 1100), bool)
    mask[10:20, 10:20] = more[10:20, 10:20] = True
    more[15, 15] = False
    pictures = [
        painted(one),
        painted(other),
        painted(one, Point(1, 2)),
        painted(one, Point(2, 1)),
        painted(one, Point(1, 2), Point(2, 1)),
        painted(one, Point(2, 1), Point(1, 2)),
        painted(one, Box(1, 2, 3, 4)),
        painted(one, Scribble(((1, 2), (3, 4)))),
        painted(one, Scribble(((1, 2), (2, 3), (3, 4)))),
        painted(one, Mask(mask)),
        painted(one, Mask(more)),
        painted(one, max_side=1000),
    ]
    assert len({picture.digest for picture in pictures}) == len(pictures)
    copy = tmp_path / "copy.png"
    copy.write_bytes(one.read_bytes())
    assert painted(copy, Point(1, 2)).digest == painted(one, Point(1, 2)).digest


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.png"):
        _ = painted(tmp_path / "absent.png").digest
