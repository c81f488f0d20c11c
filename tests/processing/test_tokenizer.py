"""Ids with their places in the text, and a stream that never breaks a character."""

import random

import pytest

from SPHINX_V.errors import CheckpointError
from SPHINX_V.processing.tokenizer import StreamDecoder, Tokenizer

# One, two, three and four bytes in UTF-8; the golden's tokenizer has no piece for the later ones.
TEXTS = ["A cat.", "héé", "漢字", "a😀b", " two  spaces ", "line\n### stop", "x\0y", "ﬁ e\u0301 \ufffd"]


@pytest.mark.parametrize("text", TEXTS)
def test_ids_decode_to_the_text(golden_tokenizer, text):
    assert golden_tokenizer.decode(golden_tokenizer.encode(text)) == text


@pytest.mark.parametrize("text", TEXTS)
def test_spans_cover_the_text_in_order(golden_tokenizer, text):
    encoded = golden_tokenizer.encode_with_spans(text)
    assert encoded.ids == golden_tokenizer.encode(text)
    assert len(encoded.spans) == len(encoded.ids)
    ends = [0, *(end for _, end in encoded.spans)]
    assert [begin for begin, _ in encoded.spans] == ends[:-1], "each piece begins where the last one ended"
    assert ends[-1] == len(text)


def test_the_last_byte_of_a_character_carries_its_span(golden_tokenizer):
    encoded = golden_tokenizer.encode_with_spans("a漢b")
    starts = [begin for begin, end in encoded.spans if end > begin]
    assert starts == [0, 1, 2]
    assert encoded.spans.count((1, 1)) == 2, "the first two of three bytes"


def test_special_ids_and_size(golden_tokenizer):
    assert (golden_tokenizer.bos_id, golden_tokenizer.eos_id) == (1, 2)
    assert golden_tokenizer.vocab_size == 768
    assert not {1, 2} & set(golden_tokenizer.encode("<s> is no beginning and </s> no end"))


def test_a_tokenizer_is_rebuilt_from_its_bytes(golden, golden_tokenizer):
    assert golden_tokenizer.serialized == (golden / "tokenizer.model").read_bytes()
    assert Tokenizer(golden_tokenizer.serialized).encode("A cat.") == golden_tokenizer.encode("A cat.")


@pytest.mark.parametrize("content", [b"", b"no model", b"\x0a\x0b\x0c" * 50])
def test_a_broken_file_is_named(tmp_path, content):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(
        CheckpointError, match=r"tokenizer\.model: not a SentencePiece model .*copy tokenizer\.model again"
    ):
        Tokenizer.from_file(path)


def test_a_truncated_file_is_refused(golden, tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes((golden / "tokenizer.model").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="not a SentencePiece model"):
        Tokenizer.from_file(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone\.model: no such tokenizer; every checkpoint folder needs one"):
        Tokenizer.from_file(tmp_path / "gone.model")
    with pytest.raises(CheckpointError, match="cannot be read"):
        Tokenizer.from_file(tmp_path)


# ---- streams


def streamed(tokenizer, context, ids):
    decoder = StreamDecoder(tokenizer, context)
    pieces = [decoder.push(token) for token in ids]
    return pieces, decoder.flush()


def after(tokenizer, context, ids):
    return tokenizer.decode(context + ids)[len(tokenizer.decode(context)) :]


@pytest.fixture(scope="module")
def context(golden_tokenizer):
    return golden_tokenizer.encode("### Human: Who?\n### Assistant:")


@pytest.mark.parametrize("text", TEXTS)
def test_a_stream_gives_the_text_with_its_first_space(golden_tokenizer, context, text):
    ids = golden_tokenizer.encode("### Human: Who?\n### Assistant: " + text)[len(context) :]
    pieces, rest = streamed(golden_tokenizer, context, ids)
    assert "".join(pieces) + rest == " " + text


def test_characters_of_several_bytes_come_whole(golden_tokenizer, context):
    ids = golden_tokenizer.encode("😀漢é")[1:]
    assert len(ids) == 4 + 3 + 2, "the tokenizer has pieces for these after all: take other characters"
    pieces, rest = streamed(golden_tokenizer, context, ids)
    assert pieces == ["", "", "", "😀", "", "", "漢", "", "é"]
    assert rest == ""


def test_an_incomplete_character_at_the_end_is_shown_by_flush(golden_tokenizer, context):
    ids = golden_tokenizer.encode("b😀")[:-1]
    pieces, rest = streamed(golden_tokenizer, context, ids)
    assert "\ufffd" not in "".join(pieces)
    assert rest == "\ufffd" * rest.count("\ufffd")
    assert rest
    assert "".join(pieces) + rest == after(golden_tokenizer, context, ids)


def test_a_stream_without_context_begins_without_the_space(golden_tokenizer):
    pieces, rest = streamed(golden_tokenizer, [], golden_tokenizer.encode("A cat."))
    assert "".join(pieces) + rest == "A cat."


def test_random_ids_stream_as_they_decode(golden_tokenizer, context):
    """Words, lone bytes, unfinished and impossible characters in any order."""
    chance = random.Random(0)
    first_byte = golden_tokenizer.encode("\0")[-1]
    for _ in range(300):
        length = chance.randrange(1, 25)
        highest = chance.choice([first_byte + 256, golden_tokenizer.vocab_size])
        ids = [chance.randrange(first_byte, highest) for _ in range(length)]
        pieces, rest = streamed(golden_tokenizer, context, ids)
        assert "".join(pieces) + rest == after(golden_tokenizer, context, ids)


def test_random_texts_stream_as_they_are(golden_tokenizer):
    chance = random.Random(1)
    for _ in range(200):
        text = "".join(chance.choice("ab é漢😀\n#") for _ in range(chance.randrange(1, 30)))
        ids = golden_tokenizer.encode("x" + text)
        pieces, rest = streamed(golden_tokenizer, ids[:1], ids[1:])
        assert "".join([golden_tokenizer.decode(ids[:1]), *pieces, rest]) == "x" + text


@pytest.mark.parametrize("begin", [[], [1], [2, 1]])
def test_control_ids_in_a_stream_leave_no_trace(golden_tokenizer, context, begin):
    """A model may say BOS in the middle; the word after it keeps its space."""
    first, second = golden_tokenizer.encode("a cat"), golden_tokenizer.encode("the dog")
    ids = [1, *first, 1, *second, 1, 1, *second, 2]
    pieces, rest = streamed(golden_tokenizer, [*begin, *context, *begin], ids)
    assert "".join(pieces) + rest == " a cat the dog the dog" == after(golden_tokenizer, context, ids)
    pieces, rest = streamed(golden_tokenizer, begin, ids)
    assert "".join(pieces) + rest == golden_tokenizer.decode(ids) == "a cat the dog the dog"


def test_random_ids_with_control_ids_stream_as_they_decode(golden_tokenizer, context):
    chance = random.Random(2)
    for _ in range(300):
        ids = [chance.randrange(golden_tokenizer.vocab_size) for _ in range(chance.randrange(1, 25))]
        for place in range(chance.randrange(1, 5)):
            ids.insert(chance.randrange(len(ids) + 1), 1 + place % 2)
        pieces, rest = streamed(golden_tokenizer, context, ids)
        assert "".join(pieces) + rest == after(golden_tokenizer, context, ids)


class CountingTokenizer(Tokenizer):
    """The tokenizer itself, which also counts the ids that it decodes."""

    decoded = 0

    def decode(self, ids):
        self.decoded += len(ids)
        return super().decode(ids)


def test_a_long_stream_takes_linear_time(golden_tokenizer, context):
    """Each id is decoded a few times, with its neighbours, however long the text before it is."""
    counting = CountingTokenizer(golden_tokenizer.serialized)
    ids = golden_tokenizer.encode("the cat é sat 漢 on 😀 " * 400)
    pieces, rest = streamed(counting, context, ids)
    assert "".join(pieces) + rest == after(golden_tokenizer, context, ids)
    # At most: one id in front and four bytes of a character, with and without the new one.
    assert counting.decoded < 10 * len(ids)


def test_ids_with_a_text_of_their_own_are_not_decoded_again(golden_tokenizer, context):
    counting = CountingTokenizer(golden_tokenizer.serialized)
    ids = golden_tokenizer.encode("the cat sat on the mat " * 50)
    assert all(counting.plain_text(token) is not None for token in ids)
    decoder = StreamDecoder(counting, context)
    counting.decoded = 0
    assert "".join(map(decoder.push, ids)) + decoder.flush() == after(golden_tokenizer, context, ids)
    assert counting.decoded < 20, "only where the stream begins and ends"


def test_ids_that_are_parts_of_characters_or_no_text_have_no_text_of_their_own(golden_tokenizer):
    first_byte = golden_tokenizer.encode("\0")[-1]
    assert [golden_tokenizer.plain_text(token) for token in (0, 1, 2, first_byte, first_byte + 255)] == [None] * 5
    cat = golden_tokenizer.encode("a cat")[-1]
    assert golden_tokenizer.plain_text(cat) == golden_tokenizer.decode([*golden_tokenizer.encode("a"), cat])[1:]


def test_blank_pieces_are_those_without_a_word(golden_tokenizer):
    ids = golden_tokenizer.encode("a  b\n")
    for _ in range(2):
        blank = [golden_tokenizer.is_blank(token) for token in ids]
        assert blank == [not golden_tokenizer.decode([token]).strip() for token in ids]
    assert set(blank) == {True, False}
    assert golden_tokenizer.is_blank(golden_tokenizer.bos_id)
