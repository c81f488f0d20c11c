"""The loss of a padded batch as written down in the specification, for tests to compare with."""

from torch.nn import functional


def padded_loss(model, inputs, labels):
    """Cross entropy summed over target tokens; label t of labels [B, T] is predicted by the state before it."""
    states = model.hidden(model.embed(inputs))[:, -labels.shape[1] : -1]
    targets = labels[:, 1:]
    return functional.cross_entropy(model.llm.output(states[targets != 0]), targets[targets != 0], reduction="sum")
