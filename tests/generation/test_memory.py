"""What a process may still take, from the files by which Linux tells it."""

import sys

import pytest

from SPHINX_V.generation.memory import memory_left

MIB = 2**20
NEW = ("memory.max", "memory.current", "inactive_file", "active_file")
OLD = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file")


@pytest.fixture
def machine(tmp_path):
    """Writes files of a machine with 1000 MiB available."""

    def write(name, text):
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="ascii")

    write("proc/meminfo", f"MemTotal: 9999999 kB\nMemAvailable:    {1000 * 1024} kB\nBuffers: 5 kB\n")
    return tmp_path, write


def group(write, path, names, limit, used, cached=(0, 0)):
    write(f"sys/fs/cgroup/{path}/{names[0]}", f"{limit}\n")
    write(f"sys/fs/cgroup/{path}/{names[1]}", f"{used * MIB}\n")
    write(f"sys/fs/cgroup/{path}/memory.stat", f"anon 7\n{names[2]} {cached[0] * MIB}\n{names[3]} {cached[1] * MIB}\n")


def test_without_groups_it_is_what_the_machine_has(machine):
    root, write = machine
    assert memory_left(root) == 1000 * MIB
    write("proc/self/cgroup", "0::/user\n")
    group(write, "user", NEW, "max", 300)
    assert memory_left(root) == 1000 * MIB


@pytest.mark.parametrize(
    "line, above, own, names",
    [("0::/job/step", "job", "job/step", NEW), ("4:memory:/job", "memory", "memory/job", OLD)],
)
def test_a_limit_counts_wherever_it_is_set(machine, line, above, own, names):
    root, write = machine
    write("proc/self/cgroup", f"9:cpu,cpuacct:/other\n{line}\n")
    group(write, above, names, 2**63 - 4096, 300)
    group(write, own, names, 500 * MIB, 300, cached=(50, 20))
    # The files that were read are in memory only as long as nobody else wants it.
    assert memory_left(root) == (500 - 300 + 50 + 20) * MIB
    group(write, above, names, 400 * MIB, 390)
    assert memory_left(root) == 10 * MIB
    group(write, above, names, 400 * MIB, 450)
    assert memory_left(root) == 0


@pytest.mark.parametrize("line, top, names", [("0::/", ".", NEW), ("4:memory:/docker/0123abcd", "memory", OLD)])
def test_a_container_s_own_limit_lies_at_the_top(machine, line, top, names):
    root, write = machine
    write("proc/self/cgroup", f"{line}\n")
    group(write, top, names, 200 * MIB, 80)
    assert memory_left(root) == 120 * MIB


def test_who_is_told_nothing_says_so(tmp_path):
    assert memory_left(tmp_path) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_this_machine_tells():
    assert memory_left() > 0
