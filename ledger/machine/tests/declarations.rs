//! Nobody speaks in another member's name: hosts, roles and device identifiers
//! of certificates are their owner's, and what a regulator may see is said in so
//! many words.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use hufu_machine::Event;
use hufu_proof::declaration::{Delegation, KeyApproval};
use hufu_proof::genesis::MemberV1;
use hufu_proof::transaction::{Certification, IdentityKind, Proposal};
use hufu_proof::{
    Declaration, Height, Host, IdentityId, Jurisdictions, Member, Name, NetworkName, Outcome,
    Payload, UnixMillis,
};
use support::*;

fn roles(texts: &[&str]) -> BTreeSet<Name> {
    texts.iter().map(|text| name(text)).collect()
}

fn client(of: &str, holder: &str, serial: u64, with: &[&str]) -> Certification {
    let mut issuance = issuance(holder, serial);
    (issuance.owner, issuance.kind) = (name(of), IdentityKind::Client);
    Certification { roles: roles(with), ..certification(issuance) }
}

fn server(of: &str, serial: u64, hosts: &[&str]) -> Certification {
    let mut issuance = issuance("server", serial);
    (issuance.owner, issuance.kind) = (name(of), IdentityKind::Server);
    issuance.key = key(&format!("server {serial}")).public();
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    Certification { hosts, ..certification(issuance) }
}

fn device(of: &str, identifier: &str, serial: u64) -> Certification {
    let mut issuance = issuance(identifier, serial);
    issuance.owner = name(of);
    issuance.key = key(&format!("device {serial}")).public();
    certification(issuance)
}

fn certify(node: &mut Node, one: Certification) -> Outcome {
    node.one(&key("authority"), Payload::Certify(vec![one]))
}

fn approve(holder: &str, with: &[&str], until_ms: Option<UnixMillis>) -> Payload {
    let key = key(holder).identity();
    Payload::Declare(Declaration::Approve(KeyApproval { key, roles: roles(with), until_ms }))
}

fn withdraw(holder: &str) -> Payload {
    Payload::Declare(Declaration::Withdraw { key: key(holder).identity() })
}

fn delegate(with: &[&str], until_ms: Option<UnixMillis>) -> Payload {
    Payload::Declare(Declaration::Delegate(Delegation { roles: roles(with), until_ms }))
}

fn hand_over(device: &str, to: &str) -> Payload {
    Payload::Declare(Declaration::HandOver { device: device.into(), to: name(to) })
}

fn issuing(number: u8) -> Payload {
    let certificate = vec![0x30, 1, number];
    Payload::Declare(Declaration::IssuingCertificate { certificate })
}

/// Whether the state approves the holder of a key for a role now.
fn has(node: &Node, member: &str, holder: &IdentityId, role: &str) -> bool {
    let now = node.machine.header().time_ms;
    let state = node.reader().state().unwrap();
    state.approved(&name(member), holder, now).unwrap().has(role)
}

/// The founder of `genesis_v2`.
fn founder(of: &str) -> Member {
    genesis_v2().member(&name(of)).unwrap().clone()
}

#[test]
fn a_certificate_speaks_for_its_members_own_hosts() {
    let mut node = Node::founded(genesis_v2());
    for (serial, of, hosts, outcome) in [
        (1, "maker", &["maker.example", "node.maker.example", "192.0.2.9"][..], Outcome::Accepted),
        (2, "operator", &["node.maker.example"][..], Outcome::ForeignName),
        (3, "operator", &["operator.example", "192.0.2.9"][..], Outcome::ForeignName),
        (4, "maker", &["nobody.example"][..], Outcome::ForeignName),
        (5, "maker", &["example"][..], Outcome::ForeignName),
        (6, "maker", &["maker.example.org"][..], Outcome::ForeignName),
        (7, "maker", &["notmaker.example"][..], Outcome::ForeignName),
        (8, "maker", &["192.0.3.1"][..], Outcome::ForeignName),
        (9, "maker", &["169.254.0.1"][..], Outcome::ForeignName),
        (10, "operator", &["::ffff:192.0.2.9"][..], Outcome::ForeignName),
        // Loopback is nobody's, and the certificate names its member.
        (11, "operator", &["127.0.0.1", "::1", "localhost"][..], Outcome::Accepted),
    ] {
        assert_eq!(certify(&mut node, server(of, serial, hosts)), outcome, "{hosts:?} of {of}");
        let reader = node.reader();
        let state = reader.state().unwrap();
        let found = state.certificate(&serial_number(serial)).unwrap();
        assert_eq!(found.is_some(), outcome.is_accepted());
        let expected: BTreeSet<Host> = match outcome {
            Outcome::Accepted => hosts.iter().map(|host| host.parse().unwrap()).collect(),
            _ => BTreeSet::new(),
        };
        assert_eq!(state.rights(&serial_number(serial)).unwrap().hosts, expected);
    }
    // A device's certificate too.
    let mut ldevid = device("operator", "pump", 20);
    ldevid.hosts = ["pump.maker.example".parse().unwrap()].into();
    assert_eq!(certify(&mut node, ldevid), Outcome::ForeignName);
}

#[test]
fn a_name_has_one_owner_and_changes_hands_by_governance() {
    let mut node = Node::founded(genesis_v2());
    let own = |of: &str, names: &[&str]| {
        let names: BTreeSet<NetworkName> = names.iter().map(|one| one.parse().unwrap()).collect();
        Proposal::Member { member: Member { names, ..founder(of) } }
    };
    for overlapping in
        ["maker.example", "a.maker.example", "example", "192.0.2.128/25", "192.0.0.0/16"]
    {
        let payload = Payload::Propose(own("operator", &[overlapping]));
        assert_eq!(node.one(&key("authority"), payload), Outcome::Conflict, "{overlapping}");
    }
    // Of two proposals for one name, the second cannot be enacted.
    let (one, other) = (own("operator", &["new.example"]), own("regulator", &["new.example"]));
    for proposal in [&one, &other] {
        node.must(&key("authority"), Payload::Propose(proposal.clone()));
        node.must(&key("regulator"), Payload::Approve(proposal.digest()));
    }
    node.must(&key("maker"), Payload::Approve(one.digest()));
    assert_eq!(node.one(&key("maker"), Payload::Approve(other.digest())), Outcome::Conflict);
    assert_eq!(certify(&mut node, server("operator", 1, &["a.new.example"])), Outcome::Accepted);
    assert_eq!(
        certify(&mut node, server("operator", 2, &["operator.example"])),
        Outcome::ForeignName
    );

    // What a member gives up, another may have.
    node.enact(own("maker", &["other.example"]));
    assert_eq!(certify(&mut node, server("maker", 3, &["maker.example"])), Outcome::ForeignName);
    node.enact(own("operator", &["maker.example"]));
    assert_eq!(certify(&mut node, server("operator", 4, &["maker.example"])), Outcome::Accepted);
    let reader = node.reader();
    let owner = |height: Height, host: &str| {
        reader.state_at(height).unwrap().owner_of(&host.parse().unwrap()).unwrap()
    };
    assert_eq!(owner(Height(0), "maker.example"), Some(name("maker")));
    assert_eq!(owner(node.height(), "maker.example"), Some(name("operator")));
    assert_eq!(owner(node.height(), "192.0.2.1"), None);
    assert_eq!(reader.epoch().number, 0, "names are no reason for a new epoch");
}

#[test]
fn a_role_counts_by_its_members_own_approval() {
    let mut node = Node::founded(genesis_v2());
    let holder = key("admin").identity();
    let attempt = |serial| client("maker", "admin", serial, &["administrator"]);
    // The authority alone certifies nobody in the maker's name.
    assert_eq!(certify(&mut node, attempt(1)), Outcome::Unapproved);
    // Nor does another member's approval help, the authority's included.
    for other in ["operator", "authority"] {
        node.must(&key(other), approve("admin", &["administrator"], None));
        assert_eq!(certify(&mut node, attempt(1)), Outcome::Unapproved);
        assert!(!has(&node, "maker", &holder, "administrator"));
    }
    node.must(&key("maker"), approve("admin", &["operator"], None));
    assert_eq!(certify(&mut node, attempt(1)), Outcome::Unapproved);
    node.must(&key("maker"), approve("admin", &["administrator"], None));
    assert_eq!(certify(&mut node, attempt(1)), Outcome::Accepted);
    assert!(has(&node, "maker", &holder, "administrator"));
    assert!(!has(&node, "maker", &holder, "operator"), "the second approval replaced the first");
    // It goes as it came, and the certificate's renewal with it.
    node.must(&key("maker"), withdraw("admin"));
    assert!(!has(&node, "maker", &holder, "administrator"));
    assert_eq!(certify(&mut node, attempt(2)), Outcome::Unapproved);
    assert_eq!(node.one(&key("maker"), withdraw("admin")), Outcome::NotFound);
    // As of a height before, it counted.
    let before = node.reader().state_at(node.height().minus(3)).unwrap();
    let now = node.machine.header().time_ms;
    assert!(before.approved(&name("maker"), &holder, now).unwrap().has("administrator"));
    // Without a role nobody has to approve anything.
    assert_eq!(certify(&mut node, client("maker", "someone", 3, &[])), Outcome::Accepted);
}

#[test]
fn an_approval_has_an_end() {
    let mut node = Node::founded(genesis_v2());
    let holder = key("admin").identity();
    let now = node.machine.header().time_ms;
    let past = approve("admin", &["operator"], Some(now));
    assert_eq!(node.one(&key("maker"), past), Outcome::Parameter);
    let until = node.machine.header().time_ms.plus(Duration::from_secs(2));
    node.must(&key("maker"), approve("admin", &["operator"], Some(until)));
    node.run(vec![]);
    assert_eq!(node.machine.header().time_ms, until);
    assert!(has(&node, "maker", &holder, "operator"));
    node.run(vec![]);
    assert!(!has(&node, "maker", &holder, "operator"));
    assert_eq!(certify(&mut node, client("maker", "admin", 1, &["operator"])), Outcome::Unapproved);
}

#[test]
fn a_delegation_lets_the_authority_approve_and_ends_with_all_that_rests_on_it() {
    let mut node = Node::founded(genesis_v2());
    let (line, own) = (key("line").identity(), key("own").identity());
    assert_eq!(node.one(&key("maker"), delegate(&[], None)), Outcome::NotFound);
    // What was tried before the delegation does not come to life with it.
    let attempt = client("maker", "line", 1, &["operator"]);
    assert_eq!(certify(&mut node, attempt.clone()), Outcome::Unapproved);
    node.must(&key("maker"), delegate(&["operator", "registration-authority"], None));
    assert!(!has(&node, "maker", &line, "operator"), "a delegation approves no key by itself");
    assert_eq!(certify(&mut node, attempt), Outcome::Accepted);
    let other = client("maker", "line", 2, &["operator", "administrator"]);
    assert_eq!(certify(&mut node, other), Outcome::Unapproved);
    let elsewhere = client("operator", "line 2", 3, &["operator"]);
    assert_eq!(certify(&mut node, elsewhere), Outcome::Unapproved);
    node.must(&key("maker"), approve("own", &["operator"], None));
    assert_eq!(certify(&mut node, client("maker", "own", 4, &["operator"])), Outcome::Accepted);
    let reader = node.reader();
    let recorded = reader.state().unwrap().approval(&name("maker"), &line).unwrap().unwrap();
    assert_eq!((recorded.roles, recorded.delegated), (roles(&[]), roles(&["operator"])));

    assert!(has(&node, "maker", &line, "operator"));
    node.must(&key("maker"), delegate(&["registration-authority"], None));
    assert!(!has(&node, "maker", &line, "operator"));
    assert!(has(&node, "maker", &own, "operator"));
    node.must(&key("maker"), delegate(&[], None));
    assert_eq!(node.one(&key("maker"), delegate(&[], None)), Outcome::NotFound);
    assert!(has(&node, "maker", &own, "operator"));
    // One key of many can be withdrawn under a delegation that goes on.
    node.must(&key("maker"), delegate(&["operator"], None));
    assert!(has(&node, "maker", &line, "operator"));
    node.must(&key("maker"), withdraw("line"));
    assert!(!has(&node, "maker", &line, "operator"));
    // And a delegation ends by itself.
    let until = node.machine.header().time_ms.plus(Duration::from_secs(1));
    node.must(&key("maker"), delegate(&["operator"], Some(until)));
    assert_eq!(certify(&mut node, client("maker", "late", 9, &["operator"])), Outcome::Unapproved);
}

#[test]
fn nodes_and_the_authority_need_no_more_than_they_have_said() {
    let mut node = Node::founded(genesis_v2());
    let holder = key("node of maker").identity();
    for (serial, with, outcome) in [
        (1, &["operator", "registration-authority", "regulator"][..], Outcome::Accepted),
        (2, &["operator", "administrator"][..], Outcome::Unapproved),
    ] {
        let one = client("maker", "node of maker", serial, with);
        assert_eq!(certify(&mut node, one), outcome, "{with:?}");
    }
    assert!(has(&node, "maker", &holder, "operator"));
    assert!(!has(&node, "maker", &holder, "administrator"));
    assert!(!has(&node, "operator", &holder, "operator"), "of its own member alone");
    // With a new node key the former one is nobody's.
    let node_key = Some(key("another").public());
    node.enact(Proposal::Member { member: Member { node_key, ..founder("maker") } });
    assert!(!has(&node, "maker", &holder, "operator"));
    assert!(has(&node, "maker", &key("another").identity(), "operator"));

    // Certifying its own, the authority approves; it is on record, and can end.
    let own = client("authority", "admin", 3, &["administrator"]);
    assert_eq!(certify(&mut node, own), Outcome::Accepted);
    let admin = key("admin").identity();
    assert!(has(&node, "authority", &admin, "administrator"));
    node.must(&key("authority"), withdraw("admin"));
    assert!(!has(&node, "authority", &admin, "administrator"));
}

#[test]
fn a_device_identifier_is_one_members_until_it_is_handed_over() {
    let mut node = Node::founded(genesis_v2());
    assert_eq!(certify(&mut node, device("operator", "SECDEV2", 1)), Outcome::Accepted);
    assert_eq!(certify(&mut node, device("maker", "SECDEV2", 2)), Outcome::ForeignDevice);
    // Another key for the same device of the same member.
    assert_eq!(certify(&mut node, device("operator", "SECDEV2", 3)), Outcome::Accepted);
    assert_eq!(certify(&mut node, device("maker", "secdev2", 4)), Outcome::Accepted);
    for (signer, to, outcome) in [
        ("maker", "maker", Outcome::ForeignDevice),
        ("authority", "maker", Outcome::ForeignDevice),
        ("operator", "nobody", Outcome::NotFound),
        ("operator", "operator", Outcome::Conflict),
        ("operator", "maker", Outcome::Accepted),
        ("operator", "operator", Outcome::ForeignDevice),
    ] {
        assert_eq!(node.one(&key(signer), hand_over("SECDEV2", to)), outcome, "{signer} to {to}");
    }
    assert_eq!(node.one(&key("operator"), hand_over("SECDEV9", "maker")), Outcome::NotFound);
    assert_eq!(certify(&mut node, device("operator", "SECDEV2", 5)), Outcome::ForeignDevice);
    assert_eq!(certify(&mut node, device("maker", "SECDEV2", 6)), Outcome::Accepted);
    let owner = node.reader().state().unwrap().device_owner("SECDEV2").unwrap();
    assert_eq!(owner, Some(name("maker")));
}

#[test]
fn the_authority_alone_declares_its_issuing_certificates() {
    let mut node = Node::founded(genesis_v2());
    let declared = |node: &Node| node.reader().state().unwrap().issuing().unwrap();
    assert!(declared(&node).is_empty());
    assert_eq!(node.one(&key("maker"), issuing(1)), Outcome::Forbidden);
    node.must(&key("authority"), issuing(1));
    assert_eq!(node.one(&key("authority"), issuing(1)), Outcome::Conflict);
    for number in 2..=9 {
        node.must(&key("authority"), issuing(number));
    }
    // The newest last; the oldest has gone.
    let numbers: Vec<u8> = declared(&node).iter().map(|one| one[2]).collect();
    assert_eq!(numbers, [2, 3, 4, 5, 6, 7, 8, 9]);
    for (length, outcome) in [(0, Outcome::Malformed), (8 * 1024 + 1, Outcome::Oversized)] {
        let declaration = Declaration::IssuingCertificate { certificate: vec![0; length] };
        assert_eq!(node.one(&key("authority"), Payload::Declare(declaration)), outcome, "{length}");
    }
}

#[test]
fn only_members_declare_and_only_in_their_form() {
    let mut node = Node::founded(genesis_v2());
    node.must(&key("maker"), approve("admin", &["administrator"], None));
    assert_eq!(
        certify(&mut node, client("maker", "admin", 1, &["administrator"])),
        Outcome::Accepted
    );
    assert_eq!(certify(&mut node, device("maker", "pump", 2)), Outcome::Accepted);
    for (who, outcome) in [
        ("admin", Outcome::Forbidden),
        ("device 2", Outcome::Forbidden),
        ("nobody", Outcome::UnknownSigner),
    ] {
        let payload = approve("admin 2", &["administrator"], None);
        assert_eq!(node.one(&key(who), payload), outcome, "{who}");
    }
    let mut acting_device = device("maker", "fan", 3);
    acting_device.roles = roles(&["operator"]);
    let many: Vec<String> = (0..17).map(|number| format!("r{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (what, signer, payload, outcome) in [
        ("no role", "maker", approve("admin", &[], None), Outcome::Malformed),
        ("many roles", "maker", approve("admin", &many, None), Outcome::Oversized),
        (
            "a device with a role",
            "authority",
            Payload::Certify(vec![acting_device]),
            Outcome::Malformed,
        ),
        ("nothing", "authority", Payload::Certify(vec![]), Outcome::Malformed),
        ("a line break", "maker", hand_over("a\nb", "maker"), Outcome::Malformed),
        (
            "not the authority",
            "maker",
            Payload::Certify(vec![device("maker", "fan", 4)]),
            Outcome::Forbidden,
        ),
        // What says neither roles nor hosts, and what leaves a list empty for
        // everything, is of consortia founded before.
        ("the old form", "authority", Payload::Issue(vec![issuance("fan", 5)]), Outcome::Malformed),
        (
            "a member in the old form",
            "authority",
            Payload::Propose(Proposal::MemberV1 {
                member: MemberV1 {
                    name: name("auditor"),
                    title: founder("maker").title,
                    kinds: roles(&["regulator"]),
                    jurisdictions: BTreeSet::new(),
                    vote_key: vote_public("auditor"),
                    statement_key: key("auditor").public(),
                },
            }),
            Outcome::Malformed,
        ),
    ] {
        assert_eq!(node.one(&key(signer), payload), outcome, "{what}");
    }
}

#[test]
fn what_a_regulator_sees_is_said_in_so_many_words() {
    let mut node = Node::founded(genesis_v2());
    let seen = |node: &Node, of: &str| {
        let record = node.reader().state().unwrap().member_record(&name(of)).unwrap().unwrap();
        record.jurisdictions
    };
    assert_eq!(seen(&node, "regulator"), Jurisdictions::Whole);
    assert_eq!(seen(&node, "maker"), Jurisdictions::None);
    let north = Jurisdictions::Only(roles(&["north"]));
    for jurisdictions in [north.clone(), Jurisdictions::None, Jurisdictions::Whole] {
        let member = Member { jurisdictions: jurisdictions.clone(), ..founder("regulator") };
        node.enact(Proposal::Member { member });
        assert_eq!(seen(&node, "regulator"), jurisdictions);
    }
    for (of, jurisdictions) in [
        ("maker", Jurisdictions::Whole),
        ("maker", north),
        ("regulator", Jurisdictions::Only(BTreeSet::new())),
    ] {
        let member = Member { jurisdictions, ..founder(of) };
        let payload = Payload::Propose(Proposal::Member { member });
        assert_eq!(node.one(&key("authority"), payload), Outcome::Malformed, "{of}");
    }
    // A consortium of before says it so, too, when it comes to that.
    let mut old = Node::new();
    assert_eq!(seen(&old, "regulator"), Jurisdictions::Whole);
    assert_eq!(seen(&old, "maker"), Jurisdictions::None);
    let founder = genesis().member(&name("regulator")).unwrap().clone();
    let member = Member { jurisdictions: Jurisdictions::None, ..founder };
    old.enact(Proposal::Member { member });
    assert_eq!(seen(&old, "regulator"), Jurisdictions::None);
    let old = old.restart();
    assert_eq!(seen(&old, "regulator"), Jurisdictions::None);
}

#[test]
fn read_models_are_told() {
    let mut node = Node::founded(genesis_v2());
    node.must(&key("maker"), delegate(&["operator"], None));
    node.must(&key("maker"), approve("admin", &["administrator"], None));
    let mut one = client("maker", "admin", 1, &["administrator", "operator"]);
    one.hosts = ["maker.example".parse().unwrap()].into();
    assert_eq!(certify(&mut node, one), Outcome::Accepted);
    assert_eq!(certify(&mut node, device("maker", "pump", 2)), Outcome::Accepted);
    node.must(&key("authority"), issuing(1));
    let told: Vec<Event> = Height(1)
        .through(node.height())
        .flat_map(|height| node.reader().replay(height).unwrap().unwrap().events)
        .collect();
    let count = |of: fn(&Event) -> bool| told.iter().filter(|event| of(event)).count();
    assert_eq!(count(|event| matches!(event, Event::Delegation { .. })), 1);
    // What was approved under the delegation, too.
    assert_eq!(count(|event| matches!(event, Event::Approval { .. })), 2);
    assert_eq!(count(|event| matches!(event, Event::Rights { .. })), 1);
    assert_eq!(count(|event| matches!(event, Event::Device { .. })), 1);
    assert_eq!(count(|event| matches!(event, Event::Issuing { .. })), 1);
}

#[test]
fn a_member_says_where_it_is_reached_and_nobody_else_does() {
    let mut node = Node::founded(genesis_v2());
    let address = |at: Option<&str>| {
        let at = at.map(|at| at.parse().unwrap());
        Payload::Declare(Declaration::Address { at })
    };
    let said = |node: &Node| {
        let said = node.reader().state().unwrap().address(&name("maker")).unwrap();
        said.map(|at| at.to_string())
    };
    assert_eq!(said(&node), None);
    assert_eq!(node.one(&key("maker"), address(None)), Outcome::Conflict);
    for at in ["node.maker.example:7000", "192.0.2.7:7000", "[2001:db8::1]:7000", "127.0.0.1:7"] {
        node.must(&key("maker"), address(Some(at)));
        assert_eq!(said(&node).as_deref(), Some(at));
        assert_eq!(node.one(&key("maker"), address(Some(at))), Outcome::Conflict);
    }
    let told = node.reader().replay(node.height()).unwrap().unwrap().events;
    assert!(!told.iter().any(|event| matches!(event, Event::Address { .. })), "it was refused");
    let foreign = address(Some("node.operator.example:7000"));
    assert_eq!(node.one(&key("maker"), foreign.clone()), Outcome::ForeignName);
    node.must(&key("operator"), foreign);
    node.certify_devices(vec![issuance("pump", 1)]);
    assert_eq!(node.one(&key("pump"), address(Some("pump.example:1"))), Outcome::Forbidden);
    node.must(&key("maker"), address(None));
    assert_eq!(said(&node.restart()), None);
}
