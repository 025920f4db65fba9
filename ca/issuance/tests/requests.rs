//! Requests as others write them: what is taken, and in which words the rest is
//! refused. The files beside this one were made by hand and with other tools'
//! encoders; every door reads them with [`armour::decode_request`].

mod common;

use std::path::Path;

use common::clients::{request, succeed};
use hufu_issuance::*;

fn read(text: &[u8]) -> Result<CertificationRequest, FormError> {
    CertificationRequest::from_der(&armour::decode_request(text)?)
}

fn file(name: &str) -> Vec<u8> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requests");
    common::read(&directory.join(name))
}

#[test]
fn what_others_send_is_taken() {
    for (name, serial) in [
        ("bom.pem", "CASE-05"),
        ("lines-of-76.pem", "CASE-07"),
        ("new-certificate-request.pem", "CASE-04"),
        ("text-before.pem", "CASE-06"),
        ("no-attributes.pem", "CASE-01"),
        ("ecdsa-null-parameters.pem", "CASE-02"),
        ("microsoft-san-attribute.pem", "CASE-03"),
    ] {
        let request = read(&file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(request.subject().value(Attribute::SerialNumber), Some(serial), "{name}");
        assert_eq!(request.subject().value(Attribute::O), Some("maker"), "{name}");
        let names: Vec<String> =
            request.alternative_names().iter().map(ToString::to_string).collect();
        match name {
            "microsoft-san-attribute.pem" => assert_eq!(names, ["DNS:pump1.example"]),
            _ => assert!(names.is_empty(), "{name}: {names:?}"),
        }
    }
}

/// What a request says beside subject and key, put together by hand and signed
/// anew: `version`, the attributes element (or none), and the parameters behind
/// the signature's algorithm.
struct Forge {
    key: rcgen::KeyPair,
    version: Vec<u8>,
    subject: Vec<u8>,
    attributes: Option<Vec<u8>>,
    algorithm: Vec<u8>,
}

const EXTENSION_REQUEST: &str = "1.2.840.113549.1.9.14";
const MICROSOFT: &str = "1.3.6.1.4.1.311.2.1.14";

fn object(dotted: &str) -> Vec<u8> {
    tlv::oid(&dotted.parse().unwrap())
}

fn attribute(kind: &str, values: &[&[u8]]) -> Vec<u8> {
    tlv::sequence(&[&object(kind), &tlv::wrap(tlv::SET, values)])
}

fn san(names: &[&str]) -> Vec<u8> {
    let names: Vec<Vec<u8>> =
        names.iter().map(|name| tlv::wrap(0x82, &[name.as_bytes()])).collect();
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    tlv::extension(&oid::SUBJECT_ALT_NAME, false, &tlv::sequence(&names))
}

fn extensions(list: &[&[u8]]) -> Vec<u8> {
    tlv::sequence(list)
}

impl Forge {
    fn new() -> Forge {
        let subject =
            Subject::new([(Attribute::O, "maker"), (Attribute::SerialNumber, "F-1")]).unwrap();
        Forge {
            key: rcgen::KeyPair::generate().unwrap(),
            version: tlv::unsigned(0),
            subject: subject.to_der(),
            attributes: None,
            algorithm: tlv::sequence(&[&object("1.2.840.10045.4.3.2")]),
        }
    }

    fn with(attributes: &[&[u8]]) -> Forge {
        let attributes = tlv::wrap(tlv::context(0), attributes);
        Forge { attributes: Some(attributes), ..Forge::new() }
    }

    fn der(&self) -> Vec<u8> {
        let spki = {
            use rcgen::PublicKeyData as _;
            let key = PublicKey::new(KeyAlgorithm::P256, self.key.der_bytes().to_vec()).unwrap();
            key.to_spki_der()
        };
        let attributes = self.attributes.clone().unwrap_or_default();
        let info = tlv::sequence(&[&self.version, &self.subject, &spki, &attributes]);
        let signature = {
            use rcgen::SigningKey as _;
            self.key.sign(&info).unwrap()
        };
        tlv::signed(&info, &self.algorithm, &signature)
    }

    fn names(&self) -> Result<Vec<String>, String> {
        let read =
            CertificationRequest::from_der(&self.der()).map_err(|error| error.to_string())?;
        Ok(read.alternative_names().iter().map(ToString::to_string).collect())
    }
}

#[test]
fn names_are_read_wherever_they_are_asked_for() {
    let (one, two) = (san(&["a.example"]), san(&["b.example"]));
    let list = extensions(&[&one]);
    let one_name = vec!["DNS:a.example".to_owned()];
    // In either attribute, in both, or twice the same.
    for attributes in [
        vec![attribute(EXTENSION_REQUEST, &[&list])],
        vec![attribute(MICROSOFT, &[&list])],
        vec![attribute(EXTENSION_REQUEST, &[&list]), attribute(MICROSOFT, &[&list])],
        vec![attribute(EXTENSION_REQUEST, &[&extensions(&[])]), attribute(MICROSOFT, &[&list])],
        vec![
            attribute("1.3.6.1.4.1.311.13.2.3", &[&tlv::wrap(0x16, &[b"10.0"])]),
            attribute(MICROSOFT, &[&list]),
        ],
    ] {
        let attributes: Vec<&[u8]> = attributes.iter().map(Vec::as_slice).collect();
        assert_eq!(Forge::with(&attributes).names().unwrap(), one_name);
    }
    // An explicit FALSE, which DER leaves out and older encoders write.
    let value = tlv::octet_string(&tlv::sequence(&[&tlv::wrap(0x82, &[b"a.example"])]));
    let explicit =
        tlv::sequence(&[&tlv::oid(&oid::SUBJECT_ALT_NAME), &[tlv::BOOLEAN, 1, 0], &value]);
    let wide = attribute(EXTENSION_REQUEST, &[&extensions(&[&explicit])]);
    assert_eq!(Forge::with(&[&wide]).names().unwrap(), one_name);
    // Two that differ are not guessed at; nor is one without a value.
    let other = extensions(&[&two]);
    for attributes in [
        vec![attribute(EXTENSION_REQUEST, &[&list]), attribute(MICROSOFT, &[&other])],
        vec![attribute(EXTENSION_REQUEST, &[&list, &other])],
        vec![attribute(EXTENSION_REQUEST, &[&extensions(&[&one, &two])])],
    ] {
        let attributes: Vec<&[u8]> = attributes.iter().map(Vec::as_slice).collect();
        let error = Forge::with(&attributes).names().unwrap_err();
        assert!(error.contains("subjectAltName") && error.contains("twice"), "{error}");
    }
    let error = Forge::with(&[&attribute(EXTENSION_REQUEST, &[])]).names().unwrap_err();
    assert!(error.contains("extensionRequest holds no value"), "{error}");
    // No attributes, an empty set of them, and ones that mean nothing here.
    assert!(Forge::new().names().unwrap().is_empty());
    assert!(Forge::with(&[]).names().unwrap().is_empty());
    let password = attribute("1.2.840.113549.1.9.7", &[&tlv::wrap(0x0c, &[b"secret"])]);
    assert!(Forge::with(&[&password]).names().unwrap().is_empty());
    // Names as text for a Windows authority would be lost.
    let bmp = |text: &str| {
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        tlv::wrap(0x1e, &[&units])
    };
    let pair = tlv::sequence(&[&bmp("SAN"), &bmp("dns=a.example")]);
    let error = Forge::with(&[&attribute("1.3.6.1.4.1.311.13.2.1", &[&pair])]).names().unwrap_err();
    assert!(error.contains("put the names into a subjectAltName extension"), "{error}");
    // What Windows adds by itself.
    let template = tlv::extension(&"1.3.6.1.4.1.311.20.2".parse().unwrap(), false, &bmp("Machine"));
    let both = attribute(MICROSOFT, &[&extensions(&[&template, &one])]);
    assert_eq!(Forge::with(&[&both]).names().unwrap(), one_name);
}

#[test]
fn what_is_refused_is_named() {
    let ecdsa = |parameters: &[u8]| tlv::sequence(&[&object("1.2.840.10045.4.3.2"), parameters]);
    let null = Forge { algorithm: ecdsa(&[5, 0]), ..Forge::new() };
    assert!(null.names().unwrap().is_empty());
    let ed25519 = tlv::sequence(&[&object("1.3.101.112"), &[5, 0]]);
    let odd = tlv::sequence(&[&tlv::oid(&oid::COMMON_NAME), &tlv::wrap(0x0c, &[b"x"])]);
    let pair = tlv::wrap(tlv::SET, &[&odd, &odd]);
    for (forge, said) in [
        (Forge { algorithm: ecdsa(&[4, 0]), ..Forge::new() }, "ecdsa-with-SHA256 with parameters"),
        (Forge { algorithm: ed25519, ..Forge::new() }, "Ed25519 with NULL parameters"),
        (
            Forge { algorithm: tlv::sequence(&[&object("1.2.840.10045.4.3.4")]), ..Forge::new() },
            "ecdsa-with-SHA512 is not accepted",
        ),
        (
            Forge { algorithm: tlv::sequence(&[&object("1.2.840.113549.1.1.11")]), ..Forge::new() },
            "sha256WithRSAEncryption",
        ),
        (Forge { version: tlv::unsigned(2), ..Forge::new() }, "version is 2"),
        (Forge { version: Vec::new(), ..Forge::new() }, "must hold version, subject"),
        (Forge { subject: tlv::sequence(&[&pair]), ..Forge::new() }, "subject"),
        (Forge { attributes: Some(tlv::sequence(&[])), ..Forge::new() }, "only attributes"),
    ] {
        let error = forge.names().unwrap_err();
        assert!(error.contains(said), "{said}: {error}");
        assert!(!error.contains("CONTEXT-SPECIFIC"), "{error}");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for (name, algorithm, said) in
        [("rsa", "RSA", "RSA is not accepted"), ("p521", "P-521", "EC curve P-521")]
    {
        let csr = request(path, name, algorithm, "/serialNumber=SN-1", None);
        let error = read(&csr).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    // A certificate instead of the request.
    request(path, "self", "P-256", "/CN=self", None);
    succeed(
        path,
        "openssl",
        &[
            "req", "-x509", "-key", "self.key", "-subj", "/CN=self", "-outform", "DER", "-out",
            "self.der",
        ],
    );
    let error = read(&common::read(&path.join("self.der"))).unwrap_err().to_string();
    assert!(error.contains("it is a certificate"), "{error}");
    let (mut doubled, one) = (Forge::new().der(), Forge::new().der());
    doubled.extend(one);
    let error = read(&doubled).unwrap_err().to_string();
    assert!(error.contains("something follows its end"), "{error}");
}

#[test]
fn openssl_writes_it_and_every_form_is_one_request() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let der = request(path, "a", "P-384", "/O=maker/serialNumber=SN-1", None);
    let shell = |command: &str| {
        succeed(path, "sh", &["-c", command]);
        common::read(&path.join("out"))
    };
    for command in [
        "openssl req -in a.csr -text -out out",
        "openssl req -in a.csr -newhdr -out out",
        "openssl req -in a.csr -outform DER -out out",
        "base64 -w0 a.csr.der > out",
        "base64 -w76 a.csr.der | sed 's/$/\\r/' > out",
        "base64 a.csr > out",
        "(openssl ecparam -name secp384r1; cat a.csr) > out",
        "printf '\\357\\273\\277' | cat - a.csr > out",
        "iconv -f utf-8 -t utf-16 a.csr > out",
    ] {
        assert_eq!(armour::decode_request(&shell(command)).unwrap(), der, "{command}");
    }
    let error = armour::decode_request(&shell("cat a.key a.csr > out")).unwrap_err().to_string();
    assert!(error.contains("private key"), "{error}");
}
