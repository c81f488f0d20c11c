"""What is shown of an answer: never part of a stop string, never outer white space, all of the rest."""

import pytest

from SPHINX_V.errors import UsageError
from SPHINX_V.generation.text import AnswerText


def show(tokenizer, ids, stops=("\n###",), context=" Assistant:"):
    """The pieces shown for `ids`, and whether a stop string ended them."""
    text = AnswerText(tokenizer, tokenizer.encode(context), stops)
    pieces = []
    for token in ids:
        pieces.append(text.push(token))
        if text.stopped:
            break
    return [*pieces, text.finish()], text.stopped


@pytest.fixture(scope="module")
def encode(golden_tokenizer):
    def ids_of(text):
        # As it stands in a conversation: without the space that the tokenizer puts in front of a text.
        whole, head = (golden_tokenizer.encode(t) for t in (f" Assistant:{text}", " Assistant:"))
        assert whole[: len(head)] == head
        return whole[len(head) :]

    return ids_of


def test_a_stop_string_that_spans_tokens_ends_the_text_and_is_never_seen(golden_tokenizer, encode):
    ids = encode(" a red cat\n### Human: more")
    assert len(golden_tokenizer.encode("\n###")) > 2
    pieces, stopped = show(golden_tokenizer, ids)
    assert stopped
    assert "".join(pieces) == "a red cat"


def test_what_only_looks_like_a_stop_string_is_shown_after_all(golden_tokenizer, encode):
    pieces, stopped = show(golden_tokenizer, encode(" a\n## b\n#c #"))
    assert not stopped
    assert "".join(pieces) == "a\n## b\n#c #"


def test_the_beginning_of_a_stop_string_is_held_back_until_it_is_decided(golden_tokenizer, encode):
    ids = encode(" cat\n## x")
    text = AnswerText(golden_tokenizer, golden_tokenizer.encode(" Assistant:"), ("\n###",))
    shown = [text.push(token) for token in ids]
    newline = ids.index(13)
    assert "".join(shown[:newline]) == "cat"
    assert shown[newline : newline + 2] == ["", ""], "a line break and two of three hashes"
    assert "".join(shown[newline + 2 :]) + text.finish() == "\n## x"


def test_an_unfinished_stop_string_at_the_end_is_text(golden_tokenizer, encode):
    assert "".join(show(golden_tokenizer, encode(" cat\n##"))[0]) == "cat\n##"


@pytest.mark.parametrize("written", ["   a  b  ", "\n\n a\n\n b \n", " ", "\n", ""])
def test_outer_white_space_is_stripped_and_inner_kept(golden_tokenizer, encode, written):
    assert "".join(show(golden_tokenizer, encode(written))[0]) == written.strip()


def test_the_earliest_of_several_stop_strings_counts(golden_tokenizer, encode):
    pieces, stopped = show(golden_tokenizer, encode(" one two three"), stops=("three", "two", "wo t"))
    assert stopped
    assert "".join(pieces) == "one"


def test_overlapping_beginnings_of_stop_strings(golden_tokenizer, encode):
    pieces, stopped = show(golden_tokenizer, encode(" x aab y"), stops=("aab",))
    assert stopped
    assert "".join(pieces) == "x"
    assert "".join(show(golden_tokenizer, encode(" x aaab y"), stops=("aab",))[0]) == "x a"


def test_characters_of_several_bytes_come_whole(golden_tokenizer, encode):
    pieces, _ = show(golden_tokenizer, encode(" Zürich 日本 😀!"))
    assert "".join(pieces) == "Zürich 日本 😀!"
    assert "�" not in "".join(pieces)


def test_a_broken_character_at_the_end_is_marked(golden_tokenizer, encode):
    pieces, _ = show(golden_tokenizer, encode(" a 日")[:-1])
    assert "".join(pieces).startswith("a �")


def test_an_empty_stop_string_is_refused(golden_tokenizer):
    with pytest.raises(UsageError, match="empty"):
        AnswerText(golden_tokenizer, [1], ("",))


def test_the_time_per_token_does_not_grow(golden_tokenizer, encode, monkeypatch):
    sizes = []
    decode = type(golden_tokenizer).decode
    monkeypatch.setattr(type(golden_tokenizer), "decode", lambda self, ids: sizes.append(len(ids)) or decode(self, ids))
    show(golden_tokenizer, encode(" word and ü and more" * 200))
    assert max(sizes) < 16
