"""The command line: judges prediction files, or shows the table of judgements that are there already.

python -m accessory.eval.judge PRED.jsonl --protocol mdvp --items FILE --image_root DIR --model NAME --base_url URL
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from accessory.config import validate
from accessory.eval.items import read_items
from accessory.eval.judge.cases import Case, cases_of, cases_without_items, read_contexts, read_predictions
from accessory.eval.judge.dlc import DlcProtocol, cases_of_objects, read_objects
from accessory.eval.judge.estimate import estimate, spent
from accessory.eval.judge.judgements import Judgement, check_each_once, read_judgements
from accessory.eval.judge.options import JudgeOptions
from accessory.eval.judge.protocols import JudgeProtocol
from accessory.eval.judge.registry import PROTOCOLS
from accessory.eval.judge.request import Reply
from accessory.eval.judge.run import judge_cases
from accessory.eval.judge.scores import summarise, table
from accessory.eval.judge.store import ReplyStore
from SPHINX_V.errors import SphinxVError, UsageError

_SHOWN = 10  # failures that are listed


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m accessory.eval.judge",
        description="Has a vision-language model grade predictions: writes PRED.judged.jsonl and prints a table."
        " Stopped and started again, it pays for no reply twice.",
    )
    add = parser.add_argument
    add("predictions", nargs="+", metavar="PRED", help="JSON lines of predictions, or an old result file")
    add("--protocol", choices=PROTOCOLS, help="what is asked, and what replies are worth")
    add("--items", nargs="+", metavar="FILE", help="benchmark file of each PRED, in their order")
    add("--image_root", metavar="DIR", help="where the items' pictures lie")
    add("--context", metavar="FILE", help="words about the pictures: a list of {image, prompt}")
    add("--class_names", metavar="FILE", help="DLC-Bench's class_names.json; --items is its qa.json")
    add("--out", metavar="FILE", help="the judgements of a single PRED (default: PRED.judged.jsonl)")
    add("--dry_run", action="store_true", help="send nothing: show counts, cost, a prompt and a painted picture")
    add("--table", action="store_true", help="PRED are judgements: show their table and ask nobody")
    add = parser.add_argument_group("the judge").add_argument
    for name, field in JudgeOptions.model_fields.items():
        said = f"{field.description}"
        if name == "picture":
            add("--no_picture", dest=name, action="store_false", default=None, help=f"do not {said}")
        elif name == "request":
            said += f"; the value in YAML, null leaves the field out (default: {field.default})"
            add("--set", dest=name, action="append", metavar="KEY=VALUE", help=said)
        else:
            default = "" if field.is_required() or field.default is None else f" (default: {field.default})"
            add(f"--{name}", help=said + default)
    return parser


def _options(given: argparse.Namespace) -> JudgeOptions:
    values: dict[str, Any] = {
        name: value for name in JudgeOptions.model_fields if (value := getattr(given, name)) is not None
    }
    if given.request is not None:
        values["request"] = _request_fields(given.request)
    origins = {(name,): f"--{name}" for name in values}
    return validate(JudgeOptions, values, "the command line", origins)


def _request_fields(assignments: Sequence[str]) -> dict[str, Any]:
    fields = dict(JudgeOptions.model_fields["request"].default)
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            separator, value = "", None
        if not key or not separator:
            raise UsageError(f"--set {assignment}: write KEY=VALUE, such as max_tokens=2000, the value in YAML.")
        fields[key] = value
    return {key: value for key, value in fields.items() if value is not None}


def _jobs(given: argparse.Namespace, options: JudgeOptions) -> tuple[JudgeProtocol, list[list[Case]]]:
    """The protocol, and the cases of each prediction file."""
    paths = [Path(path) for path in given.predictions]
    items = [Path(path) for path in given.items or ()]
    if given.protocol == DlcProtocol.name:
        if len(items) != 1 or given.class_names is None:
            raise UsageError("protocol dlc needs --items qa.json and --class_names class_names.json of DLC-Bench.")
        objects = read_objects(items[0], Path(given.class_names))
        cases = [cases_of_objects(objects, read_predictions(path), str(path)) for path in paths]
        return DlcProtocol(options, objects), cases
    contexts = None if given.context is None else read_contexts(Path(given.context))
    protocol = PROTOCOLS[given.protocol](options)
    if not items and not options.picture:
        return protocol, [cases_without_items(read_predictions(path), path.stem, str(path), contexts) for path in paths]
    if len(items) != len(paths) or given.image_root is None:
        raise UsageError(
            f"{len(paths)} prediction files and {len(items)} files of --items: each needs the one that it answers, in"
            " the same order, and --image_root, where the pictures lie."
        )
    root = Path(given.image_root)
    return protocol, [
        cases_of(read_items(one, root), read_predictions(path), str(path), contexts) for path, one in zip(paths, items)
    ]


def _outs(given: argparse.Namespace) -> list[Path]:
    paths = [Path(path) for path in given.predictions]
    if given.out is not None:
        if len(paths) > 1:
            raise UsageError(f"--out names one file, {len(paths)} prediction files are given; leave it out.")
        return [Path(given.out)]
    outs = [path.with_name(f"{path.stem}.judged.jsonl") for path in paths]
    twice = next((out for out in outs if outs.count(out) > 1), None)
    if twice is not None:
        raise UsageError(f"judgements of two prediction files would go to {twice}; judge them one by one, with --out.")
    return outs


def _dry_run(protocol: JudgeProtocol, cases: Sequence[Case], store: ReplyStore, picture: Path) -> None:
    plan = estimate([one for case in cases for one in protocol.requests(case)], store, protocol.options)
    print(plan.report(protocol.options), end="")
    if plan.sample is None:
        return
    print(f"\n--- system\n{plan.sample.system}\n--- prompt\n{plan.sample.text}\n---")
    if plan.sample.picture is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(plan.sample.picture.jpeg())
        print(f"picture: {picture}")


def _judge(given: argparse.Namespace) -> int:
    if given.protocol is None:
        raise UsageError(f"name the --protocol: {', '.join(PROTOCOLS)}.")
    options, outs = _options(given), _outs(given)
    protocol, jobs = _jobs(given, options)
    check_each_once((case.dataset, case.question_id) for cases in jobs for case in cases)
    cache = Path(options.cache) if options.cache is not None else outs[0].with_name("judge_cache.jsonl")
    judgements: list[Judgement] = []
    paid: list[Reply] = []
    with ReplyStore(cache) as store:
        if given.dry_run:
            _dry_run(protocol, [case for cases in jobs for case in cases], store, outs[0].with_suffix(".sample.jpg"))
            return 0
        with tqdm(total=sum(map(len, jobs)), unit="case", disable=None) as bar:
            for cases, out in zip(jobs, outs):
                done, replies = judge_cases(cases, protocol, store, out, lambda _: bar.update())
                judgements += done
                paid += replies
    print(table(summarise(judgements)), end="")
    print(f"\n{spent(paid, options)}")
    return _outcome(judgements)


def _outcome(judgements: Sequence[Judgement]) -> int:
    """Lists what has failed; 1 where something has, or where there is no score at all."""
    failed = [one for one in judgements if one.failure is not None]
    for one in failed[:_SHOWN]:
        print(f"failed: question {one.question_id} of {one.dataset}: {one.failure}", file=sys.stderr)
    if len(failed) > _SHOWN:
        print(f"failed: {len(failed) - _SHOWN} more", file=sys.stderr)
    if not any(one.scores is not None for one in judgements):
        print("no reply could be read as grades: is this judge able to keep to the form?", file=sys.stderr)
        return 1
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 where a case has failed or none has a score; 2 with one line for what the user can mend."""
    given = build_parser().parse_args(sys.argv[1:] if argv is None else argv)
    try:
        if not given.table:
            return _judge(given)
        print(table(summarise([one for path in given.predictions for one in read_judgements(Path(path))])), end="")
        return 0
    except SphinxVError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; replies so far are kept, the same command goes on from here.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
