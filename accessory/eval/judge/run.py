"""Judges cases with many requests at once and writes each judgement as soon as those before it are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from accessory.eval.judge.asking import Judge
from accessory.eval.judge.cases import Case
from accessory.eval.judge.endpoint import Endpoint, JudgeUnusable
from accessory.eval.judge.estimate import estimate
from accessory.eval.judge.judgements import Identity, Judgement, check_one_judge, read_judgements
from accessory.eval.judge.protocols import JudgeProtocol
from accessory.eval.judge.request import JudgeRequest, Reply
from accessory.eval.judge.store import ReplyStore
from SPHINX_V.errors import JudgeError, UsageError

MOST_FAILURES_IN_A_ROW = 10  # more say that the endpoint is down, not that a request is odd


def judge_cases(
    cases: Sequence[Case],
    protocol: JudgeProtocol,
    store: ReplyStore,
    out: Path,
    progress: Callable[[Judgement], object] | None = None,
) -> tuple[list[Judgement], list[Reply]]:
    """Judges all cases, in their order; one JSON line each in `out`. Returns them, and the replies that were paid for.

    `out` is written anew from the store, which holds every reply; replies that an `out` of the same judge and prompt
    has and the store lacks are taken over first. Stopped at any moment and started again, it asks only for what is
    missing. A case whose requests fail has a judgement that says why. Raises UsageError where `out` is of another
    judge or prompt, JudgeError where the endpoint refuses everybody or fails too often in a row.
    """
    options = protocol.options
    _take_over(out, protocol, store)
    endpoint = Endpoint(options)
    asked = [protocol.requests(case) for case in cases]
    if estimate([request for requests in asked for request in requests], store, options).requests:
        endpoint.prepare()
    judge = Judge(endpoint, store)
    judgements: list[Judgement] = []
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8") as lines:
        for judgement in _in_order(cases, asked, protocol, judge, endpoint):
            lines.write(judgement.line())
            lines.flush()
            judgements.append(judgement)
            if progress is not None:
                progress(judgement)
    return judgements, judge.asked


def _take_over(out: Path, protocol: JudgeProtocol, store: ReplyStore) -> None:
    """Keeps what an earlier run has left in `out`: it was paid for."""
    if not out.exists():
        return
    earlier = read_judgements(out)
    try:
        check_one_judge([*(one.identity for one in earlier), _identity(protocol)])
    except UsageError as error:
        raise UsageError(f"{out} is there already: {error}") from None
    for one in earlier:
        for reply in one.replies:
            store.add(reply)


def _identity(protocol: JudgeProtocol) -> Identity:
    return Identity(protocol.options.model, protocol.name, protocol.prompt_hash)


def _in_order(
    cases: Sequence[Case],
    asked: Sequence[Sequence[JudgeRequest]],
    protocol: JudgeProtocol,
    judge: Judge,
    endpoint: Endpoint,
) -> Iterator[Judgement]:
    """Judgements in the order of the cases, while later ones are already being asked for."""
    failures = 0
    pool = ThreadPoolExecutor(protocol.options.concurrency)
    try:
        futures: list[Future[Judgement]] = [
            pool.submit(_judge_one, case, requests, protocol, judge) for case, requests in zip(cases, asked)
        ]
        for future in futures:
            judgement = future.result()
            failures = failures + 1 if judgement.failure is not None else 0
            yield judgement
            if failures >= MOST_FAILURES_IN_A_ROW:
                raise JudgeError(
                    f"{failures} cases in a row have failed, so this ends here; the last: {judgement.failure}"
                )
    finally:
        endpoint.stop()
        pool.shutdown(cancel_futures=True)


def _judge_one(case: Case, requests: Sequence[JudgeRequest], protocol: JudgeProtocol, judge: Judge) -> Judgement:
    replies: list[Reply] = []
    failure = None
    try:
        for request in requests:
            replies.append(judge.ask(request))
    except JudgeUnusable:
        raise
    except JudgeError as error:
        failure = str(error)
    verdict = None if failure is not None else protocol.verdict(case, replies)
    return Judgement(
        question_id=case.question_id,
        image_name=case.image_name,
        dataset=case.dataset,
        domain=protocol.domain(case.dataset),
        protocol=protocol.name,
        judge=protocol.options.model,
        prompt_hash=protocol.prompt_hash,
        scores=None if verdict is None else verdict.scores,
        unparsable=0 if verdict is None else verdict.unparsable,
        failure=failure,
        replies=tuple(replies),
    )
