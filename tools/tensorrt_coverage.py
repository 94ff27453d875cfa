"""Whether edgekit's table of operators is that of NVIDIA's parser: ``python tools/tensorrt_coverage.py``, where tensorrt-rtx is installed.

Every one of ONNX's own node tests that has a single node of an opset that the newest release reads is given to the parser of
TensorRT-RTX, which has the rules of TensorRT 11, all inputs but the first made constant, as models have them. An operator is
taken if one of its tests is. The result is compared with ``releases.toml`` and printed by operator.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import onnx
from onnx import numpy_helper

from edgekit.engine.tensorrt.rtx_process import Asked, answer, is_installed
from edgekit.engine.tensorrt.rules import releases, supported_ops, version_of

NEWEST_OPSET = 22


def cases() -> Iterator[tuple[str, onnx.ModelProto]]:
    """Operator and model of every test that is taken."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    for case in found:
        model = case.model
        if model is None or len(model.graph.node) != 1 or model.graph.node[0].domain not in ("", "ai.onnx"):
            continue
        if any(entry.version > NEWEST_OPSET for entry in model.opset_import if entry.domain in ("", "ai.onnx")):
            for entry in model.opset_import:
                entry.version = min(entry.version, NEWEST_OPSET)
        if not case.data_sets:
            continue
        inputs = case.data_sets[0][0]
        constant = dict(zip([port.name for port in model.graph.input][1:], list(inputs)[1:], strict=False))
        if any(not hasattr(value, "dtype") for value in constant.values()):
            continue
        kept = [port for port in model.graph.input if port.name not in constant]
        del model.graph.input[:]
        model.graph.input.extend(kept)
        model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constant.items())
        yield model.graph.node[0].op_type, model


def parsed(path: Path) -> str:
    """What the parser says of a file: "" if it takes it."""
    found = answer(Asked(model=path))
    return "" if found.parsed else next((one.reason.splitlines()[0] for one in found.refused), "refused")


def main() -> int:
    """Print operators by what table and parser say; 1 if they differ in one that no reason is known for."""
    if not is_installed():
        sys.exit("pip install 'edgekit[tensorrt-rtx]'")
    tests: dict[str, list[onnx.ModelProto]] = defaultdict(list)
    for op, model in cases():
        tests[op].append(model)
    table = supported_ops(version_of(releases().rtx.rules))
    agree, differ, taken, reasons = 0, {}, 0, {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {(op, index): Path(folder, f"{op}-{index}.onnx") for op, models in tests.items() for index in range(len(models))}
        for (op, index), path in paths.items():
            onnx.save(tests[op][index], path)
        with get_context("spawn").Pool(1, maxtasksperchild=200) as pool:
            for op, models in sorted(tests.items()):
                said = [pool.apply_async(parsed, (paths[op, index],)) for index in range(len(models))]
                words = []
                for one in said:
                    try:
                        words.append(one.get(timeout=60))
                    except Exception as error:  # noqa: BLE001 - a crash or a timeout of the parser is an answer too
                        words.append(f"ended: {error}")
                taken += sum(not word for word in words)
                is_taken = not all(words)
                if is_taken == (op in table):
                    agree += 1
                else:
                    differ[op] = "taken, not in the table" if is_taken else f"in the table, refused: {words[0]}"
                    reasons[op] = releases().rtx.ignored.get(op, "")
    print(f"{sum(map(len, tests.values()))} tests of {len(tests)} operators, {taken} taken; table and parser agree on {agree} operators")
    for op, how in differ.items():
        print(f"  {op}: {how[:160]}{f' ({reasons[op]})' if reasons[op] else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
