//! The consortium: directories and ceremonies, founding, nodes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hufu_proof::{Algorithm, Genesis};
use hufu_tpm::swtpm::Manufacturer;

use crate::appliance::{Appliance, Machine};
use crate::company;
use crate::device::Device;
use crate::est::{self, Enrolled, Est};
use crate::gateway::Gateway;
use crate::http::{Http, Identity};
use crate::inspect::text;
use crate::member::{Addresses, Member, ROLES, Role};
use crate::ports;
use crate::process::{self, Answer, Process, Watchdog, wait_for};
use crate::tpm_device::TpmDevice;

/// The consortium's name.
pub const NAME: &str = "first-light";

/// Founders that must approve a change.
pub const APPROVALS: usize = 3;

/// Contract packages, in the order of their dependence.
pub const PACKAGES: [&str; 2] = ["device-registry", "operation-supervision"];

/// How long a node may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a consortium is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Everything is kept in here.
    pub directory: PathBuf,
    /// The `hufu` program.
    pub hufu: PathBuf,
    /// Whether to remove the directory at the end.
    pub remove: bool,
    /// Devices with a TPM of their own.
    pub tpm_devices: usize,
}

/// Four members, companies that came later, their nodes, and devices with TPMs.
pub struct Consortium {
    /// What it was made with.
    pub settings: Settings,
    /// Authority, regulator, maker, operator; then companies.
    pub members: Vec<Member>,
    /// Running nodes by member.
    nodes: BTreeMap<&'static str, Process>,
    watchdog: Watchdog,
}

impl Consortium {
    /// Sets up directories and configurations; goes on with what is there.
    ///
    /// # Errors
    /// When the directory cannot be written or holds something else.
    pub fn prepare(settings: Settings) -> anyhow::Result<Self> {
        fs::create_dir_all(&settings.directory)
            .with_context(|| format!("cannot make {}", settings.directory.display()))?;
        let directory = fs::canonicalize(&settings.directory)?;
        let settings = Settings { directory, ..settings };
        let remove = settings.remove.then_some(settings.directory.as_path());
        let watchdog = Watchdog::start(&settings.directory.join("run"), remove)?;
        let consortium = Self::with_members(settings, watchdog)?;
        let peers = consortium.peers();
        for member in &consortium.members {
            consortium.configure(member, &peers)?;
        }
        Ok(consortium)
    }

    /// The consortium in a directory whose nodes another process runs.
    ///
    /// # Errors
    /// When there is none.
    pub fn attach(settings: Settings) -> anyhow::Result<Self> {
        let directory = fs::canonicalize(&settings.directory)
            .with_context(|| settings.directory.display().to_string())?;
        let watchdog = Watchdog::of_another(&directory.join("run"));
        Self::with_members(Settings { directory, ..settings }, watchdog)
    }

    /// Whether the nodes of the consortium in `directory` run: whether that of its
    /// authority answers.
    pub fn runs_in(directory: &Path) -> bool {
        let Ok(bytes) = fs::read(directory.join("addresses.json")) else { return false };
        let Ok(addresses) = serde_json::from_slice::<Vec<Addresses>>(&bytes) else { return false };
        let Some(first) = addresses.first() else { return false };
        let answer = Http::plain().get(&format!("http://{}/healthz", first.metrics));
        answer.is_ok_and(|answer| answer.status == 200)
    }

    fn with_members(settings: Settings, watchdog: Watchdog) -> anyhow::Result<Self> {
        let addresses = addresses(&settings.directory.join("addresses.json"))?;
        let founders = ROLES.into_iter().zip(addresses);
        let companies = company::admitted(&settings.directory)?;
        let mut members = Vec::new();
        for (role, addresses) in founders.chain(companies) {
            let directory = settings.directory.join(role.name);
            members.push(Member::create(role, addresses, directory, &settings.hufu)?);
        }
        Ok(Self { settings, members, nodes: BTreeMap::new(), watchdog })
    }

    /// Who the members are and where they listen.
    pub(crate) fn peers(&self) -> Vec<(Role, Addresses)> {
        self.members.iter().map(|one| (one.role, one.addresses.clone())).collect()
    }

    /// Writes the configuration of `member`.
    pub(crate) fn configure(
        &self,
        member: &Member,
        peers: &[(Role, Addresses)],
    ) -> anyhow::Result<()> {
        member.configure(&self.genesis_path(), peers, &self.manufacturer_roots())
    }

    /// A consortium that is ready for work: ceremonies, founding, nodes,
    /// certificates, contracts.
    ///
    /// # Errors
    /// What did not work.
    pub fn ready(settings: Settings) -> anyhow::Result<Self> {
        let mut consortium = Self::prepare(settings)?;
        consortium.make_ready()?;
        Ok(consortium)
    }

    /// All that comes between [`Self::prepare`] and [`Self::ready`].
    ///
    /// # Errors
    /// What did not work.
    pub fn make_ready(&mut self) -> anyhow::Result<()> {
        self.make_tpms()?;
        self.hold_ceremonies()?;
        self.found()?;
        self.start_all()?;
        self.certify_nodes()?;
        self.deploy_contracts()
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.settings.directory.join(name)
    }

    /// The genesis file.
    pub fn genesis_path(&self) -> PathBuf {
        self.path("genesis.json")
    }

    /// The genesis file, read.
    ///
    /// # Errors
    /// Before the founding.
    pub fn genesis(&self) -> anyhow::Result<Genesis> {
        let bytes = fs::read(self.genesis_path()).context("there is no genesis file yet")?;
        Ok(Genesis::from_json(&bytes)?)
    }

    /// The root certificate, PEM.
    pub fn root_path(&self) -> PathBuf {
        self.authority().data("root.pem")
    }

    /// The issuing certificate, PEM.
    pub fn issuing_path(&self) -> PathBuf {
        self.authority().data("issuing.pem")
    }

    /// The member called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn member(&self, name: &str) -> anyhow::Result<&Member> {
        self.members
            .iter()
            .find(|member| member.name() == name)
            .with_context(|| format!("there is no member {name}"))
    }

    /// The authority.
    pub fn authority(&self) -> &Member {
        &self.members[0]
    }

    /// The regulator.
    pub fn regulator(&self) -> &Member {
        &self.members[1]
    }

    /// The device maker.
    pub fn maker(&self) -> &Member {
        &self.members[2]
    }

    /// The plant operator.
    pub fn operator(&self) -> &Member {
        &self.members[3]
    }

    /// The maker of the TPMs.
    ///
    /// # Errors
    /// When its directory cannot be made.
    pub fn manufacturer(&self) -> anyhow::Result<Manufacturer> {
        Ok(Manufacturer::open(&self.path("tpm-manufacturer"))?)
    }

    fn manufacturer_roots(&self) -> PathBuf {
        self.path("tpm-roots.pem")
    }

    /// Makes the TPMs of the devices and the file with their maker's roots.
    ///
    /// # Errors
    /// When `swtpm_setup` does not succeed.
    pub fn make_tpms(&self) -> anyhow::Result<()> {
        let manufacturer = self.manufacturer()?;
        for id in self.tpm_device_ids() {
            TpmDevice::make(&manufacturer, &self.path("devices"), &id)?;
        }
        let roots = manufacturer.roots_pem()?;
        fs::write(self.manufacturer_roots(), roots).context("cannot write the TPM roots")
    }

    /// Identifiers of the devices with a TPM.
    pub fn tpm_device_ids(&self) -> Vec<String> {
        (1..=self.settings.tpm_devices).map(|number| format!("TPM-{number:02}")).collect()
    }

    /// Switches the devices with a TPM on.
    ///
    /// # Errors
    /// When a TPM does not start.
    pub fn start_tpm_devices(&self) -> anyhow::Result<Vec<TpmDevice>> {
        self.tpm_device_ids()
            .iter()
            .map(|id| TpmDevice::start(&self.path("devices"), id, &self.watchdog))
            .collect()
    }

    /// Switches one device with a TPM on that is kept in `directory`.
    ///
    /// # Errors
    /// When its TPM does not start.
    pub fn start_tpm_device(&self, directory: &Path, id: &str) -> anyhow::Result<TpmDevice> {
        TpmDevice::start(directory, id, &self.watchdog)
    }

    /// Holds the key ceremony of every member that has not held it.
    ///
    /// # Errors
    /// What `hufu init` said.
    pub fn hold_ceremonies(&self) -> anyhow::Result<()> {
        in_parallel(&self.members, Member::hold_ceremony)
    }

    /// Agrees on a genesis file: every founder makes it and compares.
    ///
    /// # Errors
    /// When founders come to different files.
    pub fn found(&self) -> anyhow::Result<()> {
        let agreed = self.genesis_path();
        if agreed.exists() {
            return Ok(());
        }
        let requests: Vec<PathBuf> =
            self.members.iter().map(|member| member.data("join.json")).collect();
        let mut digests = Vec::new();
        for member in &self.members {
            let own = member.directory.join("genesis.json");
            let approvals = APPROVALS.to_string();
            let mut arguments = vec!["--json", "org", "found", "--consortium", NAME];
            arguments.extend(["--approvals", &approvals, "--out", text(&own)?]);
            for request in &requests {
                arguments.push(text(request)?);
            }
            let answer = member.run(&arguments)?.json()?;
            digests.push(answer["digest"].as_str().map(str::to_owned));
        }
        ensure!(
            digests.iter().all(|digest| digest.is_some() && *digest == digests[0]),
            "the founders do not agree on the genesis file: {digests:?}"
        );
        fs::copy(self.members[0].directory.join("genesis.json"), &agreed)
            .context("cannot write the genesis file")?;
        Ok(())
    }

    /// Starts all nodes that do not run and waits until they are up.
    ///
    /// # Errors
    /// When one ends or does not answer.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        for index in 0..self.members.len() {
            self.start(self.members[index].name())?;
        }
        for index in 0..self.members.len() {
            self.wait_until_up(self.members[index].name())?;
        }
        Ok(())
    }

    /// Starts the node of `name`, unless it runs.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&mut self, name: &str) -> anyhow::Result<()> {
        self.start_with(name, &[])
    }

    /// Starts the node of `name` with these variables in its environment, unless
    /// it runs.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_with(&mut self, name: &str, variables: &[(&str, &str)]) -> anyhow::Result<()> {
        if self.nodes.get_mut(name).is_some_and(Process::is_running) {
            return Ok(());
        }
        let member = self.member(name)?;
        let process = Process::start(
            member.name(),
            member.hufu(&["serve"]).envs(variables.iter().copied()),
            &member.log(),
            &self.watchdog,
        )?;
        let name = member.name();
        self.nodes.insert(name, process);
        Ok(())
    }

    /// Waits until the node of `name` answers its operator.
    ///
    /// # Errors
    /// When it ends first, or does not answer for a minute.
    pub fn wait_until_up(&mut self, name: &str) -> anyhow::Result<()> {
        let health = format!("{}/healthz", self.member(name)?.metrics_url());
        let socket = self.member(name)?.data("admin.sock");
        let http = Http::plain();
        let node = self.node(name)?;
        wait_for(&format!("the node of {name}"), PATIENCE, || {
            if node.check().is_err() {
                return Ok(());
            }
            ensure!(socket.exists(), "{} is not there", socket.display());
            http.get(&health)?.success().map(drop)
        })?;
        node.check()
    }

    /// Waits until the node of `name` says that it is ready.
    ///
    /// # Errors
    /// When it ends first, or is not ready for a minute.
    pub fn wait_until_ready(&mut self, name: &str) -> anyhow::Result<()> {
        let url = format!("{}/readyz", self.member(name)?.metrics_url());
        let http = Http::plain();
        let node = self.node(name)?;
        wait_for(&format!("{name} to be ready"), PATIENCE, || {
            if node.check().is_err() {
                return Ok(());
            }
            http.get(&url)?.success().map(drop)
        })?;
        node.check()
    }

    /// The process of the node of `name`.
    ///
    /// # Errors
    /// When it was not started.
    pub fn node(&mut self, name: &str) -> anyhow::Result<&mut Process> {
        self.nodes.get_mut(name).with_context(|| format!("the node of {name} was not started"))
    }

    /// A machine of its own for an appliance, called `name`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_appliance(&self, name: &str, settings: &Machine) -> anyhow::Result<Appliance> {
        let directory = self.path("appliances").join(name);
        Appliance::start(name, &self.settings.hufu, directory, settings, &self.watchdog)
    }

    /// Starts a front-end ([`Member::front_end`]) and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start, or is not ready for a minute.
    pub fn start_front_end(&self, front: &Member, called: &str) -> anyhow::Result<Process> {
        let mut command = front.hufu(&["serve", "--read-only"]);
        let mut process = Process::start(called, &mut command, &front.log(), &self.watchdog)?;
        let url = format!("{}/readyz", front.metrics_url());
        let http = Http::plain();
        wait_for(&format!("{called} to be ready"), PATIENCE, || {
            if process.check().is_err() {
                return Ok(());
            }
            http.get(&url)?.success().map(drop)
        })?;
        process.check()?;
        Ok(process)
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.node(name)?.kill()
    }

    /// SIGTERM to every node, and waits.
    ///
    /// # Errors
    /// When one does not end, or ends badly.
    pub fn stop_all(&mut self) -> anyhow::Result<()> {
        let mut bad = Vec::new();
        let mut nodes = std::mem::take(&mut self.nodes);
        nodes.retain(|_, node| node.is_running());
        for node in nodes.values() {
            // Ignored: one that has just ended is waited for below.
            let _ = node.signal(rustix::process::Signal::TERM);
        }
        for (name, node) in &mut nodes {
            match node.terminate(PATIENCE) {
                Ok(status) if status.success() => {}
                Ok(status) => bad.push(format!("{name} ended with {status}")),
                Err(error) => bad.push(format!("{error:#}")),
            }
        }
        if bad.is_empty() { Ok(()) } else { bail!("{}", bad.join("\n")) }
    }

    /// Gives every node its TLS certificate, where it has none, and waits until
    /// it is ready.
    ///
    /// # Errors
    /// What `hufu cert` said.
    pub fn certify_nodes(&mut self) -> anyhow::Result<()> {
        for member in &self.members {
            self.certify_node(member)?;
        }
        for index in 0..self.members.len() {
            self.wait_until_ready(self.members[index].name())?;
        }
        Ok(())
    }

    /// Gives the node of `member` its TLS certificate, where it has none.
    ///
    /// # Errors
    /// What `hufu cert` said.
    pub(crate) fn certify_node(&self, member: &Member) -> anyhow::Result<()> {
        if member.data("tls.pem").exists() {
            return Ok(());
        }
        let (csr, out) = (member.data("tls.csr"), member.directory.join("tls.pem"));
        self.certify(member.name(), &csr, &out)?;
        member.run(&["cert", "install", "--chain", text(&out)?])?;
        Ok(())
    }

    /// Issues the certificate of the node of `member`.
    ///
    /// # Errors
    /// What `hufu cert issue` said.
    pub fn certify(&self, member: &str, csr: &Path, out: &Path) -> anyhow::Result<()> {
        self.issue("member-node", member, roles_of_node(member), csr, out)
    }

    /// Approves the key of a request for `roles` in the name of `member`, on that
    /// member's own node.
    ///
    /// # Errors
    /// What `hufu member approve` said.
    pub fn approve(&self, member: &str, csr: &Path, roles: &[&str]) -> anyhow::Result<()> {
        let mut arguments = vec!["member", "approve", "--csr", text(csr)?];
        arguments.extend(roles.iter().flat_map(|role| ["--role", role]));
        self.member(member)?.run(&arguments)?;
        Ok(())
    }

    /// Issues a certificate on the authority's command line; `more` are more of
    /// its arguments.
    ///
    /// # Errors
    /// What `hufu cert issue` said.
    pub fn issue(
        &self,
        profile: &str,
        member: &str,
        more: &[&str],
        csr: &Path,
        out: &Path,
    ) -> anyhow::Result<()> {
        let mut arguments = vec!["cert", "issue", "--profile", profile, "--member", member];
        arguments.extend(more);
        arguments.extend(["--csr", text(csr)?, "--out", text(out)?]);
        self.authority().run(&arguments)?;
        Ok(())
    }

    /// Checks and deploys the contract packages that are not deployed: the
    /// authority proposes, the founders approve.
    ///
    /// # Errors
    /// What `hufu policy` said.
    pub fn deploy_contracts(&self) -> anyhow::Result<()> {
        let policies = crate::binaries::workspace().join("policies");
        for package in PACKAGES {
            let directory = policies.join(package);
            self.deploy_contract(&directory)
                .with_context(|| format!("deploying {}", directory.display()))?;
        }
        Ok(())
    }

    /// Checks and deploys a contract package that is not deployed, beside whose
    /// directory is what it requires, or in `policies`.
    ///
    /// # Errors
    /// What `hufu policy` said.
    pub fn deploy_contract(&self, directory: &Path) -> anyhow::Result<()> {
        let directory = text(directory)?;
        let package = Path::new(directory).file_name().and_then(|name| name.to_str());
        let package = package.context("a package directory has a name")?;
        if self.is_active(self.authority(), package)? {
            return Ok(());
        }
        let policies = crate::binaries::workspace().join("policies");
        let mut check = vec!["policy".to_owned(), "check".to_owned(), directory.to_owned()];
        if Path::new(directory).parent() != Some(policies.as_path()) {
            for required in PACKAGES {
                let beside = policies.join(required);
                check.extend(["--requires".to_owned(), text(&beside)?.to_owned()]);
            }
        }
        self.authority().run(&check.iter().map(String::as_str).collect::<Vec<_>>())?;
        let answer = self.authority().json(&["policy", "deploy", directory])?;
        let proposal = answer["proposal"]
            .as_str()
            .with_context(|| format!("no proposal in {answer}"))?
            .to_owned();
        for member in &self.members[1..APPROVALS] {
            // The proposal may not have reached the other nodes yet.
            wait_for("the approval", PATIENCE, || member.run(&["policy", "approve", &proposal]))?;
        }
        for member in &self.members {
            wait_for(&format!("{package} to be active"), PATIENCE, || {
                ensure!(self.is_active(member, package)?, "{package} is not active");
                Ok(())
            })?;
        }
        Ok(())
    }

    fn is_active(&self, member: &Member, package: &str) -> anyhow::Result<bool> {
        let list = member.json(&["policy", "list"])?;
        let contracts = list["contracts"].as_array().cloned().unwrap_or_default();
        Ok(contracts.iter().any(|contract| contract["name"] == package))
    }

    /// A software client of `member`, certified with `role`, kept under
    /// `clients/`.
    ///
    /// # Errors
    /// What `hufu cert issue` said.
    pub fn client(&self, member: &str, role: &str) -> anyhow::Result<Identity> {
        let directory = self.path("clients");
        fs::create_dir_all(&directory)?;
        let name = format!("{member}-{role}");
        let file = |ending: &str| directory.join(format!("{name}.{ending}"));
        if !file("pem").exists() {
            let client = Device::new(&name, Algorithm::EcdsaP256)?;
            fs::write(file("key"), client.key_pem())?;
            let request = est::pem("CERTIFICATE REQUEST", &client.client_request()?);
            fs::write(file("csr"), request)?;
            self.approve(member, &file("csr"), &[role])?;
            self.issue("operator-client", member, &["--role", role], &file("csr"), &file("pem"))?;
        }
        Ok(Identity {
            chain_pem: fs::read_to_string(file("pem"))?,
            key_pem: fs::read_to_string(file("key"))?,
        })
    }

    /// The root certificate, read.
    ///
    /// # Errors
    /// Before the ceremony.
    pub fn root_pem(&self) -> anyhow::Result<String> {
        fs::read_to_string(self.root_path()).context("there is no root certificate yet")
    }

    /// EST as the maker's production line.
    ///
    /// # Errors
    /// When the line has no certificate.
    pub fn est(&self) -> anyhow::Result<Est> {
        let identity = self.client("maker", "registration-authority")?;
        let http = Http::tls(&self.root_pem()?, Some(&identity))?;
        Ok(Est::new(http, &self.authority().est_url()))
    }

    /// The gateway of the member `of`, as `role` of the member `as_member`.
    ///
    /// # Errors
    /// When there is no certificate.
    pub fn gateway(&self, of: &str, as_member: &str, role: &str) -> anyhow::Result<Gateway> {
        let identity = self.client(as_member, role)?;
        let http = Http::tls(&self.root_pem()?, Some(&identity))?;
        Ok(Gateway::new(http, &self.member(of)?.gateway_url(), &self.genesis()?))
    }

    /// The gateway of the operator's node, asked by the operator, whose the devices
    /// are by the register: what they sent, it may read.
    ///
    /// # Errors
    /// When it has no client certificate and gets none.
    pub fn owner(&self) -> anyhow::Result<Gateway> {
        self.gateway("operator", "operator", "operator")
    }

    /// `hufu cert bundle`: the certificate with its issuance receipt, in
    /// `path`.
    ///
    /// # Errors
    /// What `hufu` said.
    pub fn bundle(&self, certificate: &Enrolled, path: &Path) -> anyhow::Result<()> {
        let serial = certificate.serial()?;
        wait_for("the issuance receipt", PATIENCE, || {
            self.authority().run(&["cert", "bundle", &serial, "--out", text(path)?])
        })?;
        Ok(())
    }

    /// `hufu verify`, with nothing but the genesis file. Says how it ended.
    ///
    /// # Errors
    /// When it does not start.
    pub fn verify(&self, file: &Path) -> anyhow::Result<Answer> {
        // No configuration, no token, no network: offline.
        let mut command = Command::new(&self.settings.hufu);
        command.arg("verify").arg("--genesis").arg(self.genesis_path()).arg(file);
        command.env("HUFU_CONFIG", "/nonexistent");
        process::run(&mut command)
    }

    /// Height and state root of every running node, from `hufu status`.
    ///
    /// # Errors
    /// When one does not say.
    pub fn states(&self) -> anyhow::Result<BTreeMap<&'static str, (u64, String)>> {
        let mut states = BTreeMap::new();
        for name in self.nodes.keys() {
            let status = self.member(name)?.json(&["status"])?;
            let ledger = &status["ledger"];
            let height = ledger["height"].as_u64();
            let root = ledger["state_root"].as_str().map(str::to_owned);
            let state = height.zip(root);
            states.insert(*name, state.with_context(|| format!("{name} says {status}"))?);
        }
        Ok(states)
    }
}

/// Runs `work` for every item at the same time and gives the first error.
///
/// # Errors
/// Those of `work`.
pub fn in_parallel<T: Sync>(
    items: &[T],
    work: impl Fn(&T) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let running: Vec<_> = items.iter().map(|item| scope.spawn(|| work(item))).collect();
        let mut outcome = Ok(());
        for one in running {
            let ended = one.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")));
            outcome = outcome.and(ended);
        }
        outcome
    })
}

/// What a member's node may do when it calls the services of others.
fn roles_of_node(member: &str) -> &'static [&'static str] {
    match member {
        "maker" => &["--role", "operator", "--role", "registration-authority"],
        "regulator" => &["--role", "operator", "--role", "regulator"],
        _ => &["--role", "operator"],
    }
}

/// The members' addresses: those of an earlier run, because certificates name
/// them, else free ones.
fn addresses(file: &Path) -> anyhow::Result<Vec<Addresses>> {
    if let Ok(bytes) = fs::read(file) {
        let addresses: Vec<Addresses> = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is not ours", file.display()))?;
        ensure!(addresses.len() == ROLES.len(), "{} is not ours", file.display());
        return Ok(addresses);
    }
    let addresses = free_addresses(ROLES.len())?;
    fs::write(file, serde_json::to_vec_pretty(&addresses)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(addresses)
}

/// Free addresses for so many members.
pub(crate) fn free_addresses(members: usize) -> anyhow::Result<Vec<Addresses>> {
    let free = ports::free(members * Addresses::COUNT)?;
    Ok(free
        .chunks_exact(Addresses::COUNT)
        .map(|ports| Addresses {
            network: ports[0],
            gateway: ports[1],
            metrics: ports[2],
            est: ports[3],
            status: ports[4],
        })
        .collect())
}
