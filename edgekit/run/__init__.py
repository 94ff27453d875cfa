"""The room that travels: opens an engine on the device it was made for, runs it and times it; installs bundles there.

It is copied to the device as the folder ``edgekit_run`` and started there with ``python -m edgekit_run.agent job.json
result.json``, or ``python -m edgekit_run.apps`` for bundles. It imports nothing else of edgekit, keeps to the grammar of Python
3.8 and needs numpy only where the runtime's own Python API does, and Pillow to read pictures.
"""

import os

# From 1.29 on, ONNX Runtime for Linux keeps an ID of the machine in ~/.cache and sends its maker what it opens, from its import
# on, unless this stands here before (https://github.com/microsoft/onnxruntime/pull/27379). Whoever sets it themselves decides.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
