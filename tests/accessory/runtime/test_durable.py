"""Files that are at all times as before or as asked."""

import pytest

from accessory.runtime.durable import sync_file, sync_folder, write_durably


def test_a_file_is_written_and_replaced_and_nothing_else_is_left(tmp_path):
    for content in (b"one", b"two, longer", b""):
        write_durably(tmp_path / "latest", content)
        assert (tmp_path / "latest").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["latest"]


def test_what_is_not_there_cannot_be_synced(tmp_path):
    sync_folder(tmp_path)
    for sync in (sync_file, sync_folder):
        with pytest.raises(FileNotFoundError):
            sync(tmp_path / "absent")
