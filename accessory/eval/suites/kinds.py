"""Which class scores which kind of suite."""

from __future__ import annotations

from accessory.eval.registry import Kind, SuiteEntry
from accessory.eval.suites.base import Resources, Suite
from accessory.eval.suites.captions import Captions
from accessory.eval.suites.choices import Choices
from accessory.eval.suites.exact import ExactAnswer, ExactRegions
from accessory.eval.suites.judged import Judged
from accessory.eval.suites.labels import Labels
from accessory.eval.suites.ocr import Ocr
from accessory.eval.suites.yes_no import YesNo

KINDS: dict[Kind, type[Suite]] = {
    "labels": Labels,
    "ocr": Ocr,
    "captions": Captions,
    "judged": Judged,
    "choices": Choices,
    "yes_no": YesNo,
    "exact_regions": ExactRegions,
    "exact_answer": ExactAnswer,
}


def make_suite(name: str, entry: SuiteEntry, resources: Resources) -> Suite:
    return KINDS[entry.kind](name, entry, resources)
