//! What the owner of a machine has done by the node's user: the owner neither
//! opens the node's token nor reads what the node wrote.

use hufu_configuration::Config;
use hufu_configuration::files;
use hufu_configuration::keyring::label;
use hufu_configuration::pin;
use hufu_host::backup::COPY;

use crate::cli::Part;
use crate::output;

/// Runs `hufu appliance part`.
///
/// # Errors
/// What stands in the way.
pub fn run(part: Part, config: &Config, pin_fd: Option<u32>) -> anyhow::Result<()> {
    files::close_to_others();
    match part {
        Part::CopyStore => {
            let copy = config.data(COPY);
            // One that was left when the machine lost its power.
            files::remove(&copy)?;
            Ok(hufu_issuance::Store::back_up(&config.data("ca.sqlite"), &copy)?)
        }
        Part::DestroyKeys => {
            let pin = pin::user(pin_fd)?;
            let labels = [label::VOTE, label::TLS, label::STATEMENT, label::ROOT, label::ISSUING];
            let (module, token) = (&config.token.module, &config.token.label);
            let destroyed = hufu_keys::destroy_keys(module, token, &pin, &labels)?;
            output::lines(&destroyed.join(" "))
        }
    }
}
