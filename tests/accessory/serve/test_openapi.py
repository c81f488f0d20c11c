"""The OpenAPI description: complete, without outside references, and true for whatever it allows and forbids."""

import json
import re

import pytest

from accessory.serve.options import Limits, ServeOptions
from SPHINX_V import EngineOptions
from tests.accessory.serve.running import endless_model, running, until, user

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install schemathesis")
hypothesis = pytest.importorskip("hypothesis")


@pytest.fixture(scope="module")
def quick():
    """A server whose answers are cut after a moment: most questions here ask for long ones."""
    options = ServeOptions(limits=Limits(answer_seconds=0.2))
    with running(endless_model(), options, EngineOptions(max_rows=8, max_len=4096)) as found:
        yield found


def test_what_is_described_is_there_and_refers_to_itself_only(quick):
    found = quick.http.get("/openapi.json").json()
    assert set(found["paths"]) == {
        "/v1/chat/completions",
        "/v1/models",
        "/v1/models/{name}",
        "/health",
        "/ready",
        "/metrics",
    }
    text = json.dumps(found)
    assert '"422"' not in text
    assert "http://" not in text
    assert "https://" not in text
    names = set(found["components"]["schemas"])
    references = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert references <= names
    mark = found["components"]["schemas"]["MarkPart"]["properties"]["visual_prompt"]
    assert mark["properties"]["kind"]["enum"] == ["point", "box", "scribble", "mask"]
    chat = found["paths"]["/v1/chat/completions"]["post"]["responses"]
    assert set(chat) == {"200", "400", "401", "403", "404", "408", "413", "415", "429", "500", "503"}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_nothing_that_is_sent_breaks_the_server_or_the_description(quick, mode):
    """No status, content type or shape that is not described; no server error; what is malformed is refused."""
    checks = schemathesis.checks
    held_to = [
        checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
        checks.negative_data_rejection,
    ]
    description = schemathesis.openapi.from_url(f"http://127.0.0.1:{quick.port}/openapi.json")
    operations = [found.ok() for found in description.get_all_operations()]
    assert len(operations) == 6
    asked = 0
    for operation in operations:
        if mode == "negative" and operation.path != "/v1/chat/completions":
            continue  # nothing can be wrong with them

        @hypothesis.given(case=operation.as_strategy(schemathesis.GenerationMode(mode)))
        @hypothesis.settings(
            max_examples=100 if operation.body else 10,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        def ask(case):
            nonlocal asked
            asked += 1
            case.call_and_validate(checks=held_to, timeout=120)
            if mode == "positive" and case.operation.body and isinstance(case.body, dict):
                # Roles, names and marks that happen to fit are rare: the other fields, of a question that does.
                fields = {name: value for name, value in case.body.items() if name not in ("model", "visual_prompts")}
                case.body = {**fields, "messages": [user("a")]}
                case.call_and_validate(checks=held_to, timeout=120)

        ask()
        assert quick.http.get("/health").status_code == 200
    assert asked > 50
    counted = re.search(r'"/v1/chat/completions",status="200"} (\d+)', quick.http.get("/metrics").text)
    assert mode == "negative" or (counted and int(counted[1]) > 20)
    until(quick.idle)
