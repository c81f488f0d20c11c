"""Questions and answers over HTTP: the same texts as in Python, in the shape that OpenAI's clients know."""

import io
import math
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
from PIL import Image

from accessory.serve.options import ServeOptions
from accessory.serve.schema import MOST_CHOICES
from SPHINX_V import Box, EngineOptions, Point, SPHINX_V_Model
from tests.accessory.serve.running import PICTURE, image, mark, refusal, running, text_of, user
from tests.generation.chain_model import chain_model

QUESTION = "What is <Region 1>?"
BOX = (49, 139, 245, 321)


def python(server, turns, prompts=None, picture=PICTURE, **options):
    """What Python says to it, through the same engine."""
    return server.model.generate_response(turns, prompts, picture, **options)


def test_the_answer_is_the_one_that_python_gives(server):
    response = server.ask(image(), mark("box", *BOX), QUESTION, max_tokens=16, temperature=0)
    assert text_of(response) == python(server, [[QUESTION, None]], [Box(*BOX)], max_gen_len=16, temperature=0)
    body = response.json()
    assert body["object"] == "chat.completion"
    assert body["model"] == "sphinx-v"
    assert body["id"].startswith("chatcmpl-")
    assert body["choices"][0]["message"]["role"] == "assistant"
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 16
    assert response.headers["x-request-id"]


def test_defaults_are_those_of_python(server):
    response = server.ask(image(), mark("point", 100, 200), "What is <Mark 1>?", max_tokens=12)
    assert text_of(response) == python(server, [["What is <Mark 1>?", None]], [Point(100, 200)], max_gen_len=12)


def test_a_question_without_a_picture(server):
    answer = python(server, [["Why?", None]], picture=None, max_gen_len=8, seed=5, temperature=1.0, top_p=0.9)
    fields = {"max_completion_tokens": 8, "seed": 5, "temperature": 1.0, "top_p": 0.9}
    assert text_of(server.ask("Why?", **fields)) == answer
    assert text_of(server.post({"messages": [{"role": "user", "content": "Why?"}], **fields})) == answer


def test_a_stream_joins_to_the_whole_answer(server):
    fields = {"max_tokens": 24, "temperature": 1.0, "top_p": 0.9, "seed": 3}
    whole = server.ask(image(), mark("box", *BOX), QUESTION, **fields).json()
    *chunks, total, done = server.events(
        image(), mark("box", *BOX), QUESTION, **fields, stream_options={"include_usage": True}
    )
    assert done == "[DONE]"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len(chunks) > 4
    texts = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "".join(texts) == whole["choices"][0]["message"]["content"]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["length"]
    assert all(chunk["usage"] is None for chunk in chunks)
    assert total["choices"] == []
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    assert [total["usage"][name] for name in names] == [whole["usage"][name] for name in names]


def test_without_include_usage_no_chunk_has_it(server):
    events = server.events("Why?", max_tokens=4)
    assert all("usage" not in event for event in events[:-1])
    assert all(len(event["choices"]) == 1 for event in events[:-1])


def test_marks_are_taken_in_their_order_from_parts_and_from_the_list(server):
    fields = {"max_tokens": 12, "temperature": 0}
    one, two = mark("box", *BOX, id=1), mark("point", 0.5, 0.25, units="norm", id=2)
    size = Image.open(PICTURE).size
    prompts = [Box(*BOX), Point(size[0] * 0.5, size[1] * 0.25)]
    text = "How do <Region 1> and <Mark 2> relate?"
    expected = python(server, [[text, None]], prompts, max_gen_len=12, temperature=0)
    assert text_of(server.ask(image(), one, two, text, **fields)) == expected
    listed = [one["visual_prompt"], two["visual_prompt"]]
    assert text_of(server.ask(image(), text, visual_prompts=listed, **fields)) == expected
    assert text_of(server.ask(image(), one, text, two, **fields)) == expected


def test_every_kind_of_mark_reaches_the_model_as_what_encloses_it(server):
    logits = {}
    for name, part, prompt in (
        ("scribble", mark("scribble", [10, 20], [50.5, 60], [30, 40]), Box(10, 20, 51, 61)),
        ("mask", mark("mask", [10, 20], [50, 20], [50, 60]), Box(10, 20, 50, 60)),
    ):
        said = text_of(server.ask(image(), part, QUESTION, max_tokens=12, temperature=0))
        logits[name] = said
        assert said == python(server, [[QUESTION, None]], [prompt], max_gen_len=12, temperature=0)


def test_several_turns_are_a_conversation_and_are_kept(server):
    first = [image(), mark("box", *BOX), QUESTION]
    answer = text_of(server.ask(*first, max_tokens=8, temperature=0))
    messages = [user(*first), {"role": "assistant", "content": answer}, user("And why?")]
    server.model.engine.forget()
    alone = server.post({"messages": messages, "max_tokens": 8, "temperature": 0}).json()
    assert alone["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    again = server.post({"messages": messages, "max_tokens": 8, "temperature": 0})
    turns = [[QUESTION, answer], ["And why?", None]]
    assert text_of(again) == python(server, turns, [Box(*BOX)], max_gen_len=8, temperature=0)
    usage = again.json()["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"] - 1


def test_a_second_turn_hits_what_the_first_left(server):
    server.model.engine.forget()
    first = [image(), mark("box", *BOX), QUESTION]
    said = server.ask(*first, max_tokens=8, temperature=0).json()
    answer = said["choices"][0]["message"]
    second = server.post({"messages": [user(*first), answer, user("And why?")], "max_tokens": 4}).json()
    # All of the first prompt but perhaps its last token, which may join with the answer's first.
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= said["usage"]["prompt_tokens"] - 1


def test_choices_are_drawn_with_successive_seeds(server):
    fields = {"max_tokens": 10, "temperature": 1.5, "top_p": 1.0}
    three = server.ask("Why?", n=3, seed=11, **fields)
    alone = [text_of(server.ask("Why?", seed=11 + i, **fields)) for i in range(3)]
    assert [text_of(three, i) for i in range(3)] == alone
    assert len(set(alone)) == 3
    assert three.json()["usage"]["completion_tokens"] == 30
    streamed = ["", "", ""]
    for event in server.events("Why?", n=3, seed=11, **fields)[:-1]:
        streamed[event["choices"][0]["index"]] += event["choices"][0]["delta"].get("content", "")
    assert streamed == alone


def test_a_stop_string_ends_the_answer_before_it(server):
    whole = text_of(server.ask("Why?", max_tokens=24, temperature=1.0, top_p=1.0, seed=2))
    stop = whole[6:9]
    cut = server.ask("Why?", max_tokens=24, temperature=1.0, top_p=1.0, seed=2, stop=["not in it", stop])
    assert text_of(cut) == whole[: whole.index(stop)].rstrip()
    assert cut.json()["choices"][0]["finish_reason"] == "stop"
    assert text_of(server.ask("Why?", max_tokens=24, temperature=1.0, top_p=1.0, seed=2, stop=stop)) == text_of(cut)


def test_log_probabilities_are_those_of_the_model(server):
    response = server.ask("Why?", max_tokens=6, temperature=0, logprobs=True, top_logprobs=3)
    content = response.json()["choices"][0]["logprobs"]["content"]
    assert len(content) == 6
    for token in content:
        assert bytes(token["bytes"]).decode() == token["token"]
        assert [top["logprob"] for top in token["top_logprobs"]] == sorted(
            (top["logprob"] for top in token["top_logprobs"]), reverse=True
        )
        assert token["logprob"] == token["top_logprobs"][0]["logprob"]  # greedy
    (likelihood,) = server.model.score([["Why?", None]], [text_of(response)])
    assert likelihood.tokens > 0
    inputs = server.model.processor(turns=[["Why?", None]])
    first = server.model.logits(inputs)[-1].log_softmax(-1).max()
    assert math.isclose(content[0]["logprob"], float(first), abs_tol=1e-4)
    streamed = server.events("Why?", max_tokens=6, temperature=0, logprobs=True, top_logprobs=3)[:-1]
    parts = [event["choices"][0]["logprobs"] for event in streamed]
    assert [token for part in parts if part for token in part["content"]] == content
    assert server.ask("Why?", max_tokens=2).json()["choices"][0]["logprobs"] is None


def test_a_system_message_stands_before_the_first_question(server):
    messages = [{"role": "system", "content": "Be brief."}, user("Why?")]
    said = text_of(server.post({"messages": messages, "max_tokens": 8, "temperature": 0}))
    assert said == python(server, [["Be brief.\nWhy?", None]], picture=None, max_gen_len=8, temperature=0)
    late = [user("Why?"), {"role": "assistant", "content": "So."}, {"role": "system", "content": "x"}, user("Why?")]
    assert refusal(server.post({"messages": late}))["param"] == "messages[2]"


def test_messages_of_the_user_that_follow_each_other_are_one_question(server):
    two = [user(image(), mark("box", *BOX)), user(QUESTION)]
    said = text_of(server.post({"messages": two, "max_tokens": 8, "temperature": 0}))
    assert said == python(server, [[QUESTION, None]], [Box(*BOX)], max_gen_len=8, temperature=0)


def test_alpha_marks_a_region_where_no_mark_is_given(server):
    picture = Image.open(PICTURE).convert("RGB")
    alpha = numpy.zeros((picture.height, picture.width), numpy.uint8)
    alpha[30:90, 20:120] = 1  # above 0 counts, as in the server of Describe Anything
    rgba = picture.copy()
    rgba.putalpha(Image.fromarray(alpha))
    fields = {"max_tokens": 10, "temperature": 0}
    question = "Describe the masked region."
    marked = python(server, [[question, None]], [Box(20, 30, 120, 90)], max_gen_len=10, temperature=0)
    plain = python(server, [[question, None]], [], max_gen_len=10, temperature=0)
    assert text_of(server.ask(image(rgba), question, **fields)) == marked
    other = python(server, [[question, None]], [Box(*BOX)], max_gen_len=10, temperature=0)
    assert text_of(server.ask(image(rgba), mark("box", *BOX), question, **fields)) == other
    rgba.putalpha(255)
    assert text_of(server.ask(image(rgba), question, **fields)) == plain
    rgba.putalpha(0)
    assert "alpha is 0 everywhere" in refusal(server.ask(image(rgba), question))["message"]


def test_coordinates_are_of_the_picture_as_displayed(server):
    stored = Image.open(PICTURE).convert("RGB").rotate(90, expand=True)  # EXIF 6 turns it back by 90° clockwise
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    stored.save(file, "png", exif=exif)
    said = text_of(server.ask(image(file.getvalue()), mark("box", *BOX), QUESTION, max_tokens=10, temperature=0))
    assert said == python(server, [[QUESTION, None]], [Box(*BOX)], max_gen_len=10, temperature=0)


HARMLESS = {
    "user": "me",
    "metadata": {"a": "b"},
    "store": True,
    "service_tier": "auto",
    "parallel_tool_calls": True,
    "frequency_penalty": 0.0,
    "presence_penalty": 0,
    "logit_bias": {},
    "tools": [],
    "tool_choice": "none",
    "response_format": {"type": "text"},
    "stop": None,
    "max_tokens": None,
    "logprobs": False,
}


def test_parameters_without_effect_are_taken(server):
    said = text_of(server.ask("Why?", max_completion_tokens=4, **HARMLESS))
    assert said == text_of(server.ask("Why?", max_completion_tokens=4))


WRONG = {
    "tools": [{"type": "function"}],
    "tool_choice": "required",
    "response_format": {"type": "json_object"},
    "frequency_penalty": 0.5,
    "logit_bias": {"5": -100},
    "reasoning_effort": "high",
    "temprature": 1,
    "n": MOST_CHOICES + 1,
    "temperature": 2.5,
    "top_p": -0.1,
    "seed": -1,
    "stop": ["a", "b", "c", "d", "e"],
    "max_tokens": 0,
    "repetition_penalty": 1e-300,
    "top_logprobs": 3,
    "logprobs": 1,
    "stream": "yes",
    "stream_options": {"include_usage": True},
    "messages": "Why?",
}


@pytest.mark.parametrize("name", WRONG)
def test_parameters_that_would_change_the_answer_are_refused_by_name(server, name):
    error = refusal(server.post({"messages": [user("Why?")], **{name: WRONG[name]}}))
    assert error["type"] == "invalid_request_error"
    assert error["param"] == name
    assert name in error["message"]


def test_a_misspelt_parameter_is_answered_with_the_nearest(server):
    assert "did you mean temperature?" in refusal(server.ask("Why?", temprature=1))["message"]


def test_what_is_probably_not_meant_is_said_beside_the_answer(server):
    over = mark("box", -5, 10, 40, 60)
    body = server.ask(image(), over, "What is <Region 4>?", max_tokens=4).json()
    naming, place = body["warnings"]
    assert "<Region 4>, but 1 prompts" in naming
    assert "prompt 1 Box(-5.0, 10.0, 40.0, 60.0) reaches outside the picture" in place
    *chunks, _ = server.events(image(), over, "What is <Region 4>?", max_tokens=4, n=2)
    assert [chunk["warnings"] for chunk in chunks if "warnings" in chunk] == [body["warnings"]]
    assert chunks[0]["warnings"]


def test_an_answer_to_a_question_that_fits_has_no_field_of_warnings(server):
    parts = (image(), mark("box", *BOX), QUESTION)
    assert "warnings" not in server.ask(*parts, max_tokens=4).json()
    assert not any("warnings" in chunk for chunk in server.events(*parts, max_tokens=4)[:-1])


def test_each_of_many_clients_is_told_of_its_own_question(server):
    def told(number):
        return server.ask(f"What is <Region {number}>?", max_tokens=2).json()["warnings"]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(told, range(1, 17)))
    assert found == [[f"the question names <Region {number}>, but 0 prompts are given."] for number in range(1, 17)]


def test_other_models_are_not_here(server):
    error = refusal(server.ask("Why?", model="gpt-4o"), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "sphinx-v" in error["message"]
    assert text_of(server.ask("Why?", model="sphinx-v", max_tokens=2))


def test_the_models_are_listed(server):
    (model,) = server.http.get("/v1/models").json()["data"]
    assert (model["id"], model["object"]) == ("sphinx-v", "model")
    assert server.http.get("/v1/models/sphinx-v").json() == model
    assert refusal(server.http.get("/v1/models/other"), 404)["code"] == "model_not_found"


def test_a_model_s_name_may_hold_a_slash(endless):
    with running(endless, ServeOptions(model_name="ours/sphinx-v"), EngineOptions(max_rows=1)) as named:
        assert named.http.get("/v1/models/ours/sphinx-v").json()["id"] == "ours/sphinx-v"
        assert refusal(named.http.get("/v1/models/ours"), 404)["code"] == "model_not_found"


def test_small_pieces_of_an_answer_wait_for_nothing(server):
    """With Nagle's algorithm each would wait, for up to 40 ms, until the client has acknowledged the one before."""
    assert server.http.get("/health").status_code == 200
    sockets = [one.transport.get_extra_info("socket") for one in server.server.server_state.connections]
    assert sockets
    assert all(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for sock in sockets)


def test_health_and_ready(server):
    assert server.http.get("/health").json() == {"status": "ok"}
    assert server.http.get("/ready").json() == {"status": "ready"}


@pytest.mark.parametrize("stop", [None, "never said", ["t"]])
def test_the_template_s_own_stop_string_ends_answers_whatever_others_are_given(golden_tokenizer, stop):
    """A model that would go on with the human's next words."""
    begin = golden_tokenizer.encode(" Assistant:")
    said = golden_tokenizer.encode(" Assistant: red cat\n### Human")[len(begin) :]
    model = SPHINX_V_Model(chain_model(golden_tokenizer, [begin[-1], *said]), golden_tokenizer)
    with running(model, engine=EngineOptions(max_rows=1)) as found:
        response = found.ask("What?", temperature=0, stop=stop)
        assert text_of(response) == ("red ca" if stop == ["t"] else "red cat")
        assert response.json()["choices"][0]["finish_reason"] == "stop"
