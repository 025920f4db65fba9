//! The way to the node: its admin socket on the same machine, or the gateway of
//! an appliance, as an administrator of the member.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hufu_client::Client;
use hufu_client::member;
use hufu_configuration::{Config, certificates};
use serde_json::Value;

/// What the command line says of the way to the node.
#[derive(Clone, Debug)]
pub struct Access {
    /// The configuration, of the node or of the administrator's workstation.
    pub config: PathBuf,
    /// The appliance's gateway; the node on this machine without it.
    pub appliance: Option<String>,
    /// Where the PIN of this machine's token is.
    pub pin_fd: Option<u32>,
    /// Where an appliance's files are.
    pub root: PathBuf,
}

impl Access {
    /// A client of the node's admin interface.
    ///
    /// # Errors
    /// What stands in the way, with the remedy.
    pub fn connect(&self) -> anyhow::Result<Client> {
        let config = Config::load(&self.config)?;
        let Some(appliance) = &self.appliance else {
            return Ok(Client::admin(&config.admin_socket()));
        };
        // The genesis file names the only authority that there is.
        let authority = config.genesis()?.authority;
        let roots = certificates::roots([authority.root_certificate.into()])?;
        let client = member::connect(&config, self.pin_fd, &url(appliance), roots)?;
        Ok(client.under("/admin"))
    }

    /// How the machine is, as the process that owns it says; `None` where there
    /// is no such process.
    ///
    /// # Errors
    /// When the state that it left cannot be read.
    pub async fn machine(&self) -> anyhow::Result<Option<Value>> {
        let socket = hufu_host::socket_path(&self.root);
        if socket.exists()
            && let Ok(state) = Client::admin(&socket).get("/v1/state").await
        {
            return Ok(Some(state));
        }
        left(&hufu_host::state_file(&self.root))
    }
}

/// The state that a process left that is gone.
fn left(path: &Path) -> anyhow::Result<Option<Value>> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let mut state: Value =
        serde_json::from_slice(&bytes).with_context(|| format!("in {}", path.display()))?;
    if let Some(reasons) = state.get_mut("reasons").and_then(Value::as_array_mut) {
        let gone = "`hufu appliance run` does not answer; this is what it said last";
        reasons.insert(0, gone.into());
    }
    Ok(Some(state))
}

fn url(appliance: &str) -> String {
    if appliance.contains("://") { appliance.to_owned() } else { format!("https://{appliance}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_says_that_it_is_old() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        assert_eq!(left(&path).unwrap(), None);
        std::fs::write(&path, "{\"state\":\"locked\",\"reasons\":[\"because\"]}").unwrap();
        let state = left(&path).unwrap().unwrap();
        assert!(state["reasons"][0].as_str().unwrap().contains("does not answer"));
        assert_eq!(state["reasons"][1], "because");
        std::fs::write(&path, "{").unwrap();
        assert!(left(&path).is_err());
    }

    #[test]
    fn a_gateway_is_named_with_or_without_its_scheme() {
        assert_eq!(url("192.0.2.1:8444"), "https://192.0.2.1:8444");
        assert_eq!(url("https://a.example:8444"), "https://a.example:8444");
    }
}
