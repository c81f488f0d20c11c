"""An engine's thread: started and stopped from anywhere, and gone before Python is."""

import subprocess
import sys
import threading

from SPHINX_V.errors import UsageError
from SPHINX_V.generation.engine import Engine
from SPHINX_V.generation.options import EngineOptions
from SPHINX_V.generation.request import Request
from tests.house.repo import ROOT
from tests.launch import ENVIRONMENT

HELLO = Request([["Hello?", None]], max_gen_len=4, temperature=0.0)

_ENDS = """
import torch
from SPHINX_V import EngineOptions, Request, SPHINX_V_Model
torch.set_num_threads(1)
model = SPHINX_V_Model.from_pretrained("tests/golden", device="cpu", dtype=torch.float32)
model.make_engine(EngineOptions(max_rows=1)).start()
stream = model.engine.submit(Request([["Hello?", None]], max_gen_len=1900, temperature=0.0))
next(stream)
print("the program ends")
"""


def refusal(call):
    """What a call says that is refused; "" where it is not."""
    try:
        call()
    except UsageError as error:
        return str(error)
    return ""


def threads_of(name):
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_of_many_threads_that_start_and_stop_one_at_a_time_is_heard(golden_model, golden_processor):
    """Whoever comes second is told so, no thread is left behind, and the engine answers afterwards."""
    engine = Engine(golden_model, golden_processor, EngineOptions(max_rows=2))
    expected = engine.submit(HELLO).answer().ids
    others, most, answered, unexpected = len(threads_of("engine")), [], [], []
    switching = sys.getswitchinterval()

    def use():
        try:
            for _ in range(40):
                assert refusal(engine.start) in ("", "the engine has been started already; stop it first.")
                most.append(len(threads_of("engine")))
                stopped = refusal(lambda: answered.append(engine.submit(HELLO).answer().ids))
                assert stopped in ("", "the engine has been stopped; start it again to ask.")
                engine.stop()
        except BaseException as error:
            unexpected.append(error)
            raise

    users = [threading.Thread(target=use, daemon=True) for _ in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for user in users:
            user.start()
        for user in users:
            user.join(120)
    finally:
        sys.setswitchinterval(switching)
    assert not any(user.is_alive() for user in users), "one waits for an answer that never comes"
    assert not unexpected
    assert answered, "some must come through"
    assert all(ids == expected[: len(ids)] for ids in answered)
    engine.stop()
    assert max(most) <= others + 1
    assert len(threads_of("engine")) == others
    assert engine.submit(HELLO).answer().ids == expected


def test_a_program_that_ends_while_its_engine_answers_ends_well():
    done = subprocess.run(
        [sys.executable, "-c", _ENDS],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "the program ends"), done.stderr
