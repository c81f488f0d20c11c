"""Suites and their judge: answers → cases, judgements → the numbers of a judged suite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from accessory.eval.judge.cases import Case
from accessory.eval.judge.dlc import DlcProtocol, cases_of_objects, read_objects
from accessory.eval.judge.judgements import Judgement, check_one_judge, read_judgements
from accessory.eval.judge.options import JudgeOptions
from accessory.eval.judge.protocols import JudgeProtocol
from accessory.eval.judge.registry import PROTOCOLS
from accessory.eval.judge.run import judge_cases
from accessory.eval.judge.store import ReplyStore
from accessory.eval.predictions import Prediction
from accessory.eval.registry import Roots
from accessory.eval.scoring import Answered
from accessory.eval.suites.judged import ItemJudgement, SuiteJudgement
from SPHINX_V.errors import UsageError

ENDING = ".judged.jsonl"
CACHE = "judge_cache.jsonl"
# What orders examples: the value of a case that is its own score, and the most that it can be.
_SHOWN = {"dlc": ("positive", 1.0)}
_GRADE = ("model", 10.0)

Verdicts = dict[tuple[str, str], SuiteJudgement]


def judge_all(answered: Sequence[Answered], roots: Roots, options: JudgeOptions, folder: Path) -> Verdicts:
    """Has a judge look at every judged suite; verdicts by suite and control.

    Judgements are written to `folder`, a file per suite and control; what was judged before is not asked again.
    Raises UsageError, DataError and JudgeError as the judge does.
    """
    todo = [(one, *_cases(one, roots, options)) for one in answered if one.entry.kind == "judged"]
    if not todo:
        return {}
    verdicts: Verdicts = {}
    cache = folder / CACHE if options.cache is None else Path(options.cache)
    total = sum(len(cases) for _, _, cases in todo)
    with ReplyStore(cache) as store, tqdm(total=total, unit="case", disable=None) as bar:
        for one, protocol, cases in todo:
            name = one.suite if one.control == "none" else f"{one.suite}.{one.control}"
            done, _ = judge_cases(cases, protocol, store, folder / f"{name}{ENDING}", lambda _: bar.update())
            verdicts[one.suite, one.control] = _verdict(done)
    return verdicts


def read_verdicts(answered: Mapping[Path, Answered]) -> Verdicts:
    """Verdicts of judgements that lie beside prediction files as `NAME.judged.jsonl`, or in `../judgements`.

    Raises UsageError where they are of several judges or prompts.
    """
    found: dict[tuple[str, str], list[Judgement]] = {}
    for path, one in answered.items():
        name = f"{path.stem}{ENDING}"
        for place in (path.with_name(name), path.parent.parent / "judgements" / name):
            if one.entry.kind == "judged" and place.is_file():
                found[one.suite, one.control] = read_judgements(place)
                break
    check_one_report(judgement for judgements in found.values() for judgement in judgements)
    return {key: _verdict(judgements) for key, judgements in found.items() if judgements}


def check_one_report(judgements: Iterable[Judgement]) -> None:
    """Raises UsageError where one report would hold grades of two judges, or of two prompts for one protocol."""
    by_protocol: dict[str, list[Judgement]] = {}
    for one in judgements:
        by_protocol.setdefault(one.protocol, []).append(one)
    for same in by_protocol.values():
        check_one_judge(one.identity for one in same)
    judges = {same[0].judge for same in by_protocol.values()}
    if len(judges) > 1:
        raise UsageError(f"one report holds judgements of {' and '.join(sorted(judges))}; make one report for each.")


def _verdict(judgements: Sequence[Judgement]) -> SuiteJudgement:
    first = judgements[0]
    protocol = PROTOCOLS[first.protocol]
    shown, highest = _SHOWN.get(first.protocol, _GRADE)
    items = {
        str(one.question_id): ItemJudgement(one.scores, one.failure or ("" if one.scores else "unreadable reply"))
        for one in judgements
    }
    return SuiteJudgement(first.judge, first.prompt_hash, protocol.columns, protocol.compute, shown, highest, items)


def _cases(one: Answered, roots: Roots, options: JudgeOptions) -> tuple[JudgeProtocol, list[Case]]:
    """How a suite is judged, and a case for each answer; items that could not be asked have none."""
    asked = [prediction for prediction in one.predictions if not prediction.fault]
    if one.entry.protocol == DlcProtocol.name:
        assert one.entry.questions is not None  # SuiteEntry has checked both
        assert one.entry.names is not None
        objects = read_objects(roots.file(one.entry.questions), roots.file(one.entry.names))
        return DlcProtocol(options, objects), cases_of_objects(objects, asked, one.suite)
    assert one.entry.protocol is not None
    folder = roots.folder(one.entry.images)
    return PROTOCOLS[one.entry.protocol](options), [_case(one, prediction, folder) for prediction in asked]


def _case(one: Answered, prediction: Prediction, folder: Path) -> Case:
    """Under a control the judge sees the marks that were asked about, not those that the model was shown."""
    marks = one.true_marks.get(prediction.question_id)
    if marks is None and one.control != "none":
        raise UsageError(f"{one.suite}: a judge of a control needs the suite's own file; give --data_root.")
    return Case(
        prediction.question_id,
        one.suite,
        prediction.image_name,
        prediction.question,
        prediction.answer,
        prediction.prediction,
        folder / prediction.image_name,
        prediction.marks if marks is None else marks,
    )
