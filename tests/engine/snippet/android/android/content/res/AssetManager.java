package android.content.res;

import java.io.ByteArrayInputStream;
import java.io.InputStream;

public final class AssetManager {
  public InputStream open(String fileName) {
    return new ByteArrayInputStream(new byte[] {1, 2, 3});
  }
}
