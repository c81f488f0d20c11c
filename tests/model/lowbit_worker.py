"""Run by test_lowbit_kernels with TRITON_INTERPRET=1, which Triton must find when it is imported: the kernels' products
of all cases, on CPU tensors.

python tests/model/lowbit_worker.py FILE
"""

import sys
from pathlib import Path

import torch

from SPHINX_V.model import lowbit_kernels
from tests.model.test_lowbit_kernels import CASES, NAN_ROW, problem


def main(file: Path) -> None:
    torch.set_num_threads(1)
    found = {}
    for case in CASES:
        x, codes, scales, added = problem(*case)
        found[f"{case}"] = lowbit_kernels.product(x, codes, scales)
        found[f"{case} added"] = lowbit_kernels.product(x, codes, scales, added)
        found[f"{case} last alone"] = lowbit_kernels.product(x[-1:], codes, scales)
        x[NAN_ROW % len(x), 3] = torch.nan
        found[f"{case} NaN"] = lowbit_kernels.product(x, codes, scales)
    torch.save(found, file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
