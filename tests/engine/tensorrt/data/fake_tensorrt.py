"""As much of TensorRT's Python API as the builder script uses; FAKE_TENSORRT_VERSION says which release it plays."""

from __future__ import annotations

import ctypes
import enum
import json
import math
import os

__version__ = os.environ.get("FAKE_TENSORRT_VERSION", "10.3.0")
_RELEASE = tuple(int(part) for part in __version__.split("."))
_DOES = os.environ.get("FAKE_TENSORRT_DOES", "build")


def _enum(name, **members):
    return enum.Enum(name, members)


MemoryPoolType = _enum("MemoryPoolType", WORKSPACE=0)
ProfilingVerbosity = _enum("ProfilingVerbosity", DETAILED=2)
LayerInformationFormat = _enum("LayerInformationFormat", JSON=1)
TensorIOMode = _enum("TensorIOMode", INPUT=1, OUTPUT=2)
DataType = _enum("DataType", FLOAT=0, INT8=2)
DeviceType = _enum("DeviceType", GPU=0, DLA=1)
BuilderFlag = _enum("BuilderFlag", GPU_FALLBACK=3, SPARSE_WEIGHTS=9, **({"FP16": 0, "INT8": 1} if _RELEASE < (11,) else {"TF32": 7}))


class NetworkDefinitionCreationFlag(enum.IntEnum):
    if _RELEASE < (11,):
        EXPLICIT_BATCH = 0
    if _RELEASE >= (10,):
        STRONGLY_TYPED = 1


class ILogger:
    class Severity(enum.Enum):
        ERROR = 1
        INFO = 3
        VERBOSE = 4


class _Cache:
    def __init__(self, held):
        self.held = held

    def serialize(self):
        return self.held + b"timed "


if _RELEASE < (11,):

    class IInt8EntropyCalibrator2:
        pass


class _Config:
    def __init__(self):
        self.done = {"flags": [], "profiles": []}

    def set_flag(self, flag):
        self.done["flags"].append(flag.name)

    def set_memory_pool_limit(self, pool, size):
        self.done[pool.name] = size

    def create_timing_cache(self, held):
        return _Cache(held)

    def set_timing_cache(self, cache, ignore_mismatch):
        self.cache = cache
        return not ignore_mismatch

    def get_timing_cache(self):
        return self.cache

    def add_optimization_profile(self, profile):
        self.done["profiles"].append(profile.sizes)


class _Profile:
    def __init__(self):
        self.sizes = {}

    def set_shape(self, name, least, usual, most):
        self.sizes[name] = [least, usual, most]


class Builder:
    num_DLA_cores = 2

    def __init__(self, logger):
        if _DOES == "no driver":
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self.logger = logger

    def create_network(self, flags):
        self.flags = flags
        return self

    def create_builder_config(self):
        config = _Config()
        if _RELEASE >= (8, 6):
            config.builder_optimization_level = 3
        return config

    def create_optimization_profile(self):
        return _Profile()

    def build_serialized_network(self, network, config):
        self.logger.log(ILogger.Severity.INFO, "Total Weights Memory: 1234 bytes")
        self.logger.log(ILogger.Severity.VERBOSE, "a tactic")
        if _DOES == "fail":
            self.logger.log(ILogger.Severity.ERROR, "Could not find any implementation for node Conv_7")
            return None
        if _DOES == "no memory" or (_DOES == "little memory" and config.done["WORKSPACE"] > 1024 << 20):
            self.logger.log(ILogger.Severity.ERROR, "[allocator.cpp::allocate] Error Code 1: Cuda Runtime (out of memory)")
            return None
        if hasattr(config, "default_device_type"):
            if hasattr(config, "int8_calibrator"):
                config.done["calibration"] = config.int8_calibrator.read_calibration_cache().decode().splitlines()
            config.done["dla"] = [config.default_device_type.name, config.DLA_core]
            self.logger.log(ILogger.Severity.INFO, "---------- Layers Running on DLA ----------")
            self.logger.log(ILogger.Severity.INFO, "[DlaLayer] {ForeignNode[Conv_0]}")
        did = {"creation_flags": network.flags, "level": getattr(config, "builder_optimization_level", None), **config.done}
        release = bytes([*_RELEASE, 0, 0, 0, 0])[:4]
        return b"ftrt" + bytes(20) + release + bytes(4) + json.dumps(did).encode()


class _Error:
    def node(self):
        return 3

    def code(self):
        return "UNSUPPORTED_NODE"

    def desc(self):
        return "no such thing"

    if _RELEASE >= (10,):

        def node_name(self):
            return "Det_3"

        def node_operator(self):
            return "Det"


class OnnxParser:
    num_errors = 1

    def __init__(self, network, logger):
        self.logger = logger

    def parse_from_file(self, path):
        return _DOES != "refuse" and os.path.exists(path)

    def get_error(self, index):
        return _Error()


class IProfiler:
    pass


class _Context:
    """Executes y = 2 x on float32, by the addresses it was given."""

    profiler = None

    def __init__(self):
        self.addresses, self.shapes = {}, {"x": (1, 3, 8, 8)}

    def set_input_shape(self, name, shape):
        self.shapes[name] = tuple(shape)

    def get_tensor_shape(self, name):
        return self.shapes["x"]

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def execute_async_v3(self, stream):
        count = math.prod(self.shapes["x"])
        source, target = ((ctypes.c_float * count).from_address(self.addresses[name]) for name in "xy")
        for index in range(count):
            target[index] = 2.0 * source[index]
        if self.profiler is not None:
            self.profiler.report_layer_time("Conv_0 + Relu_1", 0.75)
            self.profiler.report_layer_time("Reformatting CopyNode for Output", 0.25)
        return _DOES != "refuse to run"


class _Engine:
    num_io_tensors = 2
    num_layers = 5
    device_memory_size = 4096

    def get_tensor_name(self, index):
        return "xy"[index]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name == "x" else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return DataType.FLOAT

    def get_tensor_shape(self, name):
        return (1, 3, 8, 8)

    def create_execution_context(self):
        return _Context()

    def create_engine_inspector(self):
        return self

    def get_engine_information(self, form):
        return '{"Layers": []}'


class Runtime:
    def __init__(self, logger):
        pass

    def deserialize_cuda_engine(self, content):
        return _Engine()
