"""``edgekit init``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.terminal import AsJson, print_json, say

TEMPLATE = """\
# What `edgekit build` does in this folder; the command line wins over it. `edgekit schema project` has every key.
schema = 1
model = {model}
target = {targets}                # `edgekit targets list`; "rpi5:onnxruntime" chooses another runtime
recipe = "static_wi8_ai8"         # `edgekit recipes list`, or a file
samples = {samples}               # folder of pictures (labels.csv or folders by class) or of .npz files, or a samples .toml
out = "edgekit-out"
# device = "local"                # where engines are measured
# bench = false                   # build and check only
# factory = "net.py:make"         # makes the module of a PyTorch state dict

# How a picture becomes the model's input, if neither the model nor the samples say so: (pixel - mean) / std, pixels 0 to 255.
# [set.preprocess]
# resize_short = 256
# crop = 224
# mean = [123.675, 116.28, 103.53]
# std = [58.395, 57.12, 57.375]

# Any field of any step; `edgekit recipes show static_wi8_ai8` has them.
# [set.quantize]
# observer = "minmax"

# [set.budget]
# min_sqnr_db = 20.0
"""


def init(
    model: Annotated[str, typer.Argument(help="The model this folder builds.")] = "model.onnx",
    target: Annotated[str, typer.Option(help="One target, or several with commas.")] = "host",
    samples: Annotated[str, typer.Option(help="Folder or file of samples.")] = "samples/",
    as_json: AsJson = False,
) -> None:
    """Write an edgekit.toml with comments into the current folder."""
    import msgspec

    from edgekit.errors import UsageError
    from edgekit.model.store import writing
    from edgekit.plan import PROJECT_FILE

    path = Path(PROJECT_FILE)
    if path.exists():
        raise UsageError(f"{path}: exists already", hint="edit it, or remove it first")

    def quoted(value: object) -> str:
        return msgspec.json.encode(value).decode()

    with writing(path):
        path.write_text(TEMPLATE.format(model=quoted(model), targets=quoted(target.split(",")), samples=quoted(samples)), encoding="utf-8")
    if as_json:
        print_json({"written": str(path)})
    else:
        say(f"{path} written; `edgekit plan` says what it would do, `edgekit build` does it")
