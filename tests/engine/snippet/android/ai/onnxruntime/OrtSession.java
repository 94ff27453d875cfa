package ai.onnxruntime;

import java.util.Map;
import java.util.Optional;

public class OrtSession implements AutoCloseable {
  public static class SessionOptions implements AutoCloseable {
    public enum OptLevel { NO_OPT, BASIC_OPT, EXTENDED_OPT, ALL_OPT }

    public void setIntraOpNumThreads(int numThreads) throws OrtException {}
    public void setOptimizationLevel(OptLevel level) throws OrtException {}
    public void addConfigEntry(String configKey, String configValue) throws OrtException {}

    @Override
    public void close() {}
  }

  public static class Result implements AutoCloseable {
    final OnnxValue value;

    Result(OnnxValue value) { this.value = value; }

    public Optional<OnnxValue> get(String key) { return Optional.of(value); }

    @Override
    public void close() {}
  }

  public Result run(Map<String, ? extends OnnxTensor> inputs) throws OrtException { return new Result(inputs.values().iterator().next()); }

  @Override
  public void close() {}
}
