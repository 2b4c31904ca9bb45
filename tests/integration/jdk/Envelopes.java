import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.spec.PKCS8EncodedKeySpec;
import java.security.spec.X509EncodedKeySpec;
import java.util.List;
import javax.xml.crypto.KeySelector;
import javax.xml.crypto.dsig.CanonicalizationMethod;
import javax.xml.crypto.dsig.DigestMethod;
import javax.xml.crypto.dsig.Reference;
import javax.xml.crypto.dsig.SignedInfo;
import javax.xml.crypto.dsig.Transform;
import javax.xml.crypto.dsig.XMLSignature;
import javax.xml.crypto.dsig.XMLSignatureFactory;
import javax.xml.crypto.dsig.dom.DOMSignContext;
import javax.xml.crypto.dsig.dom.DOMValidateContext;
import javax.xml.crypto.dsig.spec.C14NMethodParameterSpec;
import javax.xml.crypto.dsig.spec.TransformParameterSpec;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.transform.TransformerFactory;
import javax.xml.transform.dom.DOMSource;
import javax.xml.transform.stream.StreamResult;
import org.w3c.dom.Document;
import org.w3c.dom.Element;
import org.w3c.dom.Node;
import org.w3c.dom.NodeList;

/**
 * Envelopes in the hands of the JDK alone: javax.xml.crypto.dsig, with secure validation.
 *
 * <pre>
 *   verify ALGORITHM SPKI FILE...                    per file "true FILE" or "false FILE reason"
 *   sign   ALGORITHM METHOD PKCS8 CONTENT OUTPUT     the content with a Signature appended
 * </pre>
 *
 * ALGORITHM is the KeyFactory's name (EC, Ed25519), METHOD the identifier of the SignatureMethod.
 */
public final class Envelopes {
  private static final String EXCLUSIVE = CanonicalizationMethod.EXCLUSIVE;
  private static final XMLSignatureFactory FACTORY = XMLSignatureFactory.getInstance("DOM");

  public static void main(String[] arguments) throws Exception {
    KeyFactory keys = KeyFactory.getInstance(arguments[1]);
    switch (arguments[0]) {
      case "verify" -> {
        PublicKey key = keys.generatePublic(new X509EncodedKeySpec(octets(arguments[2])));
        for (String file : List.of(arguments).subList(3, arguments.length)) {
          System.out.println(outcome(key, file));
        }
      }
      case "sign" -> {
        PrivateKey key = keys.generatePrivate(new PKCS8EncodedKeySpec(octets(arguments[3])));
        sign(arguments[2], key, arguments[4], arguments[5]);
      }
      default -> throw new IllegalArgumentException(arguments[0]);
    }
  }

  private static byte[] octets(String file) throws Exception {
    return Files.readAllBytes(Path.of(file));
  }

  private static Document parse(String file) throws Exception {
    DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
    factory.setNamespaceAware(true);
    // Left to itself the parser would fetch what a DOCTYPE names, from the network as well.
    factory.setFeature("http://apache.org/xml/features/nonvalidating/load-external-dtd", false);
    var builder = factory.newDocumentBuilder();
    builder.setErrorHandler(null);
    try (var stream = Files.newInputStream(Path.of(file))) {
      return builder.parse(stream);
    }
  }

  private static String outcome(PublicKey key, String file) {
    try {
      return verify(key, parse(file)) + " " + file;
    } catch (Exception error) {
      String said = String.valueOf(error.getMessage()).replaceAll("\\s+", " ");
      return "false " + file + " " + error.getClass().getSimpleName() + ": " + said;
    }
  }

  /** As the JDK's own documentation does it: the first Signature, the key from outside. */
  private static boolean verify(PublicKey key, Document document) throws Exception {
    NodeList found = document.getElementsByTagNameNS(XMLSignature.XMLNS, "Signature");
    if (found.getLength() == 0) {
      throw new IllegalArgumentException("no Signature");
    }
    var context = new DOMValidateContext(KeySelector.singletonKeySelector(key), found.item(0));
    registerIds(context, document.getDocumentElement());
    return FACTORY.unmarshalXMLSignature(context).validate(context);
  }

  /** Without a schema an attribute is an id only if somebody says so. */
  private static void registerIds(DOMValidateContext context, Element element) {
    if (element.hasAttribute("Id")) {
      context.setIdAttributeNS(element, null, "Id");
    }
    for (Node child = element.getFirstChild(); child != null; child = child.getNextSibling()) {
      if (child instanceof Element inside) {
        registerIds(context, inside);
      }
    }
  }

  private static void sign(String method, PrivateKey key, String content, String output)
      throws Exception {
    Document document = parse(content);
    Reference reference =
        FACTORY.newReference(
            "",
            FACTORY.newDigestMethod(DigestMethod.SHA256, null),
            List.of(
                FACTORY.newTransform(Transform.ENVELOPED, (TransformParameterSpec) null),
                FACTORY.newTransform(EXCLUSIVE, (TransformParameterSpec) null)),
            null,
            null);
    SignedInfo info =
        FACTORY.newSignedInfo(
            FACTORY.newCanonicalizationMethod(EXCLUSIVE, (C14NMethodParameterSpec) null),
            FACTORY.newSignatureMethod(method, null),
            List.of(reference));
    var context = new DOMSignContext(key, document.getDocumentElement());
    context.setDefaultNamespacePrefix("ds");
    FACTORY.newXMLSignature(info, null).sign(context);
    try (var stream = Files.newOutputStream(Path.of(output))) {
      var writer = TransformerFactory.newInstance().newTransformer();
      writer.transform(new DOMSource(document), new StreamResult(stream));
    }
  }
}
