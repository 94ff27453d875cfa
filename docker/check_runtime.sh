#!/bin/sh
# check_runtime.sh: do both runtimes load here? Prints their versions; fails with the reason.
set -eu
machine=${MACHINE:-$(uname -m)}
if [ "$machine" != aarch64 ]; then
  echo "check_runtime: this image is for aarch64, not $machine: docker buildx build --platform linux/arm64 …" >&2
  exit 1
fi
exec "${PYTHON:-python3}" - <<'PYTHON'
import platform
from importlib.metadata import version

name, release = platform.libc_ver()
if name == "glibc" and tuple(int(part) for part in release.split(".")) < (2, 34):
    raise SystemExit(f"check_runtime: glibc is {release}; ai-edge-litert {version('ai-edge-litert')} needs 2.34")
import ai_edge_litert.interpreter
import onnxruntime

print("LiteRT", version("ai-edge-litert"), "ONNX Runtime", onnxruntime.__version__, name, release)
PYTHON
