import java.io.FileInputStream;
import java.security.cert.*;
import java.util.*;

/** Checks a chain as a Java program with default options does: args are the anchor, then leaf and issuers. */
public class Check {
    public static void main(String[] args) throws Exception {
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        List<X509Certificate> all = new ArrayList<>();
        for (String name : args) {
            try (FileInputStream in = new FileInputStream(name)) {
                all.add((X509Certificate) factory.generateCertificate(in));
            }
        }
        CertPath path = factory.generateCertPath(all.subList(1, all.size()));
        CertPathValidator validator = CertPathValidator.getInstance("PKIX");
        PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(all.get(0), null)));
        parameters.addCertPathChecker((PKIXRevocationChecker) validator.getRevocationChecker());
        try {
            validator.validate(path, parameters);
            System.out.println("valid");
        } catch (CertPathValidatorException e) {
            System.out.println("refused: " + e.getReason() + " at " + e.getIndex() + ": " + e.getMessage());
        }
    }
}
