"""Options from YAML: what is wrong is told with file, line, key and the nearest known key."""

import pytest

from accessory.config import DataOptions, ModelOptions, RunOptions, load_options
from SPHINX_V.errors import ConfigError
from tests.house.repo import ROOT, name_of

GOOD = """\
output: out
model:
  checkpoint: here
data:
  config: data.yaml
  max_words: 512
train:
  lr: 1.0e-3
  batch_size: 4
"""


@pytest.fixture
def written(tmp_path):
    def write(text=GOOD, **changes):
        for old, new in changes.values():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refused(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_options(RunOptions, path, overrides)
    return str(caught.value)


@pytest.mark.parametrize("path", sorted((ROOT / "accessory" / "configs").glob("*.yaml")), ids=name_of)
def test_every_recipe_is_a_run(path):
    assert load_options(RunOptions, path).train.batch_size > 0


def test_values_and_defaults(written):
    options = load_options(RunOptions, written())
    assert (options.output, options.train.lr, options.train.batch_size) == ("out", 1e-3, 4)
    assert options.data.on_bad_sample == "refuse"
    assert options.train.freeze == []
    assert options.train.max_steps is None


def test_states_are_saved_at_the_end_alone_unless_told_otherwise(written):
    save = load_options(RunOptions, written()).save
    assert (save.every, save.keep_last, save.keep_every, save.asynchronous) == (None, 2, None, True)
    save = load_options(RunOptions, written(), ["save.every=500", "save.keep_every=5000"]).save
    assert (save.every, save.keep_every) == (500, 5000)
    assert "override 'save.keep_last=0': save.keep_last: Input should be greater than 0" in refused(
        written(), "save.keep_last=0"
    )


def test_an_unknown_key_names_file_line_and_the_nearest_key(written):
    path = written(change=("  batch_size: 4", "  batch_size: 4\n  warmup_epoch: 1"))
    assert refused(path) == f"{path}, line 10: unknown key train.warmup_epoch; did you mean warmup_epochs?"


def test_an_unknown_key_at_the_top_lists_what_is_known(written):
    path = written(GOOD + "zzz: 1\n")
    assert refused(path) == f"{path}, line 10: unknown key zzz; known: output, model, data, train, parallel, save, log"


def test_a_wrong_type_names_line_and_value(written):
    path = written(change=("max_words: 512", "max_words: many"))
    message = refused(path)
    assert message.startswith(f"{path}, line 6: data.max_words: ")
    assert "integer" in message
    assert "'many'" in message


def test_a_missing_key_names_its_group(written):
    path = written(change=("  lr: 1.0e-3\n", ""))
    assert refused(path) == f"{path}, line 7: train.lr: Field required"


def test_all_faults_are_told_at_once(written):
    path = written(a=("lr: 1.0e-3", "lr: -1"), b=("  max_words: 512", "  max_words: 0"))
    lines = refused(path).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["data.max_words", "train.lr"]


@pytest.mark.parametrize(
    "override, read",
    [
        ("train.lr=2e-5", lambda options: options.train.lr == 2e-5),
        ("train.freeze=[vision, llm.layers]", lambda options: options.train.freeze == ["vision", "llm.layers"]),
        ("data.box_jitter=false", lambda options: options.data.box_jitter is False),
        ("output=a=b", lambda options: options.output == "a=b"),
        ("train.max_steps=null", lambda options: options.train.max_steps is None),
        ("train.betas=[0.8, 0.9]", lambda options: options.train.betas == (0.8, 0.9)),
    ],
)
def test_overrides(written, override, read):
    assert read(load_options(RunOptions, written(), [override]))


def test_the_last_override_wins(written):
    assert load_options(RunOptions, written(), ["output=a", "output=b"]).output == "b"


@pytest.mark.parametrize("override", ["train.lr", "=3", "--lr"])
def test_an_override_without_key_or_value_is_refused(written, override):
    assert f"override {override!r} is not of the form key.sub=value" in refused(written(), override)


def test_a_wrong_override_is_named_and_not_the_line_it_replaces(written):
    message = refused(written(), "train.lr=fast")
    assert message.startswith("override 'train.lr=fast': train.lr: ")
    assert "line" not in message


def test_a_whole_group_can_be_overridden_and_its_lines_are_forgotten(written):
    assert load_options(RunOptions, written(), ["train={lr: 1.0, batch_size: 2}"]).train.batch_size == 2
    override = "train={lr: fast, batch_size: 2}"
    assert refused(written(), override).startswith(f"override {override!r}: train.lr: ")


def test_an_unknown_override_names_the_nearest_key(written):
    message = refused(written(), "train.learning_rat=1", "data.max_word=3")
    assert "override 'data.max_word=3': unknown key data.max_word; did you mean max_words?" in message
    assert "override 'train.learning_rat=1': unknown key train.learning_rat" in message


def test_an_override_below_a_value_is_refused(written):
    assert "output is not a group" in refused(written(), "output.deep=1")


@pytest.mark.parametrize(
    "text, part",
    [
        ("- a\n- b\n", "holds a list"),
        ("", "holds a NoneType"),
        ("a: [1\n", "not valid YAML"),
        ("a: 1\n b: 2\n", "YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(written, text, part):
    path = written(text)
    message = refused(path)
    assert str(path) in message
    assert part in message


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert refused(tmp_path / "no.yaml") == f"{tmp_path / 'no.yaml'}: no such configuration file."
    assert str(tmp_path) in refused(tmp_path)


@pytest.mark.parametrize(
    "values, part",
    [
        ({}, "exactly one of"),
        ({"checkpoint": "a", "preset": "tiny"}, "exactly one of"),
        ({"preset": "huge", "tokenizer": "t"}, "'huge' is unknown; known: sphinx_v_13b, tiny"),
        ({"preset": "tiny"}, "give model.tokenizer"),
    ],
)
def test_a_model_has_one_origin(values, part):
    with pytest.raises(ValueError, match=part):
        ModelOptions.model_validate(values)


def test_on_bad_sample_is_refuse_or_skip():
    with pytest.raises(ValueError, match="'refuse' or 'skip'"):
        DataOptions.model_validate({"config": "a", "max_words": 1, "on_bad_sample": "replace"})


def test_adapters_have_defaults_and_known_targets(written):
    assert load_options(RunOptions, written()).train.lora is None
    lora = load_options(RunOptions, written(), ["train.lora.rank=8"]).train.lora
    assert (lora.rank, lora.alpha, lora.targets) == (8, 32, ("wq", "wk", "wv", "wo", "w1", "w2", "w3"))
    message = refused(written(), "train.lora={targets: [wq, q_proj]}")
    assert "train.lora.targets.1: Input should be 'wq', 'wk'" in message
    assert "'q_proj'" in message
    assert "train.lora.targets: " in refused(written(), "train.lora={targets: []}")
    assert "unknown key train.lora.dropout; known: rank" in refused(written(), "train.lora.dropout=0.1")


def test_options_do_not_change(written):
    options = load_options(RunOptions, written())
    with pytest.raises(ValueError, match="frozen"):
        options.train.lr = 1.0


def test_naming_a_checkpoint_takes_the_place_of_the_files_preset():
    path = ROOT / "accessory" / "configs" / "tiny_stage1.yaml"
    model = load_options(RunOptions, path, ["model.checkpoint=there"]).model
    assert (model.checkpoint, model.preset, model.tokenizer) == ("there", None, None)
    model = load_options(RunOptions, path, ["model.checkpoint=there", "model.tokenizer=own.model"]).model
    assert (model.checkpoint, model.tokenizer) == ("there", "own.model")


def test_naming_a_preset_takes_the_place_of_the_files_checkpoint(written):
    model = load_options(RunOptions, written(), ["model.preset=tiny", "model.tokenizer=t"]).model
    assert (model.checkpoint, model.preset) == (None, "tiny")


@pytest.mark.parametrize("text", ["runs #1/a", "12", "1e3", "[a", "yes"])
def test_a_text_option_is_taken_as_it_stands(written, text):
    assert load_options(RunOptions, written(), [f"output={text}"]).output == text


def test_a_key_that_stands_twice_names_both_lines(written):
    path = written(change=("  lr: 1.0e-3\n", "  lr: 1.0e-3\n  lr: 2.0e-3\n"))
    assert refused(path) == f"{path}, line 9: train.lr stands in line 8 already; keep one of them."


@pytest.mark.parametrize(
    "name, freeze, sizes",
    [
        ("stage1_pretrain", ["vision", "llm.layers"], (4e-5, 24, 2048)),
        ("stage2_finetune", ["vision", "prompt_encoder"], (1e-5, 4, 3072)),
    ],
)
def test_the_published_recipes(name, freeze, sizes):
    options = load_options(RunOptions, ROOT / "accessory" / "configs" / f"{name}.yaml")
    train = options.train
    assert train.freeze == freeze
    assert (train.lr, train.batch_size, options.data.max_words) == sizes
    assert (train.accumulation, train.betas, train.clip_grad, train.weight_decay) == (4, (0.9, 0.95), 8.0, 0.0)
    assert (train.warmup_epochs, train.epochs, train.min_lr) == (0.03, 1.0, 0.0)
    assert (train.mark_loss, train.patch_loss, train.muon_lr) == (0.0, 0.0, None)
