// What the snippet uses of ONNX Runtime's C++ API, with a runtime that gives back the first values of its first input.
// Declarations follow onnxruntime_c_api.h and onnxruntime_cxx_api.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

enum ONNXTensorElementDataType {
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 = 2,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8 = 3,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 = 7,
};
enum OrtLoggingLevel { ORT_LOGGING_LEVEL_WARNING = 2 };
enum GraphOptimizationLevel { ORT_DISABLE_ALL = 0, ORT_ENABLE_BASIC = 1, ORT_ENABLE_EXTENDED = 2, ORT_ENABLE_ALL = 99 };
enum OrtAllocatorType { OrtDeviceAllocator = 0, OrtArenaAllocator = 1 };
enum OrtMemType { OrtMemTypeDefault = 0 };
struct OrtMemoryInfo;

namespace Ort {

struct Env {
  Env(OrtLoggingLevel logging_level, const char* logid) { (void)logging_level, (void)logid; }
};

struct SessionOptions {
  SessionOptions& SetIntraOpNumThreads(int intra_op_num_threads) { return (void)intra_op_num_threads, *this; }
  SessionOptions& SetGraphOptimizationLevel(GraphOptimizationLevel graph_optimization_level) { return (void)graph_optimization_level, *this; }
  SessionOptions& AddConfigEntry(const char* config_key, const char* config_value) { return (void)config_key, (void)config_value, *this; }
};

struct RunOptions {
  explicit RunOptions(std::nullptr_t) {}
};

struct MemoryInfo {
  static MemoryInfo CreateCpu(OrtAllocatorType type, OrtMemType mem_type) { return (void)type, (void)mem_type, MemoryInfo(); }
  operator const OrtMemoryInfo*() const { return nullptr; }
};

struct TensorTypeAndShapeInfo {
  std::vector<int64_t> shape;
  std::vector<int64_t> GetShape() const { return shape; }
  size_t GetElementCount() const {
    size_t count = 1;
    for (int64_t size : shape) count *= static_cast<size_t>(size);
    return count;
  }
};

struct Value {
  std::vector<char> held;
  std::vector<int64_t> shape;
  Value() = default;
  Value(Value&&) = default;
  Value& operator=(Value&&) = default;
  static Value CreateTensor(const OrtMemoryInfo* info, void* p_data, size_t p_data_byte_count, const int64_t* shape, size_t shape_len,
                            ONNXTensorElementDataType type) {
    (void)info, (void)type;
    Value value;
    value.held.assign(static_cast<char*>(p_data), static_cast<char*>(p_data) + p_data_byte_count);
    value.shape.assign(shape, shape + shape_len);
    return value;
  }
  TensorTypeAndShapeInfo GetTensorTypeAndShapeInfo() const { return {shape}; }
  const void* GetTensorRawData() const { return held.data(); }
};

struct Session {
  Session(const Env& env, const char* model_path, const SessionOptions& options) { (void)env, (void)model_path, (void)options; }
  std::vector<Value> Run(const RunOptions& run_options, const char* const* input_names, const Value* input_values, size_t input_count,
                         const char* const* output_names, size_t output_count) {
    (void)run_options, (void)input_names, (void)input_count, (void)output_names;
    std::vector<Value> outputs(output_count);
    for (Value& output : outputs) {
      output.held.assign(input_values[0].held.begin(), input_values[0].held.begin() + STUB_OUTPUT_BYTES);
      output.shape = {1, STUB_OUTPUT_BYTES / 4};
    }
    return outputs;
  }
};

}  // namespace Ort
