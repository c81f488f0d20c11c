"""The official client, unchanged: whole and streamed answers, marks in extra_body, errors as its own exceptions."""

import asyncio

import pytest

from accessory.serve.keys import Keys
from accessory.serve.options import ServeOptions
from SPHINX_V import Box, EngineOptions
from tests.accessory.serve.running import PICTURE, data_uri, running

openai = pytest.importorskip("openai", reason='needs OpenAI\'s client: pip install -e ".[judge]"')

KEY = "a-key-of-this-test-only"
QUESTION = "What is <Region 1>?"
MESSAGES = [
    {
        "role": "user",
        "content": [
            {"type": "image_url", "image_url": {"url": data_uri(PICTURE), "detail": "high"}},
            {"type": "text", "text": QUESTION},
        ],
    }
]
MARKS = {"visual_prompts": [{"kind": "box", "coords": [49, 139, 245, 321], "units": "px", "id": 1}]}
USAGE = {"include_usage": True}
FIELDS = {"model": "sphinx-v", "messages": MESSAGES, "max_tokens": 12, "temperature": 0, "extra_body": MARKS}


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.url, api_key="none is needed", max_retries=0) as found:
        yield found


@pytest.fixture(scope="module")
def expected(server):
    prompts = [Box(49, 139, 245, 321)]
    return server.model.generate_response([[QUESTION, None]], prompts, PICTURE, max_gen_len=12, temperature=0)


def test_a_whole_answer(client, expected):
    said = client.chat.completions.create(**FIELDS)
    assert said.choices[0].message.content == expected
    assert said.choices[0].finish_reason == "length"
    assert said.usage.total_tokens == said.usage.prompt_tokens + 12
    assert said.usage.prompt_tokens_details.cached_tokens >= 0
    assert said._request_id


def test_warnings_are_one_more_field_that_the_client_keeps(client, expected):
    fields = {
        **FIELDS,
        "extra_body": {"visual_prompts": [*MARKS["visual_prompts"], {"kind": "point", "coords": [1, 1]}]},
    }
    assert client.chat.completions.create(**fields).model_extra == {}
    messages = [{"role": "user", "content": [*MESSAGES[0]["content"], {"type": "text", "text": "And <Region 2>?"}]}]
    said = client.chat.completions.create(**{**fields, "messages": messages})
    (sentence,) = said.model_extra["warnings"]
    assert "prompt 2 is a Point" in sentence
    assert said.choices[0].message.content
    with client.chat.completions.create(**{**fields, "messages": messages}, stream=True) as stream:
        first, *others = list(stream)
    assert first.model_extra["warnings"] == [sentence]
    assert all(chunk.model_extra == {} for chunk in others)


def test_a_stream(client, expected):
    with client.chat.completions.create(**FIELDS, stream=True, stream_options=USAGE) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == expected
    assert chunks[-1].usage.completion_tokens == 12


def test_the_client_s_own_accumulation_of_a_stream(client, expected):
    stop = expected[-1]  # the client's helper takes an answer that was cut for an error
    with client.chat.completions.stream(
        **FIELDS, stop=stop, logprobs=True, top_logprobs=2, stream_options=USAGE
    ) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content == expected.partition(stop)[0].rstrip() != ""
    assert len(final.choices[0].logprobs.content) == final.usage.completion_tokens
    assert len(final.choices[0].logprobs.content[0].top_logprobs) == 2


def test_the_answer_s_message_can_be_sent_back_as_it_is(client):
    said = client.chat.completions.create(**FIELDS)
    messages = [*MESSAGES, said.choices[0].message, {"role": "user", "content": "And why?"}]
    second = client.chat.completions.create(**{**FIELDS, "messages": messages})
    assert second.choices[0].message.content
    assert second.usage.prompt_tokens_details.cached_tokens >= said.usage.prompt_tokens - 1


def test_the_models(client):
    assert [model.id for model in client.models.list()] == ["sphinx-v"]
    assert client.models.retrieve("sphinx-v").object == "model"


def test_many_at_a_time(server, expected):
    async def ask_all():
        async with openai.AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(client.chat.completions.create(**FIELDS) for _ in range(10)))

    assert {said.choices[0].message.content for said in asyncio.run(ask_all())} == {expected}


def test_errors_are_the_client_s_own(client):
    with pytest.raises(openai.BadRequestError, match="leave tools out") as caught:
        client.chat.completions.create(**FIELDS, tools=[{"type": "function", "function": {"name": "f"}}])
    assert caught.value.param == "tools"
    with pytest.raises(openai.NotFoundError, match="this server's is 'sphinx-v'"):
        client.chat.completions.create(**{**FIELDS, "model": "gpt-4o"})


def test_a_wrong_key_is_an_authentication_error(endless):
    with running(endless, ServeOptions(keys=Keys([KEY])), EngineOptions(max_rows=1)) as server:
        with (
            openai.OpenAI(base_url=server.url, api_key="another-key-of-this-test", max_retries=0) as client,
            pytest.raises(openai.AuthenticationError, match="not one of this server's"),
        ):
            client.models.list()
        with openai.OpenAI(base_url=server.url, api_key=KEY) as client:
            assert client.models.list().data


def test_the_client_waits_and_comes_again_when_the_queue_is_full(endless):
    with running(endless, engine=EngineOptions(max_rows=1, max_waiting=1)) as server:
        fields = {"model": "sphinx-v", "messages": [{"role": "user", "content": "a"}], "temperature": 0}

        async def ask_all():
            async with openai.AsyncOpenAI(base_url=server.url, api_key="none", max_retries=50) as client:
                asked = (client.chat.completions.create(**fields, max_tokens=20) for _ in range(6))
                return await asyncio.gather(*asked)

        assert len({said.choices[0].message.content for said in asyncio.run(ask_all())}) == 1
        assert 'status="429"' in server.http.get("/metrics").text
