"""Sends requests to an OpenAI-compatible endpoint: tries again where that can help, gives up by name where not."""

from __future__ import annotations

import email.utils
import os
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accessory.eval.judge.options import JudgeOptions
from accessory.eval.judge.request import JudgeRequest, Reply
from SPHINX_V.errors import JudgeError, UsageError

_AGAIN = (408, 409, 425, 429)  # and everything from 500 on
_FOR_ALL = (401, 403, 404, 405)  # the key, the address or the judge's name: no other request would fare better
_SHOWN = 300  # characters of an endpoint's message


class JudgeUnusable(JudgeError):
    """The endpoint refuses everybody: there is no use in sending the other requests."""


@dataclass(frozen=True)
class Fault:
    """Why a try brought no reply. `wait`: seconds that the endpoint asks for, None where it names none."""

    what: str
    again: bool
    for_all: bool = False
    wait: float | None = None


class Endpoint:
    """One endpoint, shared by threads. Where it asks for patience (429), all of them wait."""

    def __init__(self, options: JudgeOptions, environment: Mapping[str, str] | None = None) -> None:
        self._options = options
        self._environment = os.environ if environment is None else environment
        self._client: Any = None
        self._guard = threading.Lock()
        self._closed_until = 0.0  # time.monotonic()
        self._stopped = threading.Event()
        self._random = random.Random()  # jitter: two processes must not draw the same

    def prepare(self) -> None:
        """Raises UsageError without the client's package or without a key, so that it is known before any painting."""
        with self._guard:
            if self._client is None:
                self._client = self._connect()

    def stop(self) -> None:
        """Ends all waiting; no further try is made."""
        self._stopped.set()

    def send(self, request: JudgeRequest) -> Reply:
        """The reply, after as many tries as it takes.

        Raises JudgeError when the tries are used up or the request itself is refused, and JudgeUnusable when every
        other request would be refused too.
        """
        self.prepare()
        messages = request.messages()
        fault = Fault("the run is being stopped", again=False)
        for attempt in range(self._options.retries + 1):
            if not self._wait_while_closed():
                break
            outcome = self._try(request, messages)
            if isinstance(outcome, Reply):
                return outcome
            fault = outcome
            if fault.for_all:
                raise JudgeUnusable(f"{self._name} refuses: {fault.what}")
            if not fault.again:
                raise JudgeError(f"{self._name} refuses this request: {fault.what}")
            if fault.wait is not None and fault.wait > self._options.longest_wait:
                raise JudgeUnusable(
                    f"{self._name} asks to wait {fault.wait:.0f} s ({fault.what}); longest_wait allows"
                    f" {self._options.longest_wait:g} s. Run again later: replies so far are kept."
                )
            if attempt < self._options.retries:
                self._pause(attempt, fault)
        raise JudgeError(
            f"{self._name} gave no reply in {self._options.retries + 1} tries, at last: {fault.what}."
            " Run again later, or raise retries or timeout; replies so far are kept."
        )

    @property
    def _name(self) -> str:
        return f"judge {self._options.model} at {self._options.base_url}"

    def _connect(self) -> Any:
        try:
            import openai
        except ImportError:
            raise UsageError('asking a judge needs the openai client: pip install -e ".[judge]"') from None
        key = self._environment.get(self._options.key_env, "").strip()
        if not key:
            raise UsageError(
                f"the environment variable {self._options.key_env} is not set: put the key of"
                f" {self._options.base_url} there. A local server without keys takes any word, such as none."
            )
        # Tries are counted here, so that waiting, giving up and their messages are ours.
        return openai.OpenAI(api_key=key, base_url=self._options.base_url, timeout=self._options.timeout, max_retries=0)

    def _try(self, request: JudgeRequest, messages: list[dict[str, Any]]) -> Reply | Fault:
        import openai

        try:
            completion = self._client.chat.completions.create(
                model=request.judge, messages=messages, extra_body=dict(request.fields)
            )
            values = completion.model_dump(warnings=False) if isinstance(completion, openai.BaseModel) else None
        except openai.APITimeoutError:
            return Fault(f"no answer within {self._options.timeout:g} s", again=True)
        except openai.APIConnectionError as error:
            return Fault(f"it cannot be reached ({self._said(error.__cause__ or error)})", again=True)
        except openai.APIStatusError as error:
            return self._refusal(error)
        except (openai.APIError, ValueError) as error:  # ValueError: a body that says it is JSON and is not
            return Fault(f"what came back cannot be read ({self._said(error)})", again=True)
        reply = reply_of(request.key, values)
        return reply or Fault("what came back is no chat completion", again=True)

    def _refusal(self, error: Any) -> Fault:
        status = error.status_code
        what = f"HTTP {status}: {self._said(error.message)}"
        # An account without money answers 429 too, and will go on doing so.
        for_all = status in _FOR_ALL or "insufficient_quota" in (error.code, error.type)
        again = not for_all and (status in _AGAIN or status >= 500)
        return Fault(what, again, for_all, retry_after(error.response.headers))

    def _said(self, message: object) -> str:
        """A message of the endpoint, short and without the key."""
        text = " ".join(str(message).split())
        key = self._environment.get(self._options.key_env, "").strip()
        text = text.replace(key, "***") if key else text
        return text if len(text) <= _SHOWN else text[:_SHOWN] + " …"

    def _pause(self, attempt: int, fault: Fault) -> None:
        seconds = wait_before_next(attempt, fault.wait, self._options, self._random.random())
        if fault.wait is not None:
            with self._guard:
                self._closed_until = max(self._closed_until, time.monotonic() + seconds)
        else:
            self._stopped.wait(seconds)

    def _wait_while_closed(self) -> bool:
        """Waits until the endpoint takes requests again; False where the run is being stopped."""
        while not self._stopped.is_set():
            with self._guard:
                left = self._closed_until - time.monotonic()
            if left <= 0:
                return True
            self._stopped.wait(left)
        return False


def wait_before_next(attempt: int, asked: float | None, options: JudgeOptions, chance: float) -> float:
    """Seconds between try `attempt` (from 0) and the next; `chance` in [0, 1) is the jitter's draw.

    What the endpoint asks for, and a little more so that not all come back at once; else half to all of a span that
    doubles from try to try up to `longest_wait`.
    """
    if asked is not None:
        return asked + chance * options.first_wait
    return min(options.longest_wait, options.first_wait * 2.0**attempt) * (0.5 + 0.5 * chance)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait for: Retry-After as a number or a date, or retry-after-ms."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) * unit
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())


def reply_of(key: str, values: Any) -> Reply | None:
    """The reply in a chat completion's values; None where they are something else. A refusal's words are its text."""
    choices = values.get("choices") if isinstance(values, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return None
    message = choices[0].get("message")
    if not isinstance(message, dict):
        return None
    usage = values.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    text = next((message[name] for name in ("content", "refusal") if isinstance(message.get(name), str)), "")
    reason, model = choices[0].get("finish_reason"), values.get("model")
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    return Reply(
        key=key,
        text=text,
        finish_reason=reason if isinstance(reason, str) else None,
        served_by=model if isinstance(model, str) else "",
        input_tokens=counts[0] if isinstance(counts[0], int) else None,
        output_tokens=counts[1] if isinstance(counts[1], int) else None,
    )
