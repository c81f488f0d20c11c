"""The states of a run, for resuming it: saved beside training, verified before they are loaded, kept by rules."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from accessory.config import SaveOptions
from accessory.runtime.distributed import World
from accessory.runtime.durable import sync_file
from accessory.train import manifest
from accessory.train.manifest import FileRecord, Manifest
from accessory.train.peers import Peers, RankFailure
from accessory.train.state_folder import StateFolder
from accessory.train.state_tensors import (
    INDEX,
    Staging,
    files_of_rank,
    read_tensors,
    stored_tensors,
    write_tensors,
)
from SPHINX_V.errors import CheckpointError, CheckpointWarning
from SPHINX_V.weights.local_part import local_tensor
from SPHINX_V.weights.tensor_files import TensorInfo

_STATE_FILE = "state.json"


@dataclass(frozen=True)
class Restored:
    """What a state holds beside its tensors; `own` is None where it was saved by another number of processes."""

    step: int
    extra: dict[str, Any]
    own: dict[str, Any] | None


class StateStore:
    """Saves and loads the states of one run in a folder that all its processes see, and no other run writes to.

    Every method is called by all processes, in the same order.

    A state is a folder `step-XXXXXXXX`: tensors by torch's distributed checkpoint (`__R_0.distcp`, `index.json`),
    `state.json` (step, `extra`), `own-R.json` of every rank R, and `manifest.json` with size and sha256 of each of
    these. It is written to `step-XXXXXXXX.tmp`, synced to the disk and renamed; then `latest` is written, for people
    and tools. A kill at any moment leaves the committed states as they are.

    States are for resuming one's own runs, with the version of this program and of torch that wrote them; checkpoints
    (`accessory.train.export`) are for passing on. Reading one runs none of its content, which is JSON and
    torch.load(weights_only=True); but the sums in a manifest tell of damage, not of forgery.
    """

    def __init__(self, folder: Path, world: World, options: SaveOptions) -> None:
        self.folder = StateFolder(folder)
        self.world = world
        self.options = options
        self._peers = Peers(world)
        self._staging = Staging()
        self._saving: Future[None] | None = None
        self._current: int | None = None  # the step of the state that was committed or loaded last

    def save(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        extra: Mapping[str, Any],
        own: Mapping[str, Any] | None = None,
        wait: bool = False,
    ) -> None:
        """Saves the state after `step` steps; returns once everything is copied, or with `wait` once it is committed.

        `tensors`: plain ones that are equal on all processes are stored once, DTensors as their parts. `extra`: JSON
        values, equal on all processes; `own`: those of this process alone. The state that was committed or loaded last
        is not saved again. Waits for a save that is under way. Raises CheckpointError, with the folder and the cause,
        where that one failed, or with `wait` this one; the states before are then as they were.
        """
        self.finish()
        if step == self._current:
            return
        state = _encode({"step": step, "processes": self.world.size, "extra": extra})
        ours = _encode(own or {})
        if wait or not self.options.asynchronous:
            self._write(step, tensors, {name: local_tensor(tensor) for name, tensor in tensors.items()}, state, ours)
            return
        copies = self._staging.copy(tensors)
        # Not torch's async_save: it would leave the commit to a callback, whose failure goes to a log and no further.
        executor = ThreadPoolExecutor(1, "save")
        self._saving = executor.submit(self._write, step, dict(tensors), copies, state, ours)
        executor.shutdown(wait=False)  # the thread ends with this save

    def finish(self) -> None:
        """Waits for a save that is under way; raises CheckpointError where it failed."""
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()

    def load(self, tensors: Mapping[str, Tensor], step: int | None = None, some: bool = False) -> Restored | None:
        """Fills `tensors` in place with the newest whole state, or with that of `step`; None where no state is saved.

        With `some` the state may hold more than these. Placements and the number of processes may be others than when
        saving. A damaged state is named in a CheckpointWarning (file, what is wrong), and the one before it is taken.
        Raises CheckpointError where there are states but none is whole, where `step` is asked for and is missing or
        damaged, and where names, shapes or types differ; tensors are then as they were.
        """
        self.finish()
        steps = self._first(self.folder.steps)
        if step is not None and step not in steps:
            listed = ", ".join(map(str, steps)) or "none"
            raise CheckpointError(f"{self.folder.path}: no state of step {step} is saved; there are: {listed}.")
        damages = []
        for candidate in reversed(steps) if step is None else [step]:
            damage = self._damage(candidate)
            if damage is None:
                return self._restore(candidate, tensors, some)
            damages.append(damage)
            if step is None and candidate != steps[0] and self.world.is_main:
                warnings.warn(f"{damage} The state before is taken.", CheckpointWarning, stacklevel=2)
        if damages:
            raise CheckpointError(
                f"{self.folder.path}: no whole state to load. {' '.join(damages)} Copy the damaged files from where"
                " they are whole, or move the folder away to start anew."
            )
        return None

    def _write(
        self, step: int, tensors: Mapping[str, Tensor], data: Mapping[str, Tensor], state: bytes, own: bytes
    ) -> None:
        """Writes and commits a state; `data` is what this process holds of `tensors`."""
        unfinished = self.folder.unfinished(step)
        try:
            self._peers.first(lambda: self.folder.begin(step))
            write_tensors(unfinished, tensors, data, self._peers.group)
            written = self._peers.each(lambda: self._finish_files(unfinished, state, own))
            self._peers.first(lambda: self._commit(step, written))
        except RankFailure as error:
            if self.world.is_main:
                self.folder.discard(step)
            raise CheckpointError(
                f"{self.folder.state(step)}: the state of step {step} could not be saved ({error}). States before it"
                " are as they were; see to the disk (space, quota, rights) and start again to go on from the newest."
            ) from error
        self._current = step
        if self.world.is_main:
            self._prune()

    def _finish_files(self, folder: Path, state: bytes, own: bytes) -> dict[str, FileRecord]:
        """Writes this process's small files, and brings all of its files to the disk; returns what they are."""
        rank = self._peers.rank
        small = {_own_file(rank): own} | ({_STATE_FILE: state} if rank == 0 else {})
        for name, content in small.items():
            (folder / name).write_bytes(content)
        paths = [*files_of_rank(folder, rank), *(folder / name for name in small)]
        for path in paths:
            sync_file(path)
        return {path.name: manifest.record_file(path) for path in paths}

    def _commit(self, step: int, written: list[dict[str, FileRecord]]) -> None:
        folder = self.folder.unfinished(step)
        files = {name: record for records in written for name, record in records.items()}
        for name in files:
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f"{folder / name} was written by another process and is not to be seen by the first; save to a file"
                    " system that all nodes share"
                )
        (folder / manifest.FILE).write_bytes(Manifest(step, files).encode())
        sync_file(folder / manifest.FILE)
        self.folder.commit(step)

    def _prune(self) -> None:
        try:
            self.folder.prune(self.options.keep_last, self.options.keep_every)
        except OSError as error:
            # The new state is safe, so training goes on; if space runs out, the save that finds none will tell.
            warnings.warn(f"an old state could not be deleted: {error}", CheckpointWarning, stacklevel=2)

    def _damage(self, step: int) -> str | None:
        """What is wrong with a state, the same on all processes, of which each reads a share of the files; or None."""
        folder = self.folder.state(step)
        listed = self._peers.first(lambda: _read_manifest(folder, step))
        if isinstance(listed, str):
            return listed
        names = sorted(listed.files, key=lambda name: (-listed.files[name].size, name))
        share = names[self._peers.rank :: self.world.size]
        found = (manifest.find_damage(folder, name, listed.files[name]) for name in share)
        reports = self._peers.gather(next((damage for damage in found if damage is not None), None))
        return next((damage for damage in reports if damage is not None), None)

    def _restore(self, step: int, tensors: Mapping[str, Tensor], some: bool) -> Restored:
        folder = self.folder.state(step)
        stored = stored_tensors(folder)
        if some:
            stored = {name: info for name, info in stored.items() if name in tensors}
        _compare(folder / INDEX, stored, tensors)
        state = json.loads((folder / _STATE_FILE).read_bytes())
        own = None
        if state["processes"] == self.world.size:
            own = json.loads((folder / _own_file(self._peers.rank)).read_bytes())
        try:
            read_tensors(folder, tensors, self._peers.group)
        except RankFailure as error:
            raise CheckpointError(f"{folder}: could not be read ({error}); start again, or take another.") from error
        self._current = step
        return Restored(step, state["extra"], own)

    def _first(self, work: Any) -> Any:
        try:
            return self._peers.first(work)
        except RankFailure as error:
            raise CheckpointError(f"{self.folder.path}: cannot be read ({error}).") from error


def _own_file(rank: int) -> str:
    return f"own-{rank}.json"


def _encode(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values).encode()


def _read_manifest(folder: Path, step: int) -> Manifest | str:
    try:
        return manifest.read_manifest(folder, step)
    except CheckpointError as error:
        return str(error)


def _compare(where: Path, stored: Mapping[str, TensorInfo], tensors: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError for the first name that only one side has, and for the first other shape or type."""
    for name, tensor in tensors.items():
        if name not in stored:
            raise CheckpointError(
                f"{where}: has no tensor {name}, which this run needs; was it saved by other options?"
            )
        asked = TensorInfo(tuple(tensor.shape), tensor.dtype)
        if stored[name] != asked:
            raise CheckpointError(
                f"{where}: tensor {name} is {_say(stored[name])}, but this run has {_say(asked)}; resume with the model"
                " and options that it was saved with."
            )
    for name in stored:
        if name not in tensors:
            raise CheckpointError(
                f"{where}: holds tensor {name}, which this run has not; was it saved by other options?"
            )


def _say(info: TensorInfo) -> str:
    return f"{list(info.shape)} {str(info.dtype).removeprefix('torch.')}"
