// What the snippet uses of TensorFlow Lite's C++ API, with a runtime that gives back the first bytes of its first input.
// Declarations follow tensorflow/lite/core/{interpreter,interpreter_builder,model_builder,signature_runner}.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

typedef enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 } TfLiteStatus;

typedef struct TfLiteIntArray {
  int size;
  int data[8];
} TfLiteIntArray;

typedef union TfLitePtrUnion {
  float* f;
  char* raw;
} TfLitePtrUnion;

typedef struct TfLiteTensor {
  TfLitePtrUnion data;
  TfLiteIntArray* dims;
  size_t bytes;
} TfLiteTensor;

namespace tflite {

class FlatBufferModel {
 public:
  static std::unique_ptr<FlatBufferModel> BuildFromFile(const char* filename) {
    return std::strlen(filename) ? std::unique_ptr<FlatBufferModel>(new FlatBufferModel) : nullptr;
  }
};

class SignatureRunner {
 public:
  TfLiteTensor* input_tensor(const char* input_name) { return std::strlen(input_name) ? &input_ : nullptr; }
  const TfLiteTensor* output_tensor(const char* output_name) const { return std::strlen(output_name) ? &output_ : nullptr; }
  TfLiteStatus AllocateTensors() {
    input_bytes_.resize(STUB_INPUT_BYTES);
    output_bytes_.resize(STUB_OUTPUT_BYTES);
    input_ = {{nullptr}, &input_dims_, input_bytes_.size()};
    input_.data.raw = input_bytes_.data();
    output_ = {{nullptr}, &output_dims_, output_bytes_.size()};
    output_.data.raw = output_bytes_.data();
    return kTfLiteOk;
  }
  TfLiteStatus Invoke() {
    std::memcpy(output_bytes_.data(), input_bytes_.data(), output_bytes_.size());
    return kTfLiteOk;
  }

 private:
  std::vector<char> input_bytes_, output_bytes_;
  TfLiteIntArray input_dims_{1, {STUB_INPUT_BYTES}}, output_dims_{1, {STUB_OUTPUT_BYTES}};
  TfLiteTensor input_{}, output_{};
};

class Interpreter {
 public:
  SignatureRunner* GetSignatureRunner(const char* signature_key) { return std::strcmp(signature_key, "serving_default") ? nullptr : &runner_; }

 private:
  SignatureRunner runner_;
};

class OpResolver {
 public:
  virtual ~OpResolver() = default;
};

class InterpreterBuilder {
 public:
  InterpreterBuilder(const FlatBufferModel& model, const OpResolver& op_resolver) { (void)model, (void)op_resolver; }
  TfLiteStatus SetNumThreads(int num_threads) { return num_threads > 0 ? kTfLiteOk : kTfLiteError; }
  TfLiteStatus operator()(std::unique_ptr<Interpreter>* interpreter) {
    interpreter->reset(new Interpreter);
    return kTfLiteOk;
  }
};

}  // namespace tflite
