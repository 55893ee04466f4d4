// Prints what is at an address. Compiled for the tests by `javac --release 8 Fetch.java`, because the Java that
// programs are run with has no compiler.
import java.io.InputStream;
import java.net.URL;

public class Fetch {
    public static void main(String[] said) throws Exception {
        try (InputStream in = new URL(said[0]).openStream()) {
            byte[] some = new byte[8192];
            for (int n; (n = in.read(some)) > 0; ) System.out.write(some, 0, n);
        }
        System.out.flush();
    }
}
