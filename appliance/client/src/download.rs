//! Files from a web server, as this machine's system trusts it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hufu_configuration::{certificates, files, no, unavailable};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::tls;

/// Where Debian keeps the certificates of the authorities it trusts; the
/// variable names another file, as for OpenSSL.
const TRUSTED: &str = "/etc/ssl/certs/ca-certificates.crt";
const OTHER: &str = "SSL_CERT_FILE";

/// Largest file of trusted certificates, in bytes.
const MAX_TRUSTED: u64 = 4 * 1024 * 1024;

/// How long the server may take to answer, and to go on when it has begun.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether this is a URL rather than a file's name.
pub fn is_url(name: &str) -> bool {
    name.starts_with("https://") || name.starts_with("http://")
}

/// The content behind `url`, as it comes in.
///
/// # Errors
/// [`hufu_configuration::Exit::Unavailable`] when the server does not answer,
/// [`hufu_configuration::Exit::No`] when it refuses.
pub fn open(url: &str) -> anyhow::Result<Box<dyn io::Read + Send>> {
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE));
    if url.starts_with("https://") {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(trusted()?)))
            .unversioned_rustls_crypto_provider(tls::provider())
            .build();
        config = config.tls_config(tls);
    }
    let agent = config.build().new_agent();
    let answer = agent.get(url).call().map_err(|error| unavailable(format!("{url}: {error}")))?;
    if answer.status().is_server_error() || answer.status() == http::StatusCode::TOO_MANY_REQUESTS {
        return Err(unavailable(format!("{url}: {}", answer.status())));
    }
    if !answer.status().is_success() {
        return Err(no(format!("{url}: {}", answer.status())));
    }
    Ok(Box::new(answer.into_body().into_reader()))
}

fn trusted() -> anyhow::Result<Vec<Certificate<'static>>> {
    let path = std::env::var_os(OTHER).map_or_else(|| PathBuf::from(TRUSTED), PathBuf::from);
    let what = || format!("the system's trusted certificates in {}", path.display());
    let pem = files::read(&path, MAX_TRUSTED).with_context(what)?;
    let found = certificates::in_pem(&pem).with_context(what)?;
    Ok(found.iter().map(|one| Certificate::from_der(one).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// Answers one request with these bytes.
    fn serve(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        format!("http://{address}/hufu.update")
    }

    #[test]
    fn what_a_server_has_is_read_and_what_it_refuses_is_told() {
        let url = serve("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        let mut content = String::new();
        open(&url).unwrap().read_to_string(&mut content).unwrap();
        assert_eq!(content, "hello");

        let url = serve("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        assert!(open(&url).err().unwrap().to_string().contains("404"));
        // An answer that breaks off is an error, not an end.
        let url = serve("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
        assert!(open(&url).unwrap().read_to_string(&mut content).is_err());
        assert!(open("http://127.0.0.1:1/").is_err());
    }

    #[test]
    fn a_url_is_told_from_a_file() {
        assert!(is_url("https://releases.example/hufu_2.update"));
        for file in ["hufu_2.update", "-", "./https:", "https:/x"] {
            assert!(!is_url(file), "{file}");
        }
    }
}
