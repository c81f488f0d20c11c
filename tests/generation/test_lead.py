"""A model that is split over processes and asked through one of them: real processes, started by torchrun."""

import json

import pytest
import torch

from SPHINX_V.generation.orders import Forget, GiveUp, Idle, Round, Stop, Weigh, from_bytes, to_bytes
from SPHINX_V.generation.prompt import prepare
from SPHINX_V.generation.weighing import Weighing
from tests.generation.lead_worker import BOXES, HELLO, MIXED, PICTURE
from tests.launch import torchrun


def seen_by(folder, processes, module, *arguments):
    done = torchrun(processes, module, folder, *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(processes)]


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def ranks(request, tmp_path_factory):
    """What each process saw."""
    return seen_by(tmp_path_factory.mktemp("ranks"), request.param, "tests.generation.lead_worker")


@pytest.fixture(scope="module")
def leader(ranks):
    return ranks[0]


def test_answers_from_several_threads_are_those_alone(leader):
    threads = leader["threads"]
    assert threads["together"] == threads["alone"]
    assert [bool(text) for text in threads["together"][0]] == [True] * len(MIXED)


def test_scores_beside_running_answers_are_those_of_processes_that_all_ask(leader):
    # The prompt may be kept of an answer that was there before; its rows then are of another product, in float32.
    assert leader["threads"]["scores"] == pytest.approx(leader["before"]["totals"], rel=1e-5)


def test_cancelled_late_damaged_and_refused_requests_end_and_the_others_live(leader):
    ends = leader["ends"]
    assert ends["cancelled"] == ["cancelled", True]
    assert ends["late"] == ["timeout", "timeout", 0]
    assert "logits of token 1 of the answer are not finite (nan)" in ends["not finite"]
    assert ends["full"].startswith("QueueFullError: 4 requests wait already, the limit is max_waiting 4")
    assert ends["kept"] == [leader["before"]["text"]] * 7


@pytest.mark.parametrize("who", ["follower", "leader"])
def test_a_prompt_for_which_one_process_has_no_memory_fails_on_all_and_the_others_live(leader, ranks, who):
    short = leader[f"short for a prompt on the {who}"]
    process, reason = {
        "follower": (1, "CUDA out of memory. Tried to allocate 47.00 MiB"),
        "leader": (0, "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000000000 bytes"),
    }[who]
    assert short["large"].startswith("AnswerError: a prompt of 16")
    assert f" positions: out of memory (process {process} of the model's {len(ranks)}: {reason}" in short["large"]
    assert short["small"].startswith(leader["before"]["text"])
    assert short["again"] == [leader["short for views"]["again"][0], leader["before"]["text"]]


def test_a_picture_for_which_one_process_has_no_memory_is_encoded_once_more(leader):
    short = leader["short for views"]
    assert short["large"] == short["again"][0]
    assert short["small"].startswith(leader["before"]["text"])


def test_a_step_for_which_one_process_has_no_memory_fails_for_all_that_run_and_for_nobody_else(leader):
    short = leader["short in a step"]
    for name in ("large", "small"):
        assert "of the answer: out of memory (process 1 of the model's" in short[name]
    assert short["kept"] == 0, "what processes keep might differ"
    assert short["again"] == leader["short for views"]["again"]


def test_texts_for_which_one_process_has_no_memory_are_not_weighed(leader):
    short = leader["short for texts"]
    assert "positions: out of memory (process 1 of the model's" in short["said"]
    assert short["again"] == leader["before"]["totals"]


def test_where_all_processes_ask_the_first_one_s_clock_counts(ranks):
    assert [seen["all ask"] for seen in ranks] == [["timeout", "timeout"]] * len(ranks)


def test_a_stop_ends_what_is_there_and_a_drain_lets_it_finish(leader):
    assert leader["stopped"]["ends"] == ["cancelled"] * 5
    assert leader["drained"]["text"] == leader["before"]["text"]
    assert leader["last"].startswith("UsageError: the engine has been stopped; start it again")


def test_followers_have_done_the_same(ranks):
    assert all(seen["counts"] == ranks[0]["counts"] for seen in ranks)
    assert ranks[0]["counts"][2] == 5, "one damaged, and four for which memory was short"


def test_what_only_all_processes_can_do_is_refused_by_name(ranks, leader):
    assert leader["stopped"]["not alone"][0].startswith("UsageError: logits() needs all processes of the model")
    assert leader["stopped"]["not alone"][1].startswith("UsageError: make_engine() needs all processes of the model")
    assert "follow() is for the other processes" in leader["wrong part"]
    assert all("the first one leads; call follow() here" in seen["wrong part"] for seen in ranks[1:])


def test_views_that_are_encoded_on_several_processes_are_those_of_one(ranks):
    for seen in ranks:
        # Products of fewer rows may be cut into other blocks, so float32 sums of some 100 terms end in other bits.
        assert seen["views"][0] < 1e-5


@pytest.mark.slow
def test_a_leader_may_be_silent_and_when_it_is_gone_followers_say_so(tmp_path):
    leader, follower = seen_by(tmp_path, 2, "tests.generation.lead_ends_worker", "leader")
    assert leader["text"]
    assert follower["said"].startswith("AnswerError: the process that leads is gone")
    assert follower["again"].startswith("AnswerError: the processes of the model have failed")


@pytest.mark.slow
def test_when_a_follower_is_gone_nobody_waits_and_nothing_more_is_taken(tmp_path):
    leader, follower = seen_by(tmp_path, 2, "tests.generation.lead_ends_worker", "follower")
    assert follower["said"] == "ZeroDivisionError"
    assert all(said.startswith("AnswerError: the engine failed while this was answered") for said in leader["said"])
    for refused in (leader["later"], leader["weighed"]):
        assert refused.startswith("AnswerError: the processes of the model have failed")


def test_orders_arrive_as_they_were_given(golden_processor):
    prompt = prepare(golden_processor, golden_processor.question(PICTURE, BOXES, HELLO.turns), 2048)
    text_only = prepare(golden_processor, golden_processor.question(None, None, HELLO.turns), 2048)
    options = MIXED[3].options()
    for order in (
        Forget(),
        Idle(),
        Stop(),
        GiveUp("no power"),
        Round(),
        Round(ended=((3, "timeout"), (5, "cancelled"))),
    ):
        assert from_bytes(to_bytes(order)) == order
    assert to_bytes(Round()) == b"", "most rounds change nothing"
    heard = from_bytes(to_bytes(Round(((7, prompt, options), (8, text_only, options)))))
    (number, found, how), (other, plain, _) = heard.arrived
    assert (number, found.key, other, plain.key) == (7, prompt.key, 8, text_only.key)
    assert (how, plain.square, plain.slots) == (options, None, None)
    assert torch.equal(found.square, prompt.square)
    for name in ("coords", "is_point", "valid"):
        assert torch.equal(getattr(found.slots, name), getattr(prompt.slots, name))
    weighing = Weighing(text_only, (((5, 6, 7), (1, 2)), ((9, 8), (1,))))
    assert from_bytes(to_bytes(Weigh(weighing))) == Weigh(weighing)
