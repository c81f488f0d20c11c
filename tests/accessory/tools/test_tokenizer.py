"""The tokenizer of small models: the same bytes every time, and every text comes back."""

import pytest

from accessory.tools.tokenizer import MIN_VOCAB, main, train_tokenizer
from SPHINX_V.errors import ConfigError
from SPHINX_V.processing.conversation import STOP, SYSTEM, Turn, render
from SPHINX_V.processing.tokenizer import Tokenizer

CORPUS = "Please identify the labels of each marked region in the image.\n<Region 1>: red circle\n<Mark 2>: blue box\n"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text(CORPUS * 20, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tokenizer(corpus):
    return Tokenizer(train_tokenizer(corpus, 400))


def test_one_corpus_gives_the_same_bytes(corpus, tokenizer):
    assert train_tokenizer(corpus, 400) == tokenizer.serialized
    assert train_tokenizer(corpus, 401) != tokenizer.serialized


def test_it_has_the_form_of_llama(tokenizer):
    assert (tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_id) == (400, 1, 2)


@pytest.mark.parametrize("text", ["<Region 1>: red circle", "two  spaces", "a\nb", "naïve 漢字 🐈", "x = 42", "~^`|"])
def test_every_text_comes_back(tokenizer, text):
    """Bytes stand in for what the corpus lacks."""
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert 0 not in ids, "<unk> is the label of positions that are no target"


def test_digits_stand_alone(tokenizer):
    assert len(tokenizer.encode("1234")) >= 4


def test_the_template_takes_one_piece_a_part(tokenizer):
    turns = [Turn("Who?", "I."), Turn("And you?", None)]
    text = render(turns).text
    encoded = tokenizer.encode_with_spans(text)
    pieces = [text[start:end] for start, end in encoded.spans]
    for part, times in ((SYSTEM, 1), (STOP, 4), (" Human:", 2), (" Assistant:", 2)):
        assert pieces.count(part) == times, part
    assert tokenizer.decode(encoded.ids) == text


def test_impossible_sizes_are_refused(corpus):
    with pytest.raises(ConfigError, match=f"vocab 100 is too small; the bytes and letters alone take {MIN_VOCAB}"):
        train_tokenizer(corpus, 100)
    with pytest.raises(ConfigError, match="cannot train a tokenizer of 30000 pieces"):
        train_tokenizer(corpus, 30000)


def test_the_command_writes_it_where_no_folder_was(corpus, tokenizer, tmp_path, monkeypatch, capsys):
    out = tmp_path / "new" / "tokenizer.model"
    monkeypatch.setattr("sys.argv", ["tokenizer", str(corpus), str(out), "--vocab", "400"])
    assert main() == 0
    assert out.read_bytes() == tokenizer.serialized
    assert "400 pieces" in capsys.readouterr().out


def test_a_missing_corpus_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tokenizer", str(tmp_path / "no.txt"), str(tmp_path / "out")])
    assert main() == 2
    assert f"{tmp_path / 'no.txt'}: no such corpus" in capsys.readouterr().err
