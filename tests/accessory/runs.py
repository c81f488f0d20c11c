"""Small training runs for tests: data sets on disk, configurations, and the real entry point called in this process."""

import hashlib
import json
from pathlib import Path

import torch
import yaml

from accessory.main import main
from SPHINX_V.weights.tensor_files import TensorFile
from tests.golden_model import GOLDEN

FREEZE = {1: ["vision", "llm.layers"], 2: ["vision", "prompt_encoder"]}


def talk(question, answer, **fields):
    """An annotation of one turn."""
    return {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}], **fields}


def write_data(folder, *files):
    """One annotation file per list in `files`, in a data configuration, with the golden's picture beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "image.png").write_bytes((GOLDEN / "image.png").read_bytes())
    sources = []
    for number, items in enumerate(files):
        (folder / f"items{number}.json").write_text(json.dumps(items), encoding="utf-8")
        sources.append({"path": f"items{number}.json", "type": "image_text"})
    config = folder / "data.yaml"
    config.write_text(yaml.safe_dump({"META": sources}), encoding="utf-8")
    return config


def golden_items(facts, kind):
    """The golden's training items with `kind` of marks ("bbox" or "points"), each about its picture."""
    return [{"image": "image.png", **item} for item in facts["items"] if kind in item]


def write_run(folder, data_config, *, preset=False, data=None, **train):
    """A run's YAML in `folder`: from the golden checkpoint, or from the preset `tiny` with the golden's tokenizer."""
    model = {"preset": "tiny", "tokenizer": str(GOLDEN / "tokenizer.model")} if preset else {"checkpoint": str(GOLDEN)}
    values = {
        "output": str(folder / "out"),
        "model": model,
        "data": {"config": str(data_config), "max_words": 2048, "box_jitter": False, **(data or {})},
        "train": {"lr": 1.0e-4, "batch_size": 2, **train},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def read_metrics(output):
    return [json.loads(line) for line in (Path(output) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def repeatable(output):
    """The lines of metrics.jsonl but for the time that a step took."""
    return [{key: value for key, value in line.items() if key != "step_time"} for line in read_metrics(output)]


def hash_of(tensors):
    """The sha256 of names, types, shapes and bytes of (name, tensor)s."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_of_checkpoint(output):
    """Of the weights that a run has exported."""
    files = [TensorFile(path) for path in (Path(output) / "checkpoint").glob("*.safetensors")]
    return hash_of((name, file.read(name)) for file in files for name in file)


def run(config, *overrides):
    """Trains by the real entry point and returns the lines of metrics.jsonl."""
    assert main(["--config", str(config), *overrides]) == 0
    output = yaml.safe_load(config.read_text(encoding="utf-8"))["output"]
    for override in overrides:
        key, _, value = override.partition("=")
        output = value if key == "output" else output
    return read_metrics(output)


MIXED = [
    talk("<image>\nWhat is <Region 1>?", "<Region 1>: red circle", image="image.png", bbox=[[49, 139, 196, 182]]),
    talk(
        "<image>\nPlease identify the labels of each marked region in the image.",
        "<Region 1>: box\n<Region 2>: ball",
        image="image.png",
        bbox=[[324, 57, 106, 122], [286, 174, 66, 74]],
    ),
    talk("What is <Mark 1>?", "<Mark 1>: a tree", image="image.png", points=[[120, 200]]),
    talk("Is it day?", "Yes.", image="image.png"),
    talk("And this?", "<Mark 1>: sky\n<Mark 2>: a long, long road", image="image.png", points=[[10, 20], [400, 90]]),
    talk("Name it.", "<Region 1>: a cat", image="image.png", bbox=[[0, 0, 643, 361]]),
    talk("Two plus two?", "Four."),
    talk("Who are you?", "A model, of course."),
]
"""Boxes, points, a picture without marks, and texts without a picture."""
