"""An NVIDIA GPU's memory, by each way there is to it. Needs one: ``pytest -m gpu`` on a machine that has it."""

from __future__ import annotations

import ctypes
import importlib.util
import random
import shutil
import subprocess

import pytest

from edgekit.run import cuda_memory

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not cuda_memory.read_device(), reason="there is no NVIDIA GPU here")]

WAYS = {
    "cuda.bindings": (cuda_memory.Bindings, "cuda.bindings"),
    "pycuda": (cuda_memory.Pycuda, "pycuda"),
    "libcudart": (cuda_memory.RuntimeLibrary, "ctypes"),
}


@pytest.fixture(params=sorted(WAYS))
def memory(request):
    way, package = WAYS[request.param]
    try:
        is_there = importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        is_there = False
    if not is_there:
        pytest.skip(f"{package} is not installed")
    return way()


def test_what_is_written_comes_back(memory):
    content = random.Random(0).randbytes(1 << 20)
    there, back = (ctypes.c_char * len(content)).from_buffer_copy(content), (ctypes.c_char * len(content))()
    address = memory.allocate(len(content))

    memory.write(address, there)
    memory.read(back, address)
    memory.wait()
    memory.free(address)

    assert bytes(back) == content


def test_more_than_there_is_is_refused_in_words(memory):
    with pytest.raises((cuda_memory.NoCudaError, MemoryError, RuntimeError)):
        memory.allocate(1 << 50)


def test_the_driver_says_of_the_gpu_what_nvidia_smi_says():
    if shutil.which("nvidia-smi") is None:
        pytest.skip("there is no nvidia-smi here")
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader", "--id=0"]
    name, capability = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().split(", ")

    told = cuda_memory.read_device()

    assert (told["gpu"], told["compute_capability"]) == (name, capability)
    assert told["memory_mib"] > 1000


def test_the_first_way_that_works_is_taken():
    assert cuda_memory.open_memory().name in WAYS
