//! What must hold before a stage of setup, restore or a change of configuration:
//! the configuration is this machine's, enough people watch, the genesis file has
//! the keys of the ceremony.

use std::collections::BTreeSet;
use std::path::Path;

use hufu_configuration::config::Config;
use hufu_configuration::join::JoinRequest;
use hufu_door::{Code, Problem};
use hufu_proof::{Genesis, Name};

use crate::site::Site;

/// Fewest and most people who watch a ceremony.
const WITNESSES: std::ops::RangeInclusive<usize> = 2..=16;

/// Longest name of a witness, in characters.
const MAX_WITNESS: usize = 100;

type Done = Result<(), Problem>;

/// Whether two configurations are of one member with one token.
pub fn same_keys(old: &Config, new: &Config) -> bool {
    old.member == new.member
        && old.token.module == new.token.module
        && old.token.label == new.token.label
}

/// A member that the configuration has no address of.
pub fn peer_without_address<'a>(genesis: &'a Genesis, config: &Config) -> Option<&'a Name> {
    let mut members = genesis.members.iter().map(|member| &member.name);
    members.find(|name| !config.network.peers.contains_key(*name))
}

/// The configuration must be one of this machine.
///
/// # Errors
/// [`Problem`] with line or key.
pub fn check_config(site: &Site, text: &str) -> Result<Config, Problem> {
    let refuse = |detail: String| Problem::new(Code::ConfigurationRefused, detail);
    let config = Config::parse(text, "hufu.toml").map_err(|error| refuse(format!("{error:#}")))?;
    let must = |key: &str, found: &Path, wanted: &Path| {
        if found == wanted {
            return Ok(());
        }
        Err(refuse(format!(
            "in hufu.toml: {key} must be {wanted:?} on the appliance, and is {found:?}"
        )))
    };
    must("paths.data", &config.paths.data, &site.data(""))?;
    must("paths.genesis", &config.paths.genesis, &site.genesis())?;
    for root in &config.tpm.manufacturer_roots {
        if !root.is_file() {
            return Err(refuse(format!(
                "in hufu.toml: tpm.manufacturer_roots: {root:?} is not on this machine"
            )));
        }
    }
    Ok(config)
}

/// Enough people watch, each with a name.
///
/// # Errors
/// [`Problem`] with the name.
pub fn check_witnesses(witnesses: &[String]) -> Done {
    let refuse = |detail: String| Err(Problem::new(Code::WitnessesRefused, detail));
    let fits = |name: &String| {
        let length = name.chars().count();
        name.trim() == name
            && (1..=MAX_WITNESS).contains(&length)
            && !name.chars().any(char::is_control)
            // Not an option of the ceremony's command line.
            && !name.starts_with('-')
    };
    if let Some(name) = witnesses.iter().find(|name| !fits(name)) {
        return refuse(format!(
            "witnesses: {name:?} is not a name; give 1 to {MAX_WITNESS} characters without blanks \
             around them"
        ));
    }
    let people: BTreeSet<String> = witnesses.iter().map(|name| name.to_lowercase()).collect();
    if people.len() != witnesses.len() {
        return refuse("witnesses: one is named twice".to_owned());
    }
    if !WITNESSES.contains(&witnesses.len()) {
        return refuse(format!(
            "witnesses: name {} to {} people who watch, not {}",
            WITNESSES.start(),
            WITNESSES.end(),
            witnesses.len()
        ));
    }
    Ok(())
}

/// The genesis file must have this member, with the keys of the ceremony.
///
/// # Errors
/// [`Problem`] with what differs.
pub fn check_founder(genesis: &Genesis, join: &JoinRequest) -> Done {
    let refuse = |detail: String| Err(Problem::new(Code::GenesisRefused, detail));
    let request = &join.request;
    let Some(member) = genesis.member(&request.name) else {
        return refuse(format!(
            "member `{}` is not in the genesis file of consortium {}; if that has admitted it \
             since, say so (`--admitted`)",
            request.name, genesis.consortium
        ));
    };
    for (what, found, made) in [
        ("vote_key", &member.vote_key, &request.vote_key),
        ("statement_key", &member.statement_key, &request.statement_key),
    ] {
        if found != made {
            return refuse(format!(
                "{what} of member `{}` is {found}, and this machine's ceremony made {made}; found \
                 the consortium with the join request of this machine, or have it admitted and \
                 say so (`--admitted`)",
                request.name
            ));
        }
    }
    let asked = request.member();
    for (what, differs) in [
        ("kinds", member.kinds != asked.kinds),
        ("jurisdictions", member.jurisdictions != asked.jurisdictions),
        ("names", member.names != asked.names),
        ("node_key", member.node_key != asked.node_key),
    ] {
        if differs {
            return refuse(format!(
                "{what} of member `{}` in the genesis file are not those of its join request",
                request.name
            ));
        }
    }
    Ok(())
}

/// The configuration must know where the founders are.
///
/// # Errors
/// [`Problem`] with the member.
pub fn check_addresses(genesis: &Genesis, config: &Config) -> Done {
    let refuse = |detail: String| Err(Problem::new(Code::GenesisRefused, detail));
    match peer_without_address(genesis, config) {
        Some(other) => refuse(format!(
            "network.peers of the configuration has no address of member `{other}`; send the \
             configuration again with it, then the genesis file"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The smallest configuration of a member, for tests of the setup.
    pub(crate) fn config(site: &Site) -> String {
        format!(
            "[member]\nname = \"maker\"\nkinds = [\"maker\"]\n[paths]\ndata = {:?}\ngenesis = {:?}\n\
             [token]\nmodule = \"/nonexistent/module.so\"\nlabel = \"maker\"\n\
             [network]\nlisten = \"127.0.0.1:7000\"\npeers = {{ maker = \"127.0.0.1:7000\" }}\n",
            site.data(""),
            site.genesis()
        )
    }

    fn refused(outcome: Result<Config, Problem>, words: &str) {
        let problem = outcome.unwrap_err();
        assert_eq!(problem.code().as_str(), "configuration-refused");
        assert!(problem.detail().contains(words), "{}", problem.detail());
    }

    #[test]
    fn a_configuration_must_be_for_this_machine() {
        let root = tempfile::tempdir().unwrap();
        let site = Site::new(root.path(), None);
        let good = config(&site);
        check_config(&site, &good).unwrap();
        refused(check_config(&site, &good.replace("lib/hufu/data", "lib/data")), "paths.data");
        refused(check_config(&site, &good.replace("genesis.json", "g.json")), "paths.genesis");
        refused(check_config(&site, &good.replace("label", "lable")), "line 9");
        refused(check_config(&site, &good.replace("label", "lable")), "`lable`");
        refused(
            check_config(&site, &format!("{good}[tpm]\nmanufacturer_roots = [\"/none.pem\"]\n")),
            "/none.pem",
        );
    }

    #[test]
    fn the_configuration_in_the_documentation_is_one() {
        let documentation = include_str!("../../../docs/appliance.md");
        let example =
            documentation.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
        check_config(&Site::new(Path::new("/"), None), example.unwrap()).unwrap();
    }

    #[test]
    fn at_least_two_people_watch() {
        let names =
            |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        check_witnesses(&names(&["Li Wei", "Ana Silva"])).unwrap();
        check_witnesses(&names(&["李伟", "Ana"])).unwrap();
        let long = "x".repeat(MAX_WITNESS + 1);
        for bad in [
            vec![],
            names(&["Li Wei"]),
            names(&["Li Wei", "li wei"]),
            names(&["Li Wei", ""]),
            names(&["Li Wei", " Ana"]),
            names(&["Li Wei", "A\nB"]),
            names(&["Li Wei", "--json"]),
            names(&["Li Wei", &long]),
            (0..17).map(|number| format!("Person {number}")).collect(),
        ] {
            let problem = check_witnesses(&bad).unwrap_err();
            assert_eq!(problem.code().as_str(), "witnesses-refused", "{bad:?}");
        }
    }
}
