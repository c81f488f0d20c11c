"""The ways of judging by name."""

from __future__ import annotations

from accessory.eval.judge.dlc import DlcProtocol
from accessory.eval.judge.protocols import FerretProtocol, JudgeProtocol, MdvpProtocol, OspreyProtocol

PROTOCOLS: dict[str, type[JudgeProtocol]] = {
    protocol.name: protocol for protocol in (MdvpProtocol, OspreyProtocol, FerretProtocol, DlcProtocol)
}
