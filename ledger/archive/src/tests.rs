//! Partitions of a consortium that lives: what they prove, and what is refused.

#[path = "../../machine/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;

use hufu_machine::{ALWAYS_KEPT, MachineError, Reader};
use hufu_proof::declaration::Declaration;
use hufu_proof::{Digest, Height, Outcome, Payload, Receipt, Transaction, codec};
use pem_rfc7468::LineEnding;
use support::*;

use crate::about::TableKind;
use crate::cell::Cell;
use crate::manifest::{BLOCKS, PROOF, TRANSACTIONS};
use crate::table::{TableReader, TableWriter};
use crate::*;

const READINGS: &str = "stream.meters.reading.parquet";
const METERS: &str = "asset.meters.meter.parquet";

/// Two meters that measure and add up, with a refusal now and then and heights of nothing.
fn grown(heights: u64) -> (Node, Vec<Transaction>) {
    let mut node = Node::new();
    install(&mut node, &["pump", "mixer"]);
    let mut sent = Vec::new();
    let mut sequence = 0;
    while node.height().get() < heights {
        let number = node.height().next().get();
        let mut transactions = Vec::new();
        if number.is_multiple_of(2) {
            sequence += 1;
            for (device, sign) in [("pump", 1), ("mixer", -1)] {
                let rows = (0..3).map(|row| reading(sign * (number as i64 * 1000 + row))).collect();
                let payload = append("meters", "reading", sequence, rows);
                transactions.push(node.sign(&key(device), payload));
            }
        }
        if number.is_multiple_of(5) {
            // Nobody has the role.
            let payload = invoke("meters", "add", "pump", &[("amount", hufu_proof::Value::Int(1))]);
            transactions.push(node.sign(&key("operator"), payload));
        }
        if number.is_multiple_of(7) {
            // A meter without a certificate of its own.
            let device = format!("device {number}");
            transactions.push(node.sign(&key("operator"), install_meter(&device)));
        }
        node.run(transactions.clone());
        sent.extend(transactions);
        if number.is_multiple_of(8) {
            node.certify(node.height());
        }
    }
    node.settle();
    (node, sent)
}

fn archived(reader: &Reader, first: u64, last: u64, directory: &Path) -> Partition {
    let member = name("maker");
    let wanted =
        Wanted { reader, member: &member, first: Height(first), last: Height(last), directory };
    create(&wanted, &|| false).unwrap()
}

fn refused(directory: &Path) -> String {
    let read = Partition::open(directory).and_then(|partition| partition.verify(&genesis()));
    read.unwrap_err().to_string()
}

fn copied(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn partitions_follow_one_another_and_verify_with_the_genesis_file() {
    let (node, sent) = grown(60);
    let reader = node.reader();
    let directory = tempfile::tempdir().unwrap();
    let mut first = 1;
    let mut partitions = Vec::new();
    for last in [20, 40, 55] {
        let partition = archived(&reader, first, last, directory.path());
        assert!(partition.manifest().last.get() >= last);
        first = partition.manifest().last.get() + 1;
        partitions.push(partition);
    }
    let folder = Folder::new(directory.path());
    assert_eq!(folder.partitions().unwrap().len(), 3);
    let (mut streamed, mut changed, mut transactions) = (0, 0, 0);
    for partition in &partitions {
        let verified = partition.verify(&genesis()).unwrap();
        let manifest = partition.manifest();
        assert_eq!(verified.blocks, manifest.last.since(manifest.first) + 1);
        assert_eq!(verified.declared, None);
        streamed += verified.tables[READINGS];
        changed += verified.tables.get(METERS).copied().unwrap_or_default();
        transactions += verified.transactions;
        // The same heights are the same bytes.
        let other = tempfile::tempdir().unwrap();
        let (begin, end) = (manifest.first.get(), manifest.last.get());
        assert_eq!(archived(&reader, begin, end, other.path()).digest(), partition.digest());
    }
    let last = partitions.last().unwrap().manifest().last;
    assert_eq!(transactions, reader.commitment(last).unwrap().unwrap().log_size);
    let batches = sent.iter().filter(|one| {
        let within = reader.entry(&one.id()).unwrap().unwrap().1.height <= last;
        within && matches!(one.body.payload, Payload::Append(_))
    });
    assert_eq!(streamed, 3 * batches.count() as u64);
    assert!(changed >= 2);

    // Each transaction in one of them has the receipt that others get from the ledger.
    for one in &sent {
        let entry = reader.entry(&one.id()).unwrap().unwrap().1;
        for partition in &partitions {
            let manifest = partition.manifest();
            let within = (manifest.first..=manifest.last).contains(&entry.height);
            let receipt = partition.receipt(&one.id()).unwrap();
            assert_eq!(receipt.is_some(), within, "{}", entry.height);
            if let Some(receipt) = receipt {
                receipt.verify(&genesis()).unwrap();
                assert_eq!(receipt.transaction, *one);
                assert_eq!(receipt.entry, entry);
            }
        }
    }
}

#[test]
fn readings_are_typed_and_tables_say_what_they_are() {
    let (node, _) = grown(30);
    let directory = tempfile::tempdir().unwrap();
    let partition = archived(&node.reader(), 1, 25, directory.path());
    let table = TableReader::open(partition.directory(), READINGS).unwrap();
    let described: Vec<(&str, &str)> = table
        .about
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.kind.as_str()))
        .collect();
    assert_eq!(
        described,
        [
            ("recorded_height", "int"),
            ("recorded_time", "time"),
            ("log_index", "int"),
            ("device", "text"),
            ("sequence", "int"),
            ("position", "int"),
            ("metric", "text"),
            ("value", "decimal(3)"),
        ]
    );
    let of = table.about.table.clone().unwrap();
    assert_eq!((of.kind, of.version.as_str(), of.part), (TableKind::Stream, "1.0.0", 1));
    let rows = table.read_rows(0).unwrap();
    let row = rows.iter().find(|row| row[3] == Cell::text("mixer")).unwrap();
    let height = row[0].as_number().unwrap() as i64;
    assert_eq!(row[6..], [Cell::text("energy"), Cell::Int(-1000 * height)]);
    let assets = TableReader::open(partition.directory(), METERS).unwrap().read_rows(0).unwrap();
    assert_eq!(assets[0][3..6], [Cell::Bool(true), Cell::text("pump"), Cell::text("open")]);
}

#[test]
fn any_changed_byte_of_any_file_is_found() {
    let (node, _) = grown(20);
    let directory = tempfile::tempdir().unwrap();
    let good = archived(&node.reader(), 1, 12, directory.path());
    good.verify(&genesis()).unwrap();
    let mut tried = 0;
    for entry in fs::read_dir(good.directory()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        // Each byte of what is small.
        let step = if bytes.len() < 2_000 { 1 } else { 3 };
        for at in (0..bytes.len()).step_by(step) {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            fs::write(&path, &changed).unwrap();
            let read = Partition::open(good.directory());
            let verified = read.and_then(|partition| partition.verify(&genesis()));
            assert!(verified.is_err(), "{} at {at}", path.display());
            tried += 1;
        }
        // Each length but the right one.
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            let said = refused(good.directory());
            let file = path.file_name().unwrap().to_string_lossy();
            assert!(said.contains(&*file) && said.contains("another copy"), "{said}");
        }
        fs::write(&path, [&bytes[..], b"\n"].concat()).unwrap();
        assert!(refused(good.directory()).contains("another copy"));
        fs::write(&path, &bytes).unwrap();
    }
    assert!(tried > 3_000, "{tried}");
    good.verify(&genesis()).unwrap();
}

#[test]
fn what_is_missing_or_of_another_partition_is_named() {
    let (node, _) = grown(40);
    let reader = node.reader();
    let directory = tempfile::tempdir().unwrap();
    let one = archived(&reader, 1, 12, directory.path());
    let first = one.manifest().last.get() + 1;
    let other = archived(&reader, first, first + 11, directory.path());
    let place = directory.path().join("copy");
    for file in [BLOCKS, TRANSACTIONS, PROOF, READINGS, MANIFEST] {
        copied(one.directory(), &place);
        fs::remove_file(place.join(file)).unwrap();
        let said = refused(&place);
        assert!(said.contains(&format!("{file}: it is missing")), "{said}");
        copied(one.directory(), &place);
        fs::copy(other.directory().join(file), place.join(file)).unwrap();
        let said = refused(&place);
        assert!(said.contains("manifest.json"), "{file}: {said}");
    }
    copied(one.directory(), &place);
    fs::write(place.join("extra.parquet"), b"").unwrap();
    assert!(refused(&place).starts_with("extra.parquet: manifest.json does not name it"));

    let mut foreign = genesis();
    foreign.consortium = name("other");
    let said = one.verify(&foreign).unwrap_err();
    assert!(matches!(said, ArchiveError::OtherConsortium { .. }), "{said}");
}

/// Writes a table anew, with other rows, and puts it into the manifest.
fn forge(directory: &Path, file: &str, change: impl Fn(&mut Vec<Vec<Cell>>)) {
    let table = TableReader::open(directory, file).unwrap();
    let mut rows: Vec<Vec<Cell>> =
        (0..table.groups()).flat_map(|group| table.read_rows(group).unwrap()).collect();
    change(&mut rows);
    let (columns, about) = (table.columns.clone(), table.about.clone());
    fs::remove_file(directory.join(file)).unwrap();
    let mut writer = TableWriter::new(directory, file, columns).unwrap();
    for row in rows {
        writer.push(row).unwrap();
    }
    let (_, entry) = writer.finish(&about).unwrap();
    rewrite(directory, |manifest| {
        manifest.files.insert(file.to_owned(), entry);
    });
}

fn rewrite(directory: &Path, change: impl Fn(&mut Manifest)) {
    let mut manifest = Manifest::parse(&fs::read(directory.join(MANIFEST)).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(directory.join(MANIFEST), manifest.to_bytes()).unwrap();
}

/// Somebody makes files that fit their manifest: what follows from the blocks does not.
/// Alters the rows of a table.
type Forge = fn(&mut Vec<Vec<Cell>>);

#[test]
fn a_forged_partition_is_refused_by_what_the_quorum_signed() {
    let (node, _) = grown(24);
    let directory = tempfile::tempdir().unwrap();
    let good = archived(&node.reader(), 1, 18, directory.path());
    let place = directory.path().join("forged");
    let tries: [(&str, Forge, &str); 13] = [
        (BLOCKS, |rows| rows[3][1] = Cell::Int(1), "height 4: `digest` is not"),
        (BLOCKS, |rows| rows[3][3] = Cell::text(Digest::default()), "height 4: `parent` is not"),
        (BLOCKS, |rows| rows[3][6] = Cell::text("?"), "height 4 is not a block's"),
        (BLOCKS, |rows| rows.swap(3, 4), "height 4: `height` is not"),
        (TRANSACTIONS, |rows| rows[0][5] = Cell::text("policy"), "root of the log"),
        (TRANSACTIONS, |rows| rows[0][5] = Cell::text("fine"), "`outcome` is not what"),
        (TRANSACTIONS, |rows| rows[2][6] = Cell::text("me"), "`signer` is not what follows"),
        (TRANSACTIONS, |rows| rows[2][4] = Cell::text(Digest::default()), "`id` is not what"),
        (TRANSACTIONS, |rows| rows[2][7] = Cell::text("No Name"), "`member` is no name"),
        (TRANSACTIONS, |rows| rows[2][12] = Cell::Bytes(vec![1, 2]), "signed: transaction is"),
        (READINGS, |rows| rows[4][7] = Cell::Int(1), "row 1: `value` is not"),
        (READINGS, |rows| rows[4][2] = Cell::Int(0), "rows, and 3 were signed"),
        (METERS, |rows| rows[0][0] = Cell::Int(17), "is of no block"),
    ];
    for (file, change, says) in tries {
        copied(good.directory(), &place);
        forge(&place, file, change);
        let said = refused(&place);
        assert!(said.contains(says) && said.contains(".parquet: "), "{file}, {says}: {said}");
    }
    type Change = fn(&mut Manifest);
    let tries: [(Change, &str); 7] = [
        (|manifest| manifest.member = name("operator"), "its `member` is not the one"),
        (|manifest| manifest.consortium = name("other"), "`consortium` is not the name"),
        (|manifest| manifest.block = Digest::default(), "do not follow the last block"),
        (|manifest| manifest.before = Digest::default(), "height 1: `digest` is not what follows"),
        (|manifest| manifest.state_root = Digest::default(), "commits to another height"),
        (|manifest| manifest.log_root = Digest::default(), "commits to another height"),
        (|manifest| manifest.log_left.push(Digest::default()), "log_left: 1 hashes"),
    ];
    for (change, says) in tries {
        copied(good.directory(), &place);
        rewrite(&place, change);
        let said = refused(&place);
        assert!(said.contains(says), "{says}: {said}");
    }
    // Rows fewer than the manifest says, and a table that nobody has.
    copied(good.directory(), &place);
    rewrite(&place, |manifest| {
        manifest.files.get_mut(METERS).unwrap().rows = Some(1);
    });
    assert!(refused(&place).contains("rows, and manifest.json says 1"));
    copied(good.directory(), &place);
    fs::copy(place.join(METERS), place.join("asset.meters.other.parquet")).unwrap();
    rewrite(&place, |manifest| {
        let entry = manifest.files[METERS];
        manifest.files.insert("asset.meters.other.parquet".to_owned(), entry);
    });
    assert!(refused(&place).contains("another table than its name says"));
}

fn pem(receipt: &Receipt) -> String {
    let bytes = codec::encode(receipt);
    pem_rfc7468::encode_string(Receipt::PEM_LABEL, LineEnding::LF, &bytes).unwrap()
}

#[test]
fn a_declared_partition_shows_that_its_member_declared_it() {
    let (mut node, _) = grown(24);
    let directory = tempfile::tempdir().unwrap();
    let partition = archived(&node.reader(), 1, 18, directory.path());
    let manifest = partition.manifest();
    let (first, last) = (manifest.first, manifest.last);
    let declare = |manifest| Payload::Declare(Declaration::Archive { first, last, manifest });
    let mut declared = |signer: &str, digest| {
        let transaction = node.must(&key(signer), declare(digest));
        node.settle();
        let receipt = node.reader().receipt(&transaction.id()).unwrap().unwrap();
        (receipt, node.height())
    };
    let path = partition.directory().join(DECLARATION);
    let (good, _) = declared("maker", partition.digest());
    let (foreign, _) = declared("operator", partition.digest());
    let (other, _) = declared("maker", Digest::of(b"another"));
    fs::write(&path, pem(&good)).unwrap();
    let verified = partition.verify(&genesis()).unwrap();
    let found = verified.declared.unwrap();
    assert_eq!((found.transaction, found.height), (good.entry.transaction, good.entry.height));
    for (receipt, says) in [
        (pem(&foreign), "another one than the manifest's member signed it"),
        (pem(&other), "another partition"),
        (pem(&good).replace('\n', "\r\n"), "not exactly"),
        (pem(&good)[..300].to_owned(), "cut off"),
    ] {
        fs::write(&path, receipt).unwrap();
        let said = refused(partition.directory());
        assert!(said.starts_with("declaration.pem: ") && said.contains(says), "{said}");
    }
    let state = node.reader().state().unwrap();
    let record = state.archive(&name("maker"), first).unwrap().unwrap();
    assert_eq!((record.last, record.manifest), (last, Digest::of(b"another")));
    assert_eq!(state.archives(&name("maker")).unwrap(), [(first, record)]);
    // The same again, heights that are not over, and none at all.
    assert_eq!(node.one(&key("maker"), declare(record.manifest)), Outcome::Conflict);
    let wrong = |first, last| {
        Payload::Declare(Declaration::Archive { first, last, manifest: Digest::default() })
    };
    let next = node.height().next();
    assert_eq!(node.one(&key("maker"), wrong(first, next)), Outcome::Parameter);
    assert_eq!(node.one(&key("maker"), wrong(Height(0), last)), Outcome::Malformed);
    assert_eq!(node.one(&key("maker"), wrong(last, first)), Outcome::Malformed);
    assert_eq!(node.one(&key("pump"), wrong(first, last)), Outcome::Forbidden);
}

#[test]
fn what_has_left_the_store_is_read_from_the_folder() {
    let (node, sent) = grown(2 * ALWAYS_KEPT);
    let reader = node.reader();
    let directory = tempfile::tempdir().unwrap();
    let partition = archived(&reader, 1, 200, directory.path());
    let last = partition.manifest().last;
    let receipts: Vec<Receipt> =
        sent.iter().map(|one| reader.receipt(&one.id()).unwrap().unwrap()).collect();
    let block = reader.block(Height(30)).unwrap().unwrap();
    let mut pruner = reader.pruner();
    // The state as of the last archived height stays, for the next partition.
    assert_eq!(pruner.keep_from(last).unwrap(), last);
    while pruner.step().unwrap() {}

    let folder = Folder::new(directory.path());
    for (one, receipt) in sent.iter().zip(receipts) {
        let id = one.id();
        let (log_index, entry) = reader.entry(&id).unwrap().unwrap();
        if entry.height >= last {
            continue;
        }
        assert!(matches!(reader.receipt(&id), Err(MachineError::Pruned { .. })));
        let mut block = folder.transactions(entry.height).unwrap().unwrap();
        let transaction = block.swap_remove(entry.index as usize);
        let found = hufu_machine::Found { transaction, entry, log_index };
        assert_eq!(reader.receipt_of(found).unwrap(), Some(receipt));
    }
    assert_eq!(folder.transactions(Height(30)).unwrap().unwrap(), block.transactions);
    assert_eq!(folder.transactions(last.next()).unwrap(), None);
    // The next one goes on there.
    let next = archived(&reader, last.get() + 1, 400, directory.path());
    next.verify(&genesis()).unwrap();
    let member = name("maker");
    let wanted = Wanted {
        reader: &reader,
        member: &member,
        first: Height(10),
        last: Height(20),
        directory: directory.path(),
    };
    let gone = create(&wanted, &|| false).unwrap_err();
    assert!(matches!(gone, ArchiveError::Ledger(MachineError::Pruned { .. })), "{gone}");
}

#[test]
fn a_partition_is_there_whole_or_not_at_all() {
    let (node, _) = grown(24);
    let reader = node.reader();
    let directory = tempfile::tempdir().unwrap();
    let member = name("maker");
    let wanted = |first, last| Wanted {
        reader: &reader,
        member: &member,
        first: Height(first),
        last: Height(last),
        directory: directory.path(),
    };
    let left = || fs::read_dir(directory.path()).unwrap().count();
    let asked = std::cell::Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 7
    };
    let error = create(&wanted(1, 18), &stop).unwrap_err();
    assert!(matches!(error, ArchiveError::Interrupted), "{error}");
    assert_eq!(left(), 0);
    for (first, last) in [(0, 5), (5, 4), (1, 2_000_000)] {
        let error = create(&wanted(first, last), &|| false).unwrap_err();
        assert!(matches!(error, ArchiveError::Range { .. }), "{error}");
    }
    let error = create(&wanted(1, 1000), &|| false).unwrap_err();
    assert!(matches!(error, ArchiveError::NotFinal { .. }), "{error}");
    assert_eq!(left(), 0);
    // What a machine left that lost its power.
    fs::create_dir(directory.path().join(".partial")).unwrap();
    fs::write(directory.path().join(".partial/blocks.parquet"), b"half").unwrap();
    let partition = create(&wanted(1, 18), &|| false).unwrap();
    assert_eq!(left(), 1);
    let error = create(&wanted(1, 18), &|| false).unwrap_err();
    assert!(matches!(error, ArchiveError::Exists { .. }), "{error}");
    assert_eq!(left(), 1);

    // Taken into another folder, altered not.
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = Folder::new(elsewhere.path().join("archive"));
    let restored = folder.restore(partition.directory(), &genesis()).unwrap();
    assert_eq!(restored.digest(), partition.digest());
    let again = folder.restore(partition.directory(), &genesis()).unwrap_err();
    assert!(matches!(again, ArchiveError::Exists { .. }), "{again}");
    let other = Folder::new(elsewhere.path().join("other"));
    let path = partition.directory().join(READINGS);
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = other.restore(partition.directory(), &genesis()).unwrap_err();
    assert!(error.to_string().contains(READINGS), "{error}");
    assert_eq!(fs::read_dir(other.directory()).unwrap().count(), 0);
}

/// What a contract's new version adds to an asset is in another part of its table.
#[test]
fn another_version_with_other_columns_begins_another_part() {
    let (mut node, _) = grown(20);
    let files = meters("1.1.0");
    let contract = String::from(files.text("contract.toml").unwrap());
    let more = contract.replace(
        "fields.total =",
        "fields.note = { type = \"text\", max = 40, optional = true, title = { en = \"Note\", zh = \"备注\" } }\nfields.total =",
    );
    let policy = String::from(files.text("policy.cedar").unwrap());
    let package =
        sources(&[("contract.toml", &more), ("policy.cedar", &policy), ("README.md", "Meters.\n")]);
    node.deploy(&package);
    node.must(&key("operator"), install_meter("late"));
    node.settle();
    let directory = tempfile::tempdir().unwrap();
    let last = node.height().get() - 2;
    let partition = archived(&node.reader(), 1, last, directory.path());
    let verified = partition.verify(&genesis()).unwrap();
    assert_eq!(verified.tables["asset.meters.meter.2.parquet"], 1);
    let table = TableReader::open(partition.directory(), "asset.meters.meter.2.parquet").unwrap();
    assert!(table.columns.iter().any(|column| column.name == "note" && column.optional));
}
