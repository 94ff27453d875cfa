package org.tensorflow.lite;

import java.nio.ByteBuffer;
import java.util.Map;

public final class Interpreter implements AutoCloseable {
  public static class Options {
    public Options setNumThreads(int numThreads) { return this; }
    public Options setUseXNNPACK(boolean useXNNPACK) { return this; }
  }

  public Interpreter(ByteBuffer byteBuffer, Options options) {}

  public void runSignature(Map<String, Object> inputs, Map<String, Object> outputs, String signatureKey) {
    ByteBuffer input = (ByteBuffer) inputs.values().iterator().next();
    for (Object output : outputs.values()) {
      while (((ByteBuffer) output).hasRemaining()) ((ByteBuffer) output).put(input.get());
    }
  }

  @Override
  public void close() {}
}
