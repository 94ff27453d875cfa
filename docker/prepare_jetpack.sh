#!/bin/sh
# prepare_jetpack.sh: make sure that this image's python3 can import TensorRT.
#
# `import tensorrt` loads CUDA libraries which, in a container, are there only when it runs with --runtime nvidia; so it
# is the package that is looked for, not the import.
set -eu
python=${PYTHON:-python3}
if "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("tensorrt") is None)'; then
  exit 0
fi
apt-get update
apt-get install --yes --no-install-recommends python3-libnvinfer
rm -rf "${APT_LISTS:-/var/lib/apt/lists}"/*
"$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("tensorrt") is None)' || {
  echo "prepare_jetpack: python3-libnvinfer is installed and $python still finds no tensorrt" >&2
  exit 1
}
