"""Counts and times: in Prometheus' format, and of what happened."""

import re

from SPHINX_V import EngineOptions
from tests.accessory.serve.running import PICTURE, image, running

_LINE = re.compile(r'[a-z_]+(\{[a-z]+="[^"\\\n]*"(,[a-z]+="[^"\\\n]*")*\})? -?[0-9.]+(e[+-][0-9]+)?')


def shown(server):
    """Name with labels → value; every line is checked."""
    response = server.http.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.text.endswith("\n")
    kinds, values = {}, {}
    for line in response.text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in kinds
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            assert _LINE.fullmatch(line), line
            name, _, value = line.rpartition(" ")
            assert name not in values
            values[name.removeprefix("sphinx_v_")] = float(value)
            base = re.sub(r"_(bucket|sum|count)$", "", name.partition("{")[0])
            assert base in kinds or name.partition("{")[0] in kinds
    return values


def test_what_happened_is_counted(endless):
    with running(endless, engine=EngineOptions(max_rows=2)) as server:
        first = server.ask(image(PICTURE), "a", max_tokens=5).json()["usage"]
        second = server.ask(image(PICTURE), "a", max_tokens=5, n=2).json()["usage"]
        server.ask("a", n=10_000)
        server.http.get("/never/was/here")
        found = shown(server)
        chat = 'requests_total{method="POST",route="/v1/chat/completions",status="%d"}'
        assert found[chat % 200] == 2
        assert found[chat % 400] == 1
        assert found['requests_total{method="GET",route="other",status="404"}'] == 1
        assert found["prompt_tokens_total"] == first["prompt_tokens"] + second["prompt_tokens"]
        assert found["cached_prompt_tokens_total"] == second["prompt_tokens_details"]["cached_tokens"] > 0
        assert found["completion_tokens_total"] == found["engine_tokens_total"] == 15
        assert found["engine_finished_total"] == 3
        assert (found["picture_misses_total"], found["rows"]) == (1, 2)
        assert found["rows_running"] == found["queue_length"] == found["preparing"] == 0
        for name in ("first_token_seconds", "answer_seconds"):
            assert found[f"{name}_count"] == found[f'{name}_bucket{{le="+Inf"}}'] == 2
            buckets = [value for label, value in found.items() if label.startswith(f"{name}_bucket")]
            assert buckets == sorted(buckets)
        assert 0 < found["first_token_seconds_sum"] <= found["answer_seconds_sum"]


def test_what_clients_invent_makes_no_new_series(endless):
    with running(endless, engine=EngineOptions(max_rows=1)) as server:
        for number in range(20):
            server.http.get(f"/a%22{number}%0a")
            server.http.request(f"VERB{number}", "/v1/models")
        before = shown(server)
        series = [name for name in before if name.startswith("requests_total")]
        assert len(series) == 2
