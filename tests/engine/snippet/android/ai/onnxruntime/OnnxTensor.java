package ai.onnxruntime;

import java.nio.ByteBuffer;

public class OnnxTensor implements OnnxValue {
  final ByteBuffer held;

  OnnxTensor(ByteBuffer held) { this.held = held; }

  public static OnnxTensor createTensor(OrtEnvironment env, ByteBuffer data, long[] shape, OnnxJavaType type) throws OrtException {
    return new OnnxTensor(data);
  }

  public ByteBuffer getByteBuffer() { return held; }

  @Override
  public void close() {}
}
