//! TLS whose keys stay in the token, judged by rustls and by OpenSSL.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::Arc,
};

use hufu_keys::{Custody, Key, KeyAlgorithm, TlsKey, certified_key, testing::isolated};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, PublicKeyData, SignatureAlgorithm,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
    sign::{CertifiedKey, SigningKey, SingleCertAndKey},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

struct Public<'a>(&'a Key);

impl PublicKeyData for Public<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key_uncompressed()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.0.algorithm() {
            KeyAlgorithm::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyAlgorithm::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            _ => &rcgen::PKCS_ED25519,
        }
    }
}

/// A test CA. It certifies keys, so its own may be soft.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // OpenSSL takes a leaf with its issuer's name for self-signed.
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "test root");
        params.distinguished_name = name;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn certify(&self, key: &Key) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&Public(key), &self.issuer).unwrap();
        certificate.der().clone()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        Arc::new(roots)
    }
}

fn resolver(certified: &Arc<CertifiedKey>) -> Arc<SingleCertAndKey> {
    Arc::new(SingleCertAndKey::from(CertifiedKey::clone(certified)))
}

fn server(authority: &Authority, certified: &Arc<CertifiedKey>, mutual: bool) -> ServerConfig {
    let builder = ServerConfig::builder();
    let builder = if mutual {
        let verifier = WebPkiClientVerifier::builder(authority.roots()).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    builder.with_cert_resolver(resolver(certified))
}

/// Answers each connection with what it said.
async fn echo(config: ServerConfig) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut buffer = [0; 64];
                if let Ok(count) = stream.read(&mut buffer).await {
                    let _ = stream.write_all(&buffer[..count]).await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    address
}

async fn handshake(config: ClientConfig, address: SocketAddr) -> std::io::Result<String> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"hello").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn mutual(custody: &Custody) {
    let authority = Authority::new();
    for algorithm in KeyAlgorithm::ALL {
        let server_key = custody.key(&format!("server-{algorithm}")).unwrap();
        let client_key = custody.key(&format!("client-{algorithm}")).unwrap();
        let server_side = certified_key(&server_key, vec![authority.certify(&server_key)]).unwrap();
        let client_side = certified_key(&client_key, vec![authority.certify(&client_key)]).unwrap();
        let address = echo(server(&authority, &server_side, true)).await;
        let before = custody.counters().signatures;
        let config = ClientConfig::builder()
            .with_root_certificates(authority.roots())
            .with_client_cert_resolver(resolver(&client_side));
        assert_eq!(handshake(config, address).await.unwrap(), "hello");
        assert_eq!(custody.counters().signatures - before, 2, "one each side");

        let anonymous =
            ClientConfig::builder().with_root_certificates(authority.roots()).with_no_client_auth();
        assert!(handshake(anonymous, address).await.is_err());
    }
}

#[test]
fn both_sides_sign_in_the_token_on_either_runtime() {
    isolated(|site| {
        site.create_token("member-a");
        let custody = Custody::open(site.config("member-a"), site.pin()).unwrap();
        for algorithm in KeyAlgorithm::ALL {
            for side in ["server", "client"] {
                custody.generate(&format!("{side}-{algorithm}"), algorithm).unwrap();
            }
        }
        for mut runtime in [
            tokio::runtime::Builder::new_current_thread(),
            tokio::runtime::Builder::new_multi_thread(),
        ] {
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(mutual(&custody));
        }
    });
}

#[test]
fn openssl_shakes_hands_with_it() {
    isolated(|site| {
        site.create_token("member-a");
        let custody = Custody::open(site.config("member-a"), site.pin()).unwrap();
        let authority = Authority::new();
        let root = site.directory().join("root.pem");
        fs::write(&root, authority.certificate.pem()).unwrap();
        assert!(CertificateDer::from_pem_file(&root).is_ok());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        for algorithm in KeyAlgorithm::ALL {
            let key = custody.generate(algorithm.name(), algorithm).unwrap();
            let certified = certified_key(&key, vec![authority.certify(&key)]).unwrap();
            let address = runtime.block_on(echo(server(&authority, &certified, false)));
            let output = Command::new("openssl")
                .args(["s_client", "-brief", "-verify_return_error"])
                .args(["-verify_hostname", "localhost", "-servername", "localhost"])
                .arg("-CAfile")
                .arg(&root)
                .arg("-connect")
                .arg(address.to_string())
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{algorithm}: {said}");
            assert!(said.contains("TLSv1.3"), "{said}");
            assert!(said.contains("Verification: OK"), "{said}");
        }
    });
}

#[test]
fn a_certificate_of_another_key_is_refused() {
    isolated(|site| {
        site.create_token("member-a");
        let custody = Custody::open(site.config("member-a"), site.pin()).unwrap();
        let authority = Authority::new();
        let tls = custody.generate("tls", KeyAlgorithm::P256).unwrap();
        let other = custody.generate("other", KeyAlgorithm::P256).unwrap();
        let chain = vec![authority.certify(&other)];
        assert!(certified_key(&tls, chain.clone()).is_err());
        assert!(certified_key(&other, chain).is_ok());
        assert!(certified_key(&tls, vec![CertificateDer::from(vec![0x30, 0])]).is_err());
        // No common scheme, no signer.
        let key = TlsKey::new(tls);
        assert!(key.choose_scheme(&[rustls::SignatureScheme::ED25519]).is_none());
    });
}
