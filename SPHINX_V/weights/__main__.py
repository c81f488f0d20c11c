"""`python -m SPHINX_V.weights convert|inspect …`"""

from __future__ import annotations

import sys

from SPHINX_V.weights.cli import main

if __name__ == "__main__":
    sys.exit(main())
