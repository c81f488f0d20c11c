"""`python -m accessory.serve --checkpoint DIR`: one model behind an OpenAI-compatible address."""

from __future__ import annotations

from accessory.serve.cli import main
from SPHINX_V.parallel import end_process

if __name__ == "__main__":
    end_process(main())
