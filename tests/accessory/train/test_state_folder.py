"""The folder of a run's states: names, the order of steps of a commit, what is kept and what is deleted."""

import pytest

from accessory.train.state_folder import StateFolder, to_delete
from SPHINX_V.errors import CheckpointWarning


@pytest.fixture
def folder(tmp_path):
    return StateFolder(tmp_path / "states")


def names(folder):
    return sorted(path.name for path in folder.path.iterdir())


def put(folder, *steps):
    for step in steps:
        (folder.begin(step) / "data").write_bytes(b"%d" % step)
        folder.commit(step)


@pytest.mark.parametrize(
    "steps, keep_last, keep_every, deleted",
    [
        ([], 2, None, []),
        ([5], 1, None, []),
        ([5, 6], 1, None, [5]),
        ([1, 2, 3, 4, 5], 2, None, [1, 2, 3]),
        ([1, 2, 3, 4, 5], 9, None, []),
        ([10, 15, 20, 25, 30], 1, 10, [15, 25]),
        ([10, 15, 20, 25, 30], 2, 20, [10, 15]),
        ([0, 3, 5], 1, 4, [3]),
    ],
)
def test_the_newest_and_the_divisible_are_kept(steps, keep_last, keep_every, deleted):
    assert to_delete(steps, keep_last, keep_every) == deleted


def test_no_folder_holds_no_states(folder):
    assert folder.steps() == []


def test_a_state_counts_when_it_is_committed(folder):
    unfinished = folder.begin(7)
    assert unfinished.name == "step-00000007.tmp"
    assert folder.steps() == []
    folder.commit(7)
    assert folder.steps() == [7]
    assert names(folder) == ["latest", "step-00000007"]
    assert (folder.path / "latest").read_text() == "step-00000007\n"


def test_steps_are_ordered_by_number_also_with_nine_digits(folder):
    put(folder, 9, 99_999_999, 100_000_000)
    assert folder.steps() == [9, 99_999_999, 100_000_000]
    assert names(folder)[-1] == "step-99999999"


def test_only_states_are_states(folder):
    put(folder, 3)
    for name in ("step-3", "step-00000004.tmp", "step-00000005.replaced", "step-000000006", "notes"):
        (folder.path / name).mkdir()
    (folder.path / "step-00000008").write_text("a file")
    assert folder.steps() == [3]


def test_a_new_save_removes_what_a_killed_run_left_and_nothing_else(folder):
    put(folder, 3)
    for name in ("step-00000004.tmp", "step-00000009.tmp", "mine.tmp", "step-4.tmp", "step-00000002.replaced"):
        (folder.path / name).mkdir()
        (folder.path / name / "file").write_text("x")
    (folder.path / "latest.tmp").write_text("step-0000")
    folder.begin(4)
    assert not any((folder.path / "step-00000004.tmp").iterdir())
    assert names(folder) == [
        "latest", "mine.tmp", "step-00000002.replaced", "step-00000003", "step-00000004.tmp", "step-4.tmp",
    ]  # fmt: skip


def test_a_discarded_state_leaves_nothing(folder):
    put(folder, 3)
    (folder.begin(4) / "half").write_text("x")
    folder.discard(4)
    assert names(folder) == ["latest", "step-00000003"]


def test_old_states_are_deleted(folder):
    put(folder, 2, 4, 6, 8)
    folder.prune(keep_last=2, keep_every=4)
    assert folder.steps() == [4, 6, 8]
    folder.prune(keep_last=1, keep_every=None)
    assert names(folder) == ["latest", "step-00000008"]


def test_of_a_state_that_was_moved_away_and_linked_the_link_is_deleted(folder, tmp_path):
    put(folder, 2, 4)
    moved = folder.state(2).rename(tmp_path / "moved")
    folder.state(2).symlink_to(moved)
    assert folder.steps() == [2, 4]
    folder.prune(keep_last=1, keep_every=None)
    assert names(folder) == ["latest", "step-00000004"]
    assert (moved / "data").exists()


def test_states_of_a_course_that_was_left_are_set_aside_by_name(folder):
    put(folder, 4, 8, 12)
    folder.begin(8)
    with pytest.warns(CheckpointWarning) as warned:
        folder.commit(8)
    assert [str(warning.message).removeprefix(f"{folder.path}/") for warning in warned] == [
        f"step-{step:08d}: the run has gone back behind this state and now saves step 8, so it is set aside as"
        f" step-{step:08d}.replaced; delete it when it is of no more use."
        for step in (8, 12)
    ]
    assert folder.steps() == [4, 8]
    assert (folder.path / "latest").read_text() == "step-00000008\n"
    assert (folder.path / "step-00000008.replaced" / "data").read_bytes() == b"8"
    folder.prune(keep_last=1, keep_every=None)
    assert names(folder) == ["latest", "step-00000008", "step-00000008.replaced", "step-00000012.replaced"]


def test_nothing_set_aside_is_overwritten(folder):
    put(folder, 8)
    for _ in range(2):
        with pytest.warns(CheckpointWarning):
            put(folder, 8)
    assert names(folder) == ["latest", "step-00000008", "step-00000008.replaced", "step-00000008.replaced-2"]
