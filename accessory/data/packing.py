"""Which samples share a row: several short ones in the room of a long one."""

from __future__ import annotations

from collections.abc import Sequence


def pack_rows(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Places in `lengths`, in rows that hold at most `room` tokens together; every place once.

    The longest come first, each into the fullest row that still has room for it (best fit decreasing, which needs at
    most 11/9 of the fewest possible rows and one more). Equal lengths keep their order, and so do the places in a row,
    so that the result is a function of the lengths alone. Raises ValueError for a sample that is longer than a row.
    """
    rows: list[list[int]] = []
    left: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        length = lengths[place]
        if length > room:
            raise ValueError(f"sample {place} has {length} tokens, a row holds {room}")
        fitting = [row for row in range(len(rows)) if left[row] >= length]
        if fitting:
            row = min(fitting, key=lambda row: left[row])
            rows[row].append(place)
            left[row] -= length
        else:
            rows.append([place])
            left.append(room - length)
    return sorted(sorted(row) for row in rows)
