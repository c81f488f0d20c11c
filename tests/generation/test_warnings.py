"""What is probably not meant in a question: each stream and answer knows that of its own."""

import threading
import warnings

from SPHINX_V.generation.engine import Engine
from SPHINX_V.generation.options import EngineOptions
from SPHINX_V.generation.request import Request


def test_streams_and_answers_carry_the_warnings_of_their_own_question(golden_model, golden_processor):
    """Submitted by many threads at once, to whom Python's filters of warnings are one thing."""
    engine = Engine(golden_model, golden_processor, EngineOptions(max_rows=4, max_waiting=8))
    found = {}

    def ask(number):
        stream = engine.submit(Request([[f"What is <Region {number}>?", None]], max_gen_len=1))
        found[number] = stream.warnings, stream.answer().warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert engine.submit(Request([["Hello?", None]], max_gen_len=1)).answer().warnings == ()
    assert found == {
        number: ((f"the question names <Region {number}>, but 0 prompts are given.",),) * 2 for number in range(1, 9)
    }
