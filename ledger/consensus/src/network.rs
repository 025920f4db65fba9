//! Real connections: authenticated, encrypted TCP between peers whose keys and
//! addresses are configured.
//!
//! A peer proves with a signature of its vote key that it is who it says; who
//! is not a peer is not heard. Limits are per peer.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use commonware_consensus::marshal::standard::Standard;
use commonware_consensus::{marshal, simplex};
use commonware_cryptography::{ChaCha20Poly1305, sha256};
use commonware_p2p::authenticated::{self, lookup};
use commonware_p2p::utils::mux;
use commonware_p2p::{Address, AddressableManager as _, Ingress};
use commonware_runtime::{Network, Quota, Resolver};
use commonware_stream::{cups, sake};
use commonware_utils::ordered::Map;
use commonware_utils::{Hostname, NZU32, NZUsize, TryFromIterator as _};
use hufu_proof::Signer;

use crate::application::Application;
use crate::config::Config;
use crate::driver::Body;
use crate::engine::{Links, run};
use crate::environment::Environment;
use crate::error::Error;
use crate::gossip::{self, GossipReceiver};
use crate::keys::{Identity, PublicKey};
use crate::node::{Node, supervise};
use crate::scheme::VoteScheme;

/// The address of a peer that has none: nobody answers there, so the peer has to
/// come by itself.
const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// By how much the clocks of two peers may differ for them to connect: more
/// than any mistake of the hour, so that a node whose clock is wrong can be told
/// so ([`crate::clock`]). Nothing rests on the age of a handshake: one that is
/// played again cannot be completed, because each side proves in it that it
/// knows a secret of this very connection.
const CLOCKS: Duration = Duration::from_secs(24 * 60 * 60);

/// Where a validator listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// An address.
    Socket(SocketAddr),
    /// A host's name, looked up again for each attempt to connect.
    Name {
        /// The name (RFC 1123 §2.1).
        host: String,
        /// The port.
        port: u16,
    },
}

impl PeerAddress {
    fn to_dial(&self) -> Result<Address, Error> {
        match self {
            Self::Socket(address) => Ok(Address::from(*address)),
            Self::Name { host, port } => {
                let host = Hostname::new(host).map_err(|problem| Error::Config {
                    field: "peers",
                    problem: format!("`{host}` is not a host name: {problem}"),
                })?;
                let ingress = Ingress::Dns { host, port: *port };
                // Peers are known by their keys; where a name leads may change.
                Ok(Address::Asymmetric { ingress, egress: NOWHERE })
            }
        }
    }
}

/// Where a validator is reached.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its vote key.
    pub key: hufu_proof::PublicKey,
    /// Its address; without one it is waited for.
    pub address: Option<PeerAddress>,
}

/// How a node is connected.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The validators, this node included.
    pub peers: Vec<Peer>,
    /// Whether to accept a peer only from the address it is configured with.
    /// Keys authenticate peers; this only keeps strangers from trying. It must
    /// be off where peers are behind address translation, or have a name or no
    /// address here.
    pub only_known_addresses: bool,
}

/// Peers and their addresses as the network takes them.
fn to_dial(peers: &[Peer]) -> Result<Map<PublicKey, Address>, Error> {
    let peers = peers
        .iter()
        .map(|peer| {
            let address = match &peer.address {
                Some(address) => address.to_dial()?,
                None => Address::from(NOWHERE),
            };
            Ok((PublicKey::try_from(&peer.key)?, address))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    Map::try_from_iter(peers)
        .map_err(|_| Error::Config { field: "peers", problem: "two have the same key".to_owned() })
}

/// Starts a node over TCP.
///
/// # Errors
/// [`Error`] when the configuration, the guard or the storage does not allow
/// it. An address that cannot be listened on stops the node later.
pub async fn start_tcp<E, A>(
    context: E,
    config: Config,
    network: NetworkConfig,
    signer: Arc<dyn Signer>,
    application: Arc<A>,
    genesis: A::Block,
) -> Result<(Node<A>, GossipReceiver), Error>
where
    E: Environment + Network + Resolver,
    A: Application,
{
    supervise(context, move |context| async move {
        let (validators, _) = config.check()?;
        let identity = Identity::new(signer)?;
        let peers = to_dial(&network.peers)?;
        if let Some(missing) = validators.iter().find(|key| peers.get_value(key).is_none()) {
            return Err(Error::Config {
                field: "peers",
                problem: format!("the validator with key {missing} is not among them"),
            });
        }
        // Nodes in different epochs must agree on the largest message.
        let count = hufu_proof::genesis::MAX_MEMBERS as u32;
        let max_message_size = commonware_p2p::max_message_size(&[
            mux::prefixed(simplex::max_payload_size::<VoteScheme, sha256::Digest>(count)),
            marshal::max_payload_size::<Standard<Body<A>>, VoteScheme>(count, &config.max_block),
            config.max_gossip + gossip::OVERHEAD,
        ]);
        let handshake = cups::Cups::<_, ChaCha20Poly1305>::new(
            sake::Sake {
                signer: identity.clone(),
                synchrony_bound: CLOCKS,
                max_handshake_age: CLOCKS,
                version: sake::Version::V1,
            },
            cups::Version::V1,
        );
        let limit = authenticated::peer_set_limit(peers.keys(), identity.public_key());
        // What separates these handshakes from those of other consortia.
        let namespace = [b"hufu peer v1 ".as_slice(), config.chain.as_bytes()].concat();
        let mut settings = lookup::Config::local(
            handshake,
            &namespace,
            network.listen,
            limit,
            max_message_size,
            NZUsize!(1024),
        );
        settings.bypass_ip_check = !network.only_known_addresses;
        settings.tracked_peer_sets = NZUsize!(1);
        settings.block_duration = Duration::from_secs(600);
        let (mut transport, mut oracle) = lookup::Network::new(context.child("network"), settings);
        oracle.track(config.epoch(), peers);
        let book = oracle.clone();
        let links = Links {
            votes: transport.register(0, Quota::per_second(NZU32!(2048))),
            certificates: transport.register(1, Quota::per_second(NZU32!(2048))),
            certificate_fetch: transport.register(2, Quota::per_second(NZU32!(512))),
            block_fetch: transport.register(3, Quota::per_second(NZU32!(128))),
            blocks: transport.register(4, Quota::per_second(NZU32!(512))),
            gossip: transport.register(5, Quota::per_second(NZU32!(1024))),
            blocker: oracle.clone(),
            peers: oracle,
        };
        let transport = transport.start();
        let mut running = run(&context, config, identity, application, genesis, links).await?;
        running.handles.push(transport);
        running.addresses = Some(Arc::new(move |peers: &[Peer]| {
            book.clone().overwrite(to_dial(peers)?);
            Ok(())
        }));
        Ok(running)
    })
    .await
}
