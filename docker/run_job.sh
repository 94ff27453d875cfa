#!/bin/sh
# run_job.sh [FOLDER]: do the job in FOLDER/job.json, write FOLDER/result.json; see edgekit/run/agent.py for both.
set -eu
cd "${1:-/job}"
if [ ! -f job.json ]; then
  echo "run_job: $(pwd) has no job.json: docker run -v \"\$PWD/job:/job\" …" >&2
  exit 2
fi
home=${EDGEKIT_HOME:-/opt/edgekit}
PYTHONPATH=$home exec "${PYTHON:-python3}" -m edgekit_run.agent job.json result.json
