#!/bin/sh
# build_package.sh FOLDER [OPTION…]: build the engine of a TensorRT package; options go to its build_engine.py.
set -eu
package=${1:-/package}
[ "$#" -eq 0 ] || shift
if [ ! -f "$package/build-plan.json" ]; then
  echo "build_package: $package has no build-plan.json: mount the engine folder that edgekit wrote for this Jetson" >&2
  exit 2
fi
exec "${PYTHON:-python3}" "$package/build_engine.py" "$@"
