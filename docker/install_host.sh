#!/bin/sh
# install_host.sh SOURCE: install edgekit from a folder, with the extras in $EXTRAS.
#
# torch comes first and from its own index: the one on PyPI brings gigabytes of CUDA that a build host does not use.
set -eu
source=${1:?usage: install_host.sh SOURCE}
extras=${EXTRAS:-tflite,torch}
python=${PYTHON:-python3}

pip_install() {
  "$python" -m pip --disable-pip-version-check install --no-cache-dir "$@"
}

case ",$extras," in
*,torch,* | *,all,*) pip_install --index-url "${TORCH_INDEX:?where pip finds torch}" "${TORCH:?which torch}" ;;
esac
pip_install "${source}[${extras}]"
edgekit version
