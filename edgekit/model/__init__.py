"""Model, Signature and the content store: what every other room hands around."""

from edgekit.model.model import Model, Step, file_sha256, read_model, seal_model
from edgekit.model.signature import Layout, Preprocess, Signature, Tensor
from edgekit.model.store import Store

__all__ = [
    "Layout",
    "Model",
    "Preprocess",
    "Signature",
    "Step",
    "Store",
    "Tensor",
    "file_sha256",
    "read_model",
    "seal_model",
]
