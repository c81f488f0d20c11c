"""The family of errors that a user can cause; each message carries the value, the limit and the next action."""


class SphinxVError(Exception):
    """Base of every error that this project raises on purpose."""


class ConfigError(SphinxVError, ValueError):
    """A model, data or training configuration is wrong: unknown key, impossible size, missing file."""


class DataError(SphinxVError, ValueError):
    """An annotation or a picture is wrong: the message names the file, the item and the field."""


class CheckpointError(SphinxVError, RuntimeError):
    """A weight file is wrong, truncated or of another model: the message names file, tensor and shapes."""


class UsageError(SphinxVError, ValueError):
    """A call is wrong: a prompt outside the picture, too many prompts, an empty question."""


class QueueFullError(UsageError):
    """As many requests wait for an answer as may: the message says how many; ask again later."""


class AnswerError(SphinxVError, RuntimeError):
    """One request failed while it was answered: the message says at which token and why; others go on."""


class DivergedError(SphinxVError, ArithmeticError):
    """Training has left the finite numbers: the message names the step, the loss and what to lower."""


class JudgeError(SphinxVError, RuntimeError):
    """A judge gives no answer that can be used: the message names judge, address, what came back and how often."""


class PromptWarning(UserWarning):
    """A prompt or question is legal but probably not what was meant, such as `<Region 4>` with three prompts."""


class CheckpointWarning(UserWarning):
    """A checkpoint was loaded, but not as it stands: tensors drawn at random, or tensors that nobody knows."""
