"""A folder that is written whole or not at all, also where its writer is killed."""

import json
import subprocess
import sys

import pytest

from SPHINX_V.weights.publish import clear_leftovers
from tests.house.repo import ROOT

# Replaces the checkpoint `out` in children that are killed before their first change to a folder, their second, …
# until one lives; prints what the folders are then called. After each the leftovers are cleared, and `out` is told.
PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from SPHINX_V.weights.publish import clear_leftovers, new_folder

out, old = Path(sys.argv[1]), sys.argv[2] == "replaced"
seen, alive, point = [], False, 0
while not alive:
    point += 1
    if old:
        out.mkdir(exist_ok=True)
        (out / "config.json").write_text("old")
    child = os.fork()
    if child == 0:
        left = [point]
        def count(event, arguments):
            if event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir"):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        with new_folder(out, overwrite=True) as folder:
            (folder / "config.json").write_text("new")
        os._exit(0)
    alive = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    before = sorted("".join(path.suffixes) or path.name for path in out.parent.iterdir())
    clear_leftovers(out)
    after = {path.name: (path / "config.json").read_text() for path in out.parent.iterdir()}
    seen.append([before, after])
print(json.dumps(seen))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
@pytest.mark.parametrize("before", ["nothing", "replaced"])
def test_after_a_kill_at_any_point_a_whole_folder_or_none_has_the_name_and_nothing_else_is_left(tmp_path, before):
    folder = tmp_path / "run"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder / "out"), before], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *killed, alive = json.loads(done.stdout)
    assert alive[1] == {"out": "new"}
    found = [after for _, after in killed]
    if before == "nothing":
        assert found == [{}, {}, {}], "killed before the parent and the folder are made, and before the rename"
    else:
        old, new = {"out": "old"}, {"out": "new"}
        # Before the parent and the folder are made, before each of two renames, and while the old one is removed.
        assert found == [old, old, old, old, new, new]
        assert len(killed[3][0]) == 2, "between the renames there is no folder of the name"
        assert "out" not in killed[3][0]


def test_what_has_another_name_stays(tmp_path):
    names = [".out.7-ab12.tmp", ".out.7-ab12.old", ".outer.7-ab12.tmp", ".out.tmp", "out.7-ab12.tmp", "out"]
    for name in names:
        (tmp_path / name).mkdir()
    clear_leftovers(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[2:])
    clear_leftovers(tmp_path / "nowhere" / "out")
