"""Beside each engine lies a file that runs it: names, shapes, scales, preprocessing and labels filled in."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgekit.engine.contract import Engine
from edgekit.model import Signature


def write_snippets(engine: Engine, signature: Signature, folder: Path) -> tuple[Path, ...]:
    """Write files beside an engine that run it: ``run.py``, ``run.cc``, and for Android ``Model.kt``; for an NPU ``run.cc`` alone.

    Args:
        engine: the engine that lies in ``folder``; one that is built on the device brings instructions of its own.
        signature: how pictures become its input, and what its classes are called.
        folder: where the engine lies.

    Returns:
        The files; none for an engine that is not built yet, or whose runtime no snippet is known for.
    """
    from edgekit.engine.snippet.cpp import cpp_snippet
    from edgekit.engine.snippet.ethos_u import ethos_u_snippet
    from edgekit.engine.snippet.facts import RUNTIMES, facts_of
    from edgekit.engine.snippet.kotlin import kotlin_snippet
    from edgekit.engine.snippet.python import python_snippet

    if engine.status != "built" or engine.runs_in not in RUNTIMES:
        return ()
    engine = msgspec.structs.replace(engine, runtime=engine.runs_in)
    facts = facts_of(engine, signature)
    if engine.npu is not None:
        texts = {"run.cc": ethos_u_snippet(facts, engine.npu)}
    else:
        texts = {"run.py": python_snippet(facts), "run.cc": cpp_snippet(facts)}
    if engine.target.startswith("android"):
        texts["Model.kt"] = kotlin_snippet(facts)
    paths = []
    for name, text in texts.items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return tuple(paths)
