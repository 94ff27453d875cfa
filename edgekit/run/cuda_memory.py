"""A GPU's memory and one stream, by whatever the board has: cuda.bindings, else pycuda, else the runtime library itself.

TensorRT's Python takes pointers as integers, so that is what these give. Nothing here needs numpy.
"""

from __future__ import annotations

import ctypes
import importlib
from typing import Any, Dict, List

TO_DEVICE, FROM_DEVICE = 1, 2  # cudaMemcpyKind
RUNTIMES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so.10.2")


class NoCudaError(Exception):
    """There is no GPU to be reached from here, or it refused."""


def read_device() -> Dict[str, Any]:
    """``gpu`` (name), ``compute_capability``, ``memory_mib`` and ``cuda_driver`` of the first GPU, from the driver; empty without one."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return {}
    device, major, minor, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
        return {}
    cuda.cuDeviceGetName(name, 256, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)  # … _MINOR
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    return {
        "gpu": name.value.decode(errors="replace"),
        "compute_capability": "%d.%d" % (major.value, minor.value),
        "memory_mib": memory.value >> 20,
        "cuda_driver": "%d.%d" % (version.value // 1000, version.value % 1000 // 10),
    }


class RuntimeLibrary:
    """libcudart through ctypes: on every board, without a package."""

    name = "libcudart"

    def __init__(self) -> None:
        self._cuda = _first_library()
        self._cuda.cudaMalloc.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t]
        self._cuda.cudaFree.argtypes = [ctypes.c_void_p]
        self._cuda.cudaMemcpyAsync.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]
        self._cuda.cudaStreamCreate.argtypes = [ctypes.POINTER(ctypes.c_void_p)]
        self._cuda.cudaStreamSynchronize.argtypes = [ctypes.c_void_p]
        stream = ctypes.c_void_p()
        self._must(self._cuda.cudaStreamCreate(ctypes.byref(stream)), "cudaStreamCreate")
        self.stream = stream.value or 0

    def allocate(self, count: int) -> int:
        """So many bytes; their address."""
        address = ctypes.c_void_p()
        self._must(self._cuda.cudaMalloc(ctypes.byref(address), max(count, 1)), "cudaMalloc of %d bytes" % count)
        return address.value or 0

    def free(self, address: int) -> None:
        """Give them back."""
        self._must(self._cuda.cudaFree(address), "cudaFree")

    def write(self, address: int, host: Any) -> None:
        """A ctypes array of the host to the GPU, in the stream's order."""
        self._copy(address, ctypes.addressof(host), ctypes.sizeof(host), TO_DEVICE)

    def read(self, host: Any, address: int) -> None:
        """Back into a ctypes array; it is there after :meth:`wait`."""
        self._copy(ctypes.addressof(host), address, ctypes.sizeof(host), FROM_DEVICE)

    def wait(self) -> None:
        """Until everything in the stream is done."""
        self._must(self._cuda.cudaStreamSynchronize(self.stream), "cudaStreamSynchronize")

    def _copy(self, target: int, source: int, count: int, kind: int) -> None:
        self._must(self._cuda.cudaMemcpyAsync(target, source, count, kind, self.stream), "cudaMemcpyAsync")

    def _must(self, status: int, call: str) -> None:
        if status:
            raise NoCudaError("%s: CUDA error %d" % (call, status))


def _first_library() -> Any:
    for name in RUNTIMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise NoCudaError("no libcudart here (looked for %s)" % ", ".join(RUNTIMES))


class Bindings:
    """cuda.bindings, NVIDIA's own package."""

    name = "cuda.bindings"

    def __init__(self) -> None:
        self._cuda = importlib.import_module("cuda.bindings.runtime")
        (self.stream,) = [int(one) for one in self._must(self._cuda.cudaStreamCreate(), "cudaStreamCreate")]
        self._kinds = self._cuda.cudaMemcpyKind

    def allocate(self, count: int) -> int:
        """So many bytes; their address."""
        return int(self._must(self._cuda.cudaMalloc(max(count, 1)), "cudaMalloc of %d bytes" % count)[0])

    def free(self, address: int) -> None:
        """Give them back."""
        self._must(self._cuda.cudaFree(address), "cudaFree")

    def write(self, address: int, host: Any) -> None:
        """A ctypes array of the host to the GPU, in the stream's order."""
        self._copy(address, ctypes.addressof(host), ctypes.sizeof(host), self._kinds.cudaMemcpyHostToDevice)

    def read(self, host: Any, address: int) -> None:
        """Back into a ctypes array; it is there after :meth:`wait`."""
        self._copy(ctypes.addressof(host), address, ctypes.sizeof(host), self._kinds.cudaMemcpyDeviceToHost)

    def wait(self) -> None:
        """Until everything in the stream is done."""
        self._must(self._cuda.cudaStreamSynchronize(self.stream), "cudaStreamSynchronize")

    def _copy(self, target: int, source: int, count: int, kind: Any) -> None:
        self._must(self._cuda.cudaMemcpyAsync(target, source, count, kind, self.stream), "cudaMemcpyAsync")

    def _must(self, answer: Any, call: str) -> List[Any]:
        status, *rest = answer
        if int(status):
            raise NoCudaError("%s: %s" % (call, status))
        return list(rest)


class Pycuda:
    """pycuda, which boards with JetPack 5 often have."""

    name = "pycuda"

    def __init__(self) -> None:
        self._cuda = importlib.import_module("pycuda.driver")
        importlib.import_module("pycuda.autoinit")
        self._stream = self._cuda.Stream()
        self._held: Dict[int, Any] = {}
        self.stream = int(self._stream.handle)

    def allocate(self, count: int) -> int:
        """So many bytes; their address."""
        block = self._cuda.mem_alloc(max(count, 1))
        self._held[int(block)] = block
        return int(block)

    def free(self, address: int) -> None:
        """Give them back."""
        self._held.pop(address).free()

    def write(self, address: int, host: Any) -> None:
        """A ctypes array of the host to the GPU, in the stream's order."""
        self._cuda.memcpy_htod_async(address, host, self._stream)

    def read(self, host: Any, address: int) -> None:
        """Back into a ctypes array; it is there after :meth:`wait`."""
        self._cuda.memcpy_dtoh_async(host, address, self._stream)

    def wait(self) -> None:
        """Until everything in the stream is done."""
        self._stream.synchronize()


def open_memory() -> Any:
    """The first way that works.

    Raises:
        NoCudaError: none does; each says why.
    """
    reasons = []
    for way in (Bindings, Pycuda, RuntimeLibrary):
        try:
            return way()
        except (ImportError, OSError, RuntimeError, NoCudaError) as error:  # cuda.bindings raises RuntimeError without a driver
            reasons.append("%s: %s" % (way.name, error))
    raise NoCudaError("; ".join(reasons))
