"""The page as a Gradio application: one HTML component with our own files, its calls, and the event that asks."""

# No `from __future__ import annotations` here: Gradio reads the types of handlers, and its own are known only inside
# `build`, where the optional package is imported.
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any, get_args

from accessory.data.labels import Task, question
from accessory.demos.asking import SETTINGS, answer_states, read_request
from accessory.demos.calls import Calls, reply_to
from accessory.demos.examples import examples
from accessory.demos.guard import MOST_BODY, Guard
from accessory.demos.session import Sessions
from accessory.page.resources import resource
from accessory.serve.keys import in_address, is_loopback
from SPHINX_V.errors import SphinxVError, UsageError
from SPHINX_V.generation.engine import Engine

_CANVAS = ("marks", "view", "paint", "masks", "toolbar", "gestures", "keyboard", "canvas")
_PAGE = ("dom", "wire", "mentions", "files", "chat", "composer", "picture", "segments", "studio")
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "Arial", "sans-serif")
_MONO = ("ui-monospace", "Liberation Mono", "Menlo", "monospace")


@dataclass(frozen=True)
class Shown:
    """What the page says of the model, and what it must know of it."""

    model: str
    device: str
    slots: int
    sam: bool


def gradio() -> Any:
    """The optional package. Raises UsageError with the line that installs it."""
    try:
        import gradio
    except ImportError:
        raise UsageError("the demo needs Gradio: pip install -e '.[demo]'") from None
    return gradio


def build(engine: Engine, shown: Shown, sessions: Sessions, segmenter: Any = None) -> Any:
    """The `gradio.Blocks` of the demo; `launch` below serves it."""
    gr = gradio()
    calls = Calls(sessions, shown.slots, segmenter)

    def hello(request: gr.Request):  # type: ignore[no-untyped-def, name-defined]
        return {"kind": "session", "key": sessions.open(str(request.session_hash)).key}

    async def ask(event: gr.EventData) -> AsyncIterator[dict[str, Any]]:  # type: ignore[name-defined]
        value = event._data if isinstance(event._data, dict) else {}
        ticket = value.get("ticket")
        try:
            session = sessions.find(value.get("session"))
            request = read_request(value.get("question"), session, shown.slots)
            async for state in answer_states(engine, request, session):
                yield {"kind": "answer", "ticket": ticket, **state}
        except SphinxVError as error:
            yield {"kind": "answer", "ticket": ticket, "done": True, **reply_to(error)}

    def goodbye(request: gr.Request) -> None:  # type: ignore[name-defined]
        sessions.close(str(request.session_hash))

    with gr.Blocks(title="SPHINX-V", analytics_enabled=False, delete_cache=(3600, 3600), fill_width=True) as page:
        studio = gr.HTML(
            None,
            html_template=resource("accessory.demos.page", "page.html"),
            css_template=_style(),
            js_on_load=_script(),
            apply_default_css=False,
            elem_id="studio",
            server_functions=calls.all(),
            facts={**asdict(shown), **_facts()},
        )
        quiet = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "multiple"}
        page.load(hello, None, studio, queue=False, **quiet)
        studio.hello(hello, None, studio, queue=False, **quiet)
        studio.ask(ask, None, studio, concurrency_limit=None, **quiet)
        page.unload(goodbye)
    return page


def launch(page: Any, host: str, port: int, **options: Any) -> Any:
    """Serves the page at host and port without blocking; returns what Gradio's `launch` does."""
    from starlette.middleware import Middleware

    gr = gradio()
    base = gr.themes.Base(font=_FONTS, font_mono=_MONO).set(
        body_background_fill="#f6f5f1", body_background_fill_dark="#14181d", body_text_color="#1c2430",
        body_text_color_dark="#e7eaee",
    )  # fmt: skip
    return page.launch(
        server_name=in_address(host),
        server_port=port,
        share=False,
        prevent_thread_lock=True,
        quiet=True,
        theme=base,
        css=resource("accessory.demos.page", "frame.css"),
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        max_file_size=MOST_BODY,
        app_kwargs={"middleware": [Middleware(Guard, local=is_loopback(host))], "docs_url": None, "redoc_url": None},
        **options,
    )


def _facts() -> dict[str, Any]:
    return {
        "examples": [asdict(example) for example in examples()],
        "questions": {task: [question(task, points=False), question(task, points=True)] for task in get_args(Task)},
        "settings": list(SETTINGS),
    }


def _style() -> str:
    return resource("accessory.demos.canvas", "canvas.css") + resource("accessory.demos.page", "page.css")


def _script() -> str:
    files = [("accessory.demos.canvas", f"{name}.js") for name in _CANVAS]
    files += [("accessory.demos.page", f"{name}.js") for name in _PAGE]
    # Gradio looks for the quoted names of our own events, "ask" and "hello", in this text.
    return (
        "\n".join(resource(*file) for file in files) + "\nSphinxDemo.start(element, { trigger, props, server, watch });"
    )
