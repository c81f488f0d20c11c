"""The two Java programs of pycocoevalcap, run as it runs them: the PTB tokenizer and METEOR 1.5."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from SPHINX_V.errors import UsageError

TOKENIZER = "tokenizer/stanford-corenlp-3.4.1.jar"
METEOR = "meteor/meteor-1.5.jar"
# Without it Java reads UTF-8 by the locale: in a plain container every accent would be a question mark.
_UTF8 = ("-Dfile.encoding=UTF-8", "-Dsun.jnu.encoding=UTF-8")


def missing() -> str:
    """Why captions cannot be scored here, in a clause; "" where they can."""
    if importlib.util.find_spec("pycocoevalcap") is None:
        return 'pycocoevalcap is not installed; pip install -e ".[eval]"'
    if shutil.which("java") is None:
        return "there is no Java on the path, which the PTB tokenizer and METEOR need; install a Java runtime"
    return ""


def _jar(name: str) -> Path:
    found = importlib.util.find_spec("pycocoevalcap")
    assert found is not None, "missing() was asked first"
    folders = found.submodule_search_locations
    assert folders, "pycocoevalcap is a package"
    return Path(next(iter(folders))) / name


def one_line(text: str) -> str:
    """All white space as single spaces. The tokenizer would cut a line at characters such as U+2028, and from there on
    every caption would be compared with another's reference."""
    return " ".join(text.split())


def ptb_tokens(texts: Sequence[str]) -> list[str]:
    """Captions as pycocoevalcap tokenizes them: Penn Treebank tokens, lower case, without punctuation.

    Raises UsageError where Java fails.
    """
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

    command = ["java", *_UTF8, "-cp", str(_jar(TOKENIZER)), "edu.stanford.nlp.process.PTBTokenizer"]
    lines = "".join(f"{one_line(text)}\n" for text in texts)
    done = subprocess.run(
        [*command, "-preserveLines", "-lowerCase"], input=lines.encode(), capture_output=True, check=False
    )
    tokenized = done.stdout.decode().split("\n")[:-1]
    if done.returncode or len(tokenized) != len(texts):
        said = done.stderr.decode(errors="replace").strip()[-400:]
        raise UsageError(f"the PTB tokenizer gave {len(tokenized)} lines for {len(texts)} captions: {said}")
    return [" ".join(word for word in line.split() if word not in PUNCTUATIONS) for line in tokenized]


class Meteor:
    """METEOR 1.5 (Denkowski and Lavie 2014) with English defaults, as pycocoevalcap starts it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @staticmethod
    @contextlib.contextmanager
    def started() -> Iterator[Meteor]:
        command = ["java", *_UTF8, "-Xmx2G", "-jar", str(_jar(METEOR)), "-", "-", "-stdio", "-l", "en", "-norm"]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=_jar(METEOR).parent
        )
        try:
            yield Meteor(process)
        finally:
            process.kill()
            process.communicate()

    def statistics(self, hypothesis: str, references: Sequence[str]) -> str:
        """What METEOR counts in one tokenized caption, in its own form."""
        # Three bars separate fields in METEOR's protocol.
        fields = [text.replace("|||", "") for text in (*references, hypothesis)]
        return self._ask(" ||| ".join(["SCORE", *fields]), 1)[0]

    def scores(self, statistics: Sequence[str]) -> tuple[float, list[float]]:
        """The score of a corpus, which is computed from the sums of all counts, and those of its captions."""
        answers = self._ask(" ||| ".join(["EVAL", *statistics]), len(statistics) + 1)
        try:
            *each, corpus = [float(answer) for answer in answers]
        except ValueError:
            raise UsageError(f"METEOR answered {answers[0][:80]!r}, which is no score.") from None
        return corpus, each

    def _ask(self, line: str, answers: int) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
            read = [self._process.stdout.readline().decode() for _ in range(answers)]
        except BrokenPipeError:
            read = [""]
        if not all(read):
            raise UsageError("METEOR's Java process has ended before it answered; it needs 2 GB of memory.")
        return [answer.strip() for answer in read]
