"""The routes, as a FastAPI application."""

# No `from __future__ import annotations` here: FastAPI reads the routes' annotations, and their names are local.

import logging
import time
from contextlib import aclosing, asynccontextmanager
from typing import Any

from accessory.serve import description
from accessory.serve import metrics as prometheus
from accessory.serve.door import App, Door
from accessory.serve.errors import MEDIA_TYPE, ApiError, ClientGone, as_api_error, to_json
from accessory.serve.service import Service
from SPHINX_V.errors import SphinxVError

_log = logging.getLogger("uvicorn.error")


def create_app(service: Service) -> App:
    """The ASGI application of a service whose engine has been started."""
    from fastapi import FastAPI, Request
    from fastapi.responses import PlainTextResponse, Response, StreamingResponse
    from starlette.exceptions import HTTPException

    class Json(Response):
        media_type = MEDIA_TYPE

        def render(self, content: Any) -> bytes:
            return to_json(content)

    class EventStream(StreamingResponse):
        """Events of a generator that notices by itself when the client hangs up."""

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async with aclosing(self.body_iterator):  # type: ignore[type-var]
                await self.stream_response(send)

    @asynccontextmanager
    async def lifespan(_: Any) -> Any:
        service.open()
        yield
        service.close()

    # No documentation pages: theirs load scripts from the network.
    app = FastAPI(title="SPHINX-V", docs_url=None, redoc_url=None, lifespan=lifespan, redirect_slashes=False)
    model = {"id": service.options.model_name, "object": "model", "created": int(time.time()), "owned_by": "local"}
    plain = app.openapi
    app.openapi = lambda: description.complete(plain(), bool(service.options.keys))  # type: ignore[method-assign]

    def refuse(error: ApiError) -> Response:
        return Json(error.body(), error.status, error.headers)

    @app.exception_handler(SphinxVError)
    async def ours(_: Request, error: SphinxVError) -> Response:
        if isinstance(error, ClientGone):
            service.metrics.disconnects += 1
            return Response(status_code=499)  # to nobody
        found = as_api_error(error, service.retry_after())
        if found.status >= 500 and found.code == "answer_failed":
            _log.error("%s", error)
        return refuse(found)

    @app.exception_handler(HTTPException)
    async def theirs(request: Request, error: HTTPException) -> Response:
        path = request.url.path[:80]
        if error.status_code == 404:
            return refuse(ApiError(f"there is nothing at {path}; see /openapi.json.", 404, code="not_found"))
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "")
            text = f"{path} does not take {request.method[:20]}; use {allowed}."
            return refuse(ApiError(text, 405, code="method_not_allowed", headers={"Allow": allowed}))
        return refuse(ApiError(str(error.detail), error.status_code))

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> Response:
        # Starlette raises it again after this, so that the log has all of it; the client gets none.
        return refuse(ApiError("something in the server broke; its log says what.", 500, code="internal_error"))

    @app.post("/v1/chat/completions", **description.CHAT)
    async def chat(request: Request) -> Response:
        """Answers the last question of a conversation about one picture and the marks on it, or about none."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != MEDIA_TYPE:
            raise ApiError(f"the content type is {kind[:60]!r}; send {MEDIA_TYPE}.", 415, code="wrong_content_type")
        length = request.headers.get("content-length")
        question = await service.take(request.receive, None if length is None else int(length))
        if question.asked.stream:
            return EventStream(service.events(question), media_type="text/event-stream")
        return Json(await service.whole(question))

    @app.get("/v1/models", **description.MODELS)
    async def models() -> Response:
        """The one model that is served."""
        return Json({"object": "list", "data": [model]})

    @app.get("/v1/models/{name:path}", **description.ONE_MODEL)  # a name may hold a slash
    async def one_model(name: str) -> Response:
        """The model of this name."""
        if name != service.options.model_name:
            raise ApiError(f"there is no model {name[:80]!r} here; see /v1/models.", 404, code="model_not_found")
        return Json(model)

    @app.get("/health", **description.STATE)
    async def health() -> Response:
        """Does the server live? 503 where only a new start helps."""
        if not service.engine.started and not service.closing:
            raise ApiError("the engine does not run; the server must be started anew.", 503, code="engine_stopped")
        return Json({"status": "ok"})

    @app.get("/ready", **description.STATE)
    async def ready() -> Response:
        """Does the server take questions now? 503 while it shuts down."""
        refusal = service.why_not_ready()
        if refusal is not None:
            raise refusal
        return Json({"status": "ready"})

    @app.get("/metrics", **description.METRICS)
    async def metrics() -> Response:
        """Counts and times for Prometheus."""
        text = service.metrics.text(service.engine, service.preparing)
        return PlainTextResponse(text, media_type=prometheus.MEDIA_TYPE)

    return Door(app, service.options, service.metrics)
