"""Options of an evaluation: one YAML file for all suites of a report."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from accessory.config import Options
from accessory.eval.judge.options import JudgeOptions

Dtype = Literal["float32", "bfloat16", "float16"]


class ReportOptions(Options):
    """What the report shows beside the numbers."""

    title: str = "Evaluation"
    best: int = Field(default=2, ge=0, description="examples of each suite with the highest scores")
    worst: int = Field(default=2, ge=0, description="examples with the lowest scores")
    random: int = Field(default=2, ge=0, description="examples drawn by a fixed seed")


class EvalOptions(Options):
    """One evaluation of one checkpoint."""

    output: str = Field(description="folder for predictions, results.json, table.md and report.html")
    checkpoint: str
    suites: list[str] = Field(min_length=1, description="names of suites and groups of the registry")
    data_root: str = Field(description="folder of the benchmarks' files")
    image_root: str | None = Field(default=None, description="folder of their pictures (default: the data root)")
    registry: list[str] = Field(default_factory=list, description="further registry files")
    controls: list[Literal["swap_marks", "no_marks"]] = Field(
        default_factory=list, description="ask each suite that has marks again, with these taken away"
    )
    batch_size: int = Field(default=8, gt=0, description="questions answered together, per process")
    dtype: Dtype | None = Field(default=None, description="of weights and computation (default: the checkpoint's)")
    quantize: Literal["int8", "int4"] | None = Field(
        default=None, description="bits of the language model's weights (default: those of dtype)"
    )
    device: str | None = Field(default=None, description="cpu, cuda or cuda:N (default: a GPU where there is one)")
    tensor_parallel: int = Field(default=1, gt=0, description="processes that hold one model together")
    similarity_model: str | None = Field(
        default=None, description="folder of all-MiniLM-L6-v2 (default: that of the extra eval)"
    )
    judge: JudgeOptions | None = Field(default=None, description="who judges free answers; absent: they are not judged")
    report: ReportOptions = ReportOptions()

    @property
    def weights(self) -> str:
        """The type of the weights as records say it, such as bfloat16+int8; empty for the checkpoint's own."""
        return "+".join(filter(None, (self.dtype, self.quantize)))
