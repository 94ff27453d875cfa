package android.graphics;

public final class Bitmap {
  private final int width;
  private final int height;
  private final int[] argb;

  public Bitmap(int width, int height, int[] argb) {
    this.width = width;
    this.height = height;
    this.argb = argb;
  }

  public int getWidth() { return width; }
  public int getHeight() { return height; }

  public void getPixels(int[] pixels, int offset, int stride, int x, int y, int width, int height) {
    System.arraycopy(argb, 0, pixels, 0, argb.length);
  }
}
