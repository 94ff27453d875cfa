"""What NVIDIA's own parser and compiler say of a graph before it goes to a board, and what the rules alone say.

Three words, never mixed: *proved* is what NVIDIA's parser took and its compiler built here; *rule* is what edgekit's table
of the release allows and nobody asked further; *unknown* is what the two disagree on, or what the table does not name.
The parser is that of TensorRT-RTX, which has the rules of TensorRT 11 and no plugins: where its answer is not the board's
is data (``[rtx]`` in ``releases.toml``).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from edgekit.engine.contract import Refusal
from edgekit.engine.tensorrt import rtx_process
from edgekit.engine.tensorrt.rtx_process import Answered, Asked
from edgekit.engine.tensorrt.rules import releases
from edgekit.graph import onnx_file

if TYPE_CHECKING:
    import onnx

    from edgekit.engine.tensorrt.plan import Profile

Label = Literal["proved", "rule", "unknown"]
WITHOUT_EXTRA = "by edgekit's rules alone; pip install 'edgekit[tensorrt-rtx]' asks NVIDIA's parser"


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a node, and where from."""

    node: str
    op: str
    label: Label
    reason: str = ""


class Preflight(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a whole graph.

    Attributes:
        release: of the runtime, with its name.
        parser: of which version; "" if none was asked.
        nodes: in the order of the graph.
        capability: compute capability of the target's GPU; "" where nothing was to be compiled.
        compiled_for: compute capability an engine was built for here; "" if none was.
        why_not: why none was, in the compiler's words.
        memory: bytes by what they are for, of that engine; of another GPU's engine only a hint.
        assumed: what was made up to know so before the engine is built; "" of what is built.
    """

    release: str
    parser: str
    nodes: tuple[Verdict, ...]
    capability: str = ""
    compiled_for: str = ""
    why_not: str = ""
    memory: dict[str, int] = {}
    assumed: str = ""

    def count(self) -> dict[Label, int]:
        """Nodes by label."""
        found = Counter(one.label for one in self.nodes)
        return {label: found[label] for label in ("proved", "rule", "unknown")}

    def sentence(self) -> str:
        """All of it in one line, the nodes left out."""
        counts = self.count()
        if not self.parser:
            return f"{self.release}: {counts['rule']} of {len(self.nodes)} nodes are taken by rule, none is proved ({WITHOUT_EXTRA})"
        said = (
            f"{self.release}: {counts['proved']} of {len(self.nodes)} nodes proved by NVIDIA's parser"
            f" (TensorRT-RTX {self.parser}, the rules of TensorRT 11), {counts['rule']} by rule, {counts['unknown']} unknown"
        )
        if self.compiled_for:
            stands_in = "" if self.compiled_for == self.capability else f", in place of {self.capability}, which it does not build for"
            return f"{said}; its compiler built it for compute capability {self.compiled_for}{stands_in}"
        return f"{said}; not compiled: {self.why_not}" if self.why_not else said

    def open_nodes(self) -> tuple[Verdict, ...]:
        """Those that NVIDIA's parser did not prove."""
        return tuple(one for one in self.nodes if one.label != "proved")


def preflight(proto: onnx.ModelProto, release: str, *, capability: str = "", profiles: tuple[Profile, ...] = ()) -> Preflight:
    """Ask NVIDIA's parser about a graph, where it is installed; the rules of the release have accepted it already.

    Args:
        proto: in the form that goes to the board.
        release: of the board's TensorRT.
        capability: of the board's GPU, or "" to parse alone. One that TensorRT-RTX does not build for is stood in for by the nearest older.
        profiles: sizes of inputs with open dimensions.
    """
    if not rtx_process.is_installed():
        return Preflight(release=f"TensorRT {release}", parser="", nodes=_by_rule(proto))
    with tempfile.TemporaryDirectory(prefix="edgekit-preflight-") as stage:
        onnx_file.save(proto, Path(stage))
        model = Path(stage) / "model.onnx"
        answered = rtx_process.ask(Asked(model=model, capability=stand_in(capability), profiles=profiles))
    return Preflight(
        release=f"TensorRT {release}",
        parser=answered.version,
        nodes=verdicts(proto, answered),
        capability=capability,
        compiled_for=stand_in(capability) if answered.compiled else "",
        why_not="" if answered.compiled or not capability else answered.error or "the parser did not take it",
        memory=answered.memory,
    )


def stand_in(capability: str) -> str:
    """The compute capability to compile for: the same, or the nearest older one that TensorRT-RTX knows; the oldest if none is."""
    if not capability:
        return ""
    known = sorted(releases().rtx.capabilities, key=_number)
    older = [one for one in known if _number(one) <= _number(capability)]
    return older[-1] if older else known[0]


def _number(capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in capability.split("."))


def verdicts(proto: onnx.ModelProto, answered: Answered, *, is_its_own: bool = False) -> tuple[Verdict, ...]:
    """A label for every node, from the parser's answer.

    Of a graph that it refuses the parser names the nodes it stumbled over; what it says nothing of stays a rule. For an engine
    of TensorRT-RTX (``is_its_own``) no answer is ignored.
    """
    ignored = {} if is_its_own else releases().rtx.ignored
    refused = {one.index: one for one in answered.refused}
    found = []
    for index, node in enumerate(proto.graph.node):
        name = node.name or f"{node.op_type}_{index}"
        if node.op_type in ignored:
            found.append(Verdict(name, node.op_type, "rule", f"the parser's answer does not count: {ignored[node.op_type]}"))
        elif index in refused:
            found.append(Verdict(name, node.op_type, "unknown", f"NVIDIA's parser refuses it: {_first_line(refused[index].reason)}"))
        else:
            found.append(Verdict(name, node.op_type, "proved" if answered.parsed else "rule"))
    return tuple(found)


def _by_rule(proto: onnx.ModelProto) -> tuple[Verdict, ...]:
    return tuple(Verdict(node.name or f"{node.op_type}_{index}", node.op_type, "rule") for index, node in enumerate(proto.graph.node))


def refusals(found: Preflight) -> tuple[Refusal, ...]:
    """The nodes that NVIDIA's parser refuses, as what stands against building; for engines that are made by its very rules."""
    return tuple(
        Refusal(node=one.node, op=one.op, shapes="", reason=one.reason, remedy=remedy(one.reason)) for one in found.nodes if one.label == "unknown"
    )


def remedy(reason: str) -> str:
    """What can be done about a reason of NVIDIA's parser: from the table, by what the reason contains."""
    found = (advice for words, advice in releases().rtx.remedies.items() if words in reason)
    return next(found, "export the model without it, or run that part outside of the engine")


def _first_line(reason: str) -> str:
    """The parser's own words; it puts the node's name before them, and what no GPU here means behind them."""
    lines = [line for line in reason.splitlines() if line.strip() and not line.startswith("Invalid Node - ")]
    return lines[0].strip() if lines else "it does not say why"
