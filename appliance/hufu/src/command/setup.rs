//! `hufu setup`: the operator's side of a new appliance.
//!
//! The certificate that the appliance shows must have the fingerprint that the
//! operator read from its console; nothing is sent to another. Each call gives
//! what it was told and says what is still missing, so that it can be repeated
//! at any point.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::Stream;
use http::{Method, StatusCode, header};
use hufu_client::Client;
use hufu_client::tls::{self, Pinned};
use hufu_configuration::config;
use hufu_configuration::files;
use hufu_configuration::pin;
use hufu_proof::codec::MAX_GENESIS;
use hyper::body::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use zeroize::Zeroizing;

use crate::access::Access;
use crate::cli::Setup;
use crate::command::restore;
use crate::output::{self, no};

/// The setup endpoint's port.
const PORT: u16 = 8440;

/// How long a node may take to start before it takes its certificate.
const PATIENCE: Duration = Duration::from_secs(90);

/// Largest chain that is sent, in bytes.
const MAX_CHAIN: u64 = 256 * 1024;

/// What the appliance says of itself.
#[derive(Deserialize)]
struct Progress {
    missing: Vec<String>,
    member: Option<String>,
    authority: bool,
    genesis: Option<String>,
    documents: Option<Documents>,
}

#[derive(Deserialize)]
struct Documents {
    join: String,
    certificate_request: String,
    transcript: String,
    transcript_json: String,
}

#[derive(Deserialize)]
struct Issued {
    /// The authority's own certificate; elsewhere the key is approved only.
    chain: Option<String>,
}

impl Progress {
    fn misses(&self, stage: &str) -> bool {
        self.missing.iter().any(|missing| missing == stage)
    }
}

/// Runs `hufu setup`.
///
/// # Errors
/// When the appliance is another one, does not answer, or refuses.
pub async fn run(arguments: Setup, access: &Access, json: bool) -> anyhow::Result<()> {
    let address = address(access)?;
    // Read before anything is sent.
    let ceremony = match arguments.witnesses.as_slice() {
        [] => None,
        witnesses => Some(ceremony_request(&access.config, witnesses, access.pin_fd)?),
    };
    let genesis = arguments
        .genesis
        .as_deref()
        .map(|path| files::read(path, MAX_GENESIS as u64))
        .transpose()?;
    let chain = arguments.chain.as_deref().map(|path| files::read(path, MAX_CHAIN)).transpose()?;
    let administrator =
        arguments.administrator.as_deref().map(|path| files::read(path, MAX_CHAIN)).transpose()?;
    let endpoint = Endpoint::new(address, &arguments.fingerprint, arguments.code.as_deref())?;

    if let Some(file) = &arguments.restore {
        return restore::run(file, &arguments, &endpoint, json).await;
    }
    let mut done = Vec::new();
    let mut modules = Vec::new();
    if let Some(file) = &arguments.extension {
        modules = extension(&endpoint, file).await?.modules;
        done.push("extension");
    }
    let mut progress: Progress = endpoint.ask(Method::GET, "", "", Vec::new()).await?;
    if let Some(request) = ceremony {
        // The same again gets the same answer; a mended one is taken until the
        // genesis file is there.
        progress =
            endpoint.ask(Method::POST, "/ceremony", "application/json", request.to_vec()).await?;
        done.push("ceremony");
    }
    if let Some(genesis) = genesis {
        let path = if arguments.admitted { "/genesis?admitted" } else { "/genesis" };
        progress = endpoint.ask(Method::POST, path, "application/json", genesis).await?;
        done.push("genesis");
    }
    let mut files = write(&progress, &arguments.out)?;
    if let Some(request) = administrator {
        let kind = "application/pem-certificate-request";
        let issued: Issued = endpoint.ask(Method::POST, "/administrator", kind, request).await?;
        if let Some(chain) = issued.chain {
            let path = arguments.out.join("administrator.pem");
            files::write_new(&path, chain.as_bytes())?;
            files.push(path);
        }
        done.push("administrator");
    }
    // The authority certifies its own node.
    let own = arguments.administrator.filter(|_| progress.authority).map(|_| Vec::new());
    if let Some(chain) = chain.or(own) {
        let kind = "application/pem-certificate-chain";
        progress = endpoint.ask(Method::POST, "/certificate", kind, chain).await?;
        done.push("certificate");
    }
    let next = next(&progress, &arguments.out);
    let answer = json!({
        "member": progress.member, "genesis": progress.genesis, "done": done,
        "missing": progress.missing, "files": files, "modules": modules, "next": next,
    });
    output::print(json, &answer, |_| {
        let mut text = String::new();
        for stage in &done {
            text += &format!("done: {stage}\n");
        }
        if !files.is_empty() {
            let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            text += &format!("written: {}\n", names.join(", "));
        }
        for module in &modules {
            text += &format!("module: {module}\n");
        }
        if let Some(digest) = &progress.genesis {
            text += &format!("genesis: {digest}\n");
        }
        text + "next: " + &next
    })
}

/// What came of an extension.
#[derive(Deserialize)]
struct Extended {
    modules: Vec<String>,
}

/// Gives the appliance an extension, under its file's name.
async fn extension(endpoint: &Endpoint, path: &Path) -> anyhow::Result<Extended> {
    let name = path.file_stem().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} has no name", path.display()))?;
    let character = |one: char| one.is_ascii_alphanumeric() || "-_.".contains(one);
    anyhow::ensure!(name.chars().all(character), "{}: not a name as it was built", path.display());
    let file =
        std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    endpoint.upload(&format!("/extension/{name}"), files::pieces(file)).await
}

/// The body of the ceremony's request, which may have a PIN in it.
fn ceremony_request(
    path: &Path,
    witnesses: &[String],
    pin_fd: Option<u32>,
) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let text = config::text(path)?;
    // What is wrong with it is told here, with the file's name.
    config::Config::parse(&text, &path.display().to_string())?;
    let pin = pin_fd.map(pin::text).transpose()?;
    let body = json!({
        "config": text, "witnesses": witnesses, "pin": pin.as_ref().map(|pin| pin.as_str()),
    });
    Ok(Zeroizing::new(serde_json::to_vec(&body)?))
}

/// Writes what came of the ceremony.
fn write(progress: &Progress, out: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let Some(documents) = &progress.documents else { return Ok(Vec::new()) };
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    [
        ("join.json", &documents.join),
        ("tls.csr", &documents.certificate_request),
        ("transcript.txt", &documents.transcript),
        ("transcript.json", &documents.transcript_json),
    ]
    .into_iter()
    .map(|(name, content)| {
        let path = out.join(name);
        files::write_new(&path, content.as_bytes())?;
        Ok(path)
    })
    .collect()
}

/// What the operator does next.
fn next(progress: &Progress, out: &Path) -> String {
    let out = out.display();
    if progress.misses("ceremony") {
        "give the configuration and two people who watch: --config hufu.toml --witness NAME \
         --witness NAME"
            .to_owned()
    } else if progress.misses("genesis") {
        format!(
            "print and sign {out}/transcript.txt; give {out}/join.json to the founders, and the \
             genesis file that they agree on to the appliance: --genesis genesis.json"
        )
    } else if progress.misses("certificate") && progress.authority {
        "start the other founders' nodes, too, and give the authority its first administrator: \
         --administrator FILE with a request of `hufu init` on the administrator's workstation"
            .to_owned()
    } else if progress.misses("certificate") {
        format!(
            "have {out}/tls.csr certified (`hufu cert issue --profile member-node` at the \
             authority), and give the chain to the appliance, and the request of the first \
             administrator, whom this member approves so: --chain tls.pem --administrator FILE"
        )
    } else {
        "nothing; the appliance is set up, and its setup endpoint is closed for good".to_owned()
    }
}

/// Where the setup endpoint is.
///
/// # Errors
/// When it was not said.
pub fn address(access: &Access) -> anyhow::Result<&str> {
    access.appliance.as_deref().context("give the address that the console shows: --appliance HOST")
}

/// The appliance's setup endpoint.
pub struct Endpoint {
    client: Client,
    pinned: Arc<Pinned>,
    code: Zeroizing<String>,
}

impl Endpoint {
    /// The endpoint with this fingerprint; its code is asked for where it is
    /// left out.
    ///
    /// # Errors
    /// When fingerprint or code are not of their form.
    pub fn new(address: &str, fingerprint: &str, code: Option<&str>) -> anyhow::Result<Self> {
        let pinned = Arc::new(Pinned::new(fingerprint)?);
        let code = match code {
            Some(code) => code.to_owned(),
            None => rpassword::prompt_password("One-time code from the console: ")
                .context("no terminal to ask for the one-time code: give it with --code")?,
        };
        anyhow::ensure!(
            code.chars().all(|one| one.is_ascii_graphic() || one == ' '),
            "--code: give the code as the console shows it"
        );
        let client = Client::tls(&url(address), tls::pinned_client(pinned.clone())?)?;
        Ok(Self { client, pinned, code: Zeroizing::new(code) })
    }

    /// Asks it; while the node starts, again.
    ///
    /// # Errors
    /// When it is another, does not answer, or refuses.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<T> {
        let since = Instant::now();
        let path = format!("/v1/setup{path}");
        let bearer = Zeroizing::new(format!("Bearer {}", *self.code));
        loop {
            let headers = [(header::AUTHORIZATION, bearer.as_str()), (header::CONTENT_TYPE, kind)];
            let sent = self.client.send(method.clone(), &path, &headers, body.clone()).await;
            let answer = sent.map_err(|error| self.explain(error))?;
            if answer.status == StatusCode::SERVICE_UNAVAILABLE && since.elapsed() < PATIENCE {
                // The node starts when it has its genesis file.
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            return answer.json();
        }
    }

    /// Sends what `pieces` gives to `path`, however long it takes.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub async fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        pieces: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> anyhow::Result<T> {
        let bearer = Zeroizing::new(format!("Bearer {}", *self.code));
        let headers = [(header::AUTHORIZATION, bearer.as_str())];
        let path = format!("/v1/setup{path}");
        let sent = self.client.upload_with(&path, &headers, pieces).await;
        sent.map_err(|error| self.explain(error))?.json()
    }

    /// An exchange that failed because the certificate is another one is told
    /// as such.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match self.pinned.other() {
            Some(other) => no(format!(
                "the certificate there has the fingerprint {other}, not the one of --fingerprint: \
                 compare it with the console; if they differ, somebody stands in between. Nothing \
                 was sent"
            )),
            None => error
                .context("the setup endpoint does not answer: the console says whether it is open"),
        }
    }
}

/// `HOST`, `HOST:PORT` or a URL; a bare IPv6 address too.
fn url(address: &str) -> String {
    let address = address.trim_start_matches("https://").trim_end_matches('/');
    if let Ok(ip) = address.parse::<std::net::Ipv6Addr>() {
        return format!("https://[{ip}]:{PORT}");
    }
    let has_port = match address.rsplit_once(':') {
        Some((_, port)) => !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()),
        None => false,
    };
    if has_port { format!("https://{address}") } else { format!("https://{address}:{PORT}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_as_the_console_shows_it() {
        for (given, expected) in [
            ("192.0.2.2", "https://192.0.2.2:8440"),
            ("192.0.2.2:9", "https://192.0.2.2:9"),
            ("appliance.example", "https://appliance.example:8440"),
            ("[fd00::2]:8440", "https://[fd00::2]:8440"),
            ("fd00::2", "https://[fd00::2]:8440"),
            ("https://192.0.2.2:8440/", "https://192.0.2.2:8440"),
        ] {
            assert_eq!(url(given), expected, "{given}");
        }
    }
}
