"""The manifest of a state: itself sealed, and true of every file or not."""

import hashlib
import json
import random

import pytest

from accessory.train import manifest
from accessory.train.manifest import FileRecord, Manifest, find_damage, read_manifest, record_file
from SPHINX_V.errors import CheckpointError

CONTENT = bytes(range(256)) * 20
STEP = 12


@pytest.fixture
def folder(tmp_path):
    """A file and its manifest."""
    (tmp_path / "data.bin").write_bytes(CONTENT)
    made = Manifest(STEP, {"data.bin": record_file(tmp_path / "data.bin")})
    (tmp_path / manifest.FILE).write_bytes(made.encode())
    return tmp_path


def refused(folder, step=STEP):
    with pytest.raises(CheckpointError) as caught:
        read_manifest(folder, step)
    return str(caught.value).removeprefix(f"{folder / manifest.FILE}: ")


def sealed(values):
    """Well-formed bytes of what no version of ours has written."""
    body = (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()
    text = json.dumps({**values, "seal": hashlib.sha256(body).hexdigest()}, indent=1, sort_keys=True)
    return (text + "\n").encode()


def test_size_and_sum_are_those_of_the_content(folder):
    assert record_file(folder / "data.bin") == FileRecord(5120, hashlib.sha256(CONTENT).hexdigest())


def test_what_was_written_is_read(folder):
    found = read_manifest(folder, STEP)
    assert found == Manifest(STEP, {"data.bin": FileRecord(5120, hashlib.sha256(CONTENT).hexdigest())})
    assert find_damage(folder, "data.bin", found.files["data.bin"]) is None


def test_a_change_of_any_byte_of_the_manifest_is_seen(folder):
    path = folder / manifest.FILE
    whole = path.read_bytes()
    draw = random.Random(0)
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= draw.randrange(1, 256)
        path.write_bytes(flipped)
        assert refused(folder) == "is not as it was written; its seal is broken.", place


def test_every_truncation_and_addition_to_the_manifest_is_seen(folder):
    path = folder / manifest.FILE
    whole = path.read_bytes()
    for wrong in [*(whole[:length] for length in range(len(whole))), whole + b"\n", whole + b" ", b" " + whole]:
        path.write_bytes(wrong)
        assert refused(folder) == "is not as it was written; its seal is broken."


def test_a_change_of_any_byte_of_a_file_is_seen(folder):
    path = folder / "data.bin"
    record = read_manifest(folder, STEP).files["data.bin"]
    draw = random.Random(0)
    for place in draw.sample(range(len(CONTENT)), 200):
        flipped = bytearray(CONTENT)
        flipped[place] ^= draw.randrange(1, 256)
        path.write_bytes(flipped)
        assert find_damage(folder, "data.bin", record).startswith(f"{path}: its bytes have changed: sha256 "), place


@pytest.mark.parametrize("length", [0, 1, 2560, 5119, 5121])
def test_another_length_is_told_with_both_numbers(folder, length):
    path = folder / "data.bin"
    record = read_manifest(folder, STEP).files["data.bin"]
    path.write_bytes((CONTENT + b"x")[:length])
    assert find_damage(folder, "data.bin", record) == f"{path}: has {length} bytes; manifest.json says 5120."


def test_missing_files_are_named(folder):
    record = read_manifest(folder, STEP).files["data.bin"]
    (folder / "data.bin").unlink()
    assert find_damage(folder, "data.bin", record) == f"{folder / 'data.bin'}: is missing."
    (folder / manifest.FILE).unlink()
    assert refused(folder) == "is missing."


def test_what_cannot_be_read_is_damage_too(folder):
    record = read_manifest(folder, STEP).files["data.bin"]
    (folder / "data.bin").unlink()
    (folder / "data.bin").symlink_to("data.bin")  # a loop
    assert find_damage(folder, "data.bin", record) == (
        f"{folder / 'data.bin'}: cannot be read (Too many levels of symbolic links)."
    )


def test_the_manifest_of_another_step_is_refused(folder):
    assert refused(folder, 13) == "is of step 12, but lies in the folder of step 13."


def test_a_later_version_is_refused_with_both_numbers(folder):
    later = {"format": "sphinx_v_state", "version": 2, "step": STEP, "files": {}}
    (folder / manifest.FILE).write_bytes(sealed(later))
    assert refused(folder) == ("is 'sphinx_v_state' version 2; this program reads 'sphinx_v_state' version 1.")


@pytest.mark.parametrize("name", ["../data.bin", "inner/data.bin", "/data.bin", ".."])
def test_only_files_of_the_folder_can_be_meant(folder, name):
    entry = {"size": 5120, "sha256": "0" * 64}
    foreign = {"format": "sphinx_v_state", "version": 1, "step": STEP, "files": {name: entry}}
    (folder / manifest.FILE).write_bytes(sealed(foreign))
    assert refused(folder) == f"names {name!r}, which is not a file of this folder."
