# make demo, make test: each makes its own virtual environment and installs what it needs.
# make arm: the userlands of --device emulated:…, on Debian or Ubuntu with qemu-user; make test then runs engines in them.
# make adbd: a real adbd of Debian's sources, as root on Debian; make test then tries adb:// on it.
#
#   PYTHON       a Python of 3.11 or newer                          (python3)
#   VENV         where the environments lie                         (.venv)
#   TORCH_INDEX  where pip finds torch; on Linux with an ordinary PyPI,
#                https://download.pytorch.org/whl/cpu saves gigabytes of CUDA

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
TORCH ?= torch==2.13.0
PIP = -m pip --disable-pip-version-check --quiet install

ADBD ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/edgekit/adbd

.PHONY: help demo test arm adbd lint wheel-test docker-lint clean

help:
	@sed -n 's/^#  *//p' Makefile; echo "targets: demo test arm adbd lint wheel-test docker-lint clean"

$(VENV)/demo/ready: pyproject.toml
	@$(PYTHON) tools/check_python.py
	@echo "demo: installing edgekit, torch (CPU) and LiteRT into $(VENV)/demo: about 300 MB to download, 1.3 GB on disk"
	@$(PYTHON) -m venv $(VENV)/demo
	@$(VENV)/demo/bin/python $(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) '$(TORCH)'
	@$(VENV)/demo/bin/python $(PIP) -e '.[demo]'
	@touch $@

$(VENV)/test/ready: pyproject.toml
	@$(PYTHON) tools/check_python.py
	@echo "test: installing edgekit with all frameworks into $(VENV)/test: about 1 GB to download, 4 GB on disk"
	@$(PYTHON) -m venv $(VENV)/test
	@$(VENV)/test/bin/python $(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) '$(TORCH)'
	@$(VENV)/test/bin/python $(PIP) -e '.[tflite,torch,augment,metrics,keras,dev]'
	@touch $@

demo: $(VENV)/demo/ready
	@$(VENV)/demo/bin/python tools/demo.py

test: $(VENV)/test/ready
	@EDGEKIT_ADBD="$${EDGEKIT_ADBD-$(ADBD)/adbd}" $(VENV)/test/bin/python -m pytest -q -n 2 --dist loadfile

# Kept in the user's cache folder; what is there already is not made again.
arm: $(VENV)/test/ready
	@for name in aarch64 aarch64-tflite-runtime armv7l; do $(VENV)/test/bin/python tools/arm_userland.py $$name || exit 1; done

adbd:
	@sh tools/build_adbd.sh $(ADBD)

lint: $(VENV)/test/ready
	$(VENV)/test/bin/ruff check .
	$(VENV)/test/bin/ruff format --check .
	$(VENV)/test/bin/mypy
	$(VENV)/test/bin/lint-imports

# The wheel with the core alone, in an environment that has nothing else.
wheel-test: $(VENV)/test/ready
	@rm -rf dist $(VENV)/wheel
	$(VENV)/test/bin/python -m build --wheel --no-isolation --outdir dist . >/dev/null
	@$(PYTHON) -m venv $(VENV)/wheel
	@$(VENV)/wheel/bin/python $(PIP) dist/edgekit-*.whl
	cd / && "$(abspath $(VENV))/wheel/bin/python" "$(CURDIR)/tools/check_wheel.py"

docker-lint: $(VENV)/test/ready
	$(VENV)/test/bin/hadolint docker/Dockerfile.host docker/Dockerfile.arm64-runtime docker/Dockerfile.jetpack-builder
	$(VENV)/test/bin/shellcheck docker/*.sh .ci/run tools/build_adbd.sh

clean:
	rm -rf $(VENV) dist out demo
