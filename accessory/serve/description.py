"""The server's OpenAPI description: what goes in, what comes out, which statuses there are."""

from __future__ import annotations

from typing import Any

from accessory.serve.schema import ChatRequest

_REF = "#/components/schemas/{model}"
_REFUSALS = {
    400: "What was sent cannot be answered; the sentence says why and what to do.",
    401: "The key is missing or wrong.",
    403: "The server answers to localhost only.",
    404: "There is nothing of this name.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    415: "The content type is not application/json.",
    429: "Too many questions wait; Retry-After says when to ask again.",
    500: "The question was taken and its answer failed.",
    503: "The server is starting anew or shutting down.",
}
_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}
_TOKEN = {
    "type": "object",
    "properties": {
        "token": {"type": "string"},
        "logprob": {"type": "number"},
        "bytes": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["token", "logprob", "bytes"],
}
_LOGPROBS = {
    "type": ["object", "null"],
    "properties": {
        "content": {
            "type": "array",
            "items": {**_TOKEN, "properties": {**_TOKEN["properties"], "top_logprobs": {"type": "array"}}},  # type: ignore[dict-item]
        }
    },
}
_COMPLETION = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "chat.completion"},
        "created": {"type": "integer"},
        "model": {"type": "string"},
        "choices": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "index": {"type": "integer"},
                    "message": {
                        "type": "object",
                        "properties": {"role": {"const": "assistant"}, "content": {"type": "string"}},
                        "required": ["role", "content"],
                    },
                    "logprobs": _LOGPROBS,
                    "finish_reason": {"enum": ["stop", "length"]},
                },
                "required": ["index", "message", "finish_reason"],
            },
        },
        "usage": {
            "type": "object",
            "properties": {
                "prompt_tokens": {"type": "integer"},
                "completion_tokens": {"type": "integer"},
                "total_tokens": {"type": "integer"},
                "prompt_tokens_details": {
                    "type": "object",
                    "properties": {"cached_tokens": {"type": "integer"}},
                    "required": ["cached_tokens"],
                },
            },
            "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
        },
        "warnings": {
            "type": "array",
            "description": "What in the question is probably not meant, a sentence each; absent where there is nothing."
            " Of a stream it is in the first chunk.",
            "items": {"type": "string"},
            "minItems": 1,
        },
    },
    "required": ["id", "object", "created", "model", "choices", "usage"],
}
_EVENT = {
    "type": "object",
    "description": "One event: its data is a chat.completion.chunk or an error as JSON, and at last [DONE].",
    "properties": {"data": {"type": "string"}},
    "required": ["data"],
}
_MODEL = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
    },
    "required": ["id", "object", "created", "owned_by"],
}
_MODELS = {
    "type": "object",
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL}},
    "required": ["object", "data"],
}
_STATE = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _route(content: dict[str, Any], *statuses: int) -> dict[str, Any]:
    """The keywords of a FastAPI route with this content and these refusals."""
    error = _json({"$ref": _REF.format(model="Error")})
    refusals = {status: {"description": _REFUSALS[status], "content": error} for status in statuses}
    return {"response_model": None, "responses": {200: {"description": "As asked.", "content": content}, **refusals}}


CHAT = {
    **_route(
        {**_json(_COMPLETION), "text/event-stream": {"schema": _EVENT}},
        *(400, 401, 403, 404, 408, 413, 415, 429, 500, 503),
    ),
    "openapi_extra": {"requestBody": {"required": True, "content": _json({"$ref": _REF.format(model="ChatRequest")})}},
}
MODELS = _route(_json(_MODELS), 401, 403)
ONE_MODEL = _route(_json(_MODEL), 401, 403, 404)
STATE = _route(_json(_STATE), 403, 503)
METRICS = _route({"text/plain": {"schema": {"type": "string"}}}, 401, 403)


def complete(description: dict[str, Any], with_keys: bool) -> dict[str, Any]:
    """FastAPI's description with our schemas in it, and without the status 422, which this server does not use."""
    schema = ChatRequest.model_json_schema(ref_template=_REF)
    schemas = {**schema.pop("$defs", {}), "ChatRequest": schema, "Error": _ERROR}
    components = description.setdefault("components", {})
    components["schemas"] = schemas
    if with_keys:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in description["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            if with_keys and path not in ("/health", "/ready"):
                operation["security"] = [{"key": []}]
    return description
