#pragma once

#include "tensorflow/lite/interpreter.h"

namespace tflite {
namespace ops {
namespace builtin {

class BuiltinOpResolver : public OpResolver {};
class BuiltinOpResolverWithoutDefaultDelegates : public BuiltinOpResolver {};

}  // namespace builtin
}  // namespace ops
}  // namespace tflite
