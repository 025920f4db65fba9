//! Which certificates were ever revoked or put on hold, so that a list of them
//! is made without reading every certificate. Not part of the state: what became
//! of each is read there, as of the height that is asked for.

use hufu_proof::{Height, Serial};
use hufu_store::{KeyRange, Space, Store, Write};

use crate::error::MachineError;
use crate::record::{CertificateRecord, CertificateStatus};
use crate::state::decode;

/// What the key of a certificate begins with; its serial number follows.
const PREFIX: &[u8] = b"s/";

/// Says that the index holds what was revoked before it was kept.
const COMPLETE: &[u8] = b"complete";

/// Rows read at once.
const PAGE: usize = 4_096;

/// The row of a certificate that is being revoked or put on hold.
pub(crate) fn write(serial: &Serial) -> Write {
    Write::put(Space::Revoked, [PREFIX, serial.as_bytes()].concat(), [1])
}

/// The serial numbers, in their order, of all certificates that were revoked or
/// on hold at some height up to the applied one.
pub(crate) fn serials(store: &dyn Store) -> Result<Vec<Serial>, MachineError> {
    let mut found = Vec::new();
    each(store, Space::Revoked, PREFIX, u64::MAX, |serial, _| {
        found.push(serial);
        Ok(())
    })?;
    Ok(found)
}

/// Fills the index of a store that was written before there was one.
pub(crate) fn complete(store: &dyn Store, applied: Height) -> Result<(), MachineError> {
    if store.read_latest(Space::Revoked, COMPLETE)?.is_some() {
        return Ok(());
    }
    let mut writes = Vec::new();
    each(store, Space::State, b"certificate/", applied.get(), |serial, value| {
        let record: CertificateRecord = decode("certificate", value)?;
        // One whose hold was lifted is of no use to anybody any more.
        if record.status != CertificateStatus::Good {
            writes.push(write(&serial));
        }
        Ok(())
    })?;
    for writes in writes.chunks(PAGE) {
        store.attach(applied.get(), writes.to_vec())?;
    }
    store.attach(applied.get(), vec![Write::put(Space::Revoked, COMPLETE, [1])])?;
    Ok(())
}

fn each(
    store: &dyn Store,
    space: Space,
    prefix: &[u8],
    height: u64,
    mut of: impl FnMut(Serial, &[u8]) -> Result<(), MachineError>,
) -> Result<(), MachineError> {
    let mut range = KeyRange::prefix(prefix);
    loop {
        let rows = store.scan(space, &range, height, PAGE)?;
        for (key, value) in &rows {
            let serial = Serial::new(&key[prefix.len()..])
                .map_err(|_| MachineError::damaged("key of a certificate"))?;
            of(serial, value)?;
        }
        match rows.last() {
            Some((key, _)) if rows.len() == PAGE => range = range.after(key),
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hufu_proof::UnixMillis;
    use hufu_proof::transaction::IdentityKind;
    use hufu_proof::{Digest, IdentityId, Name, codec};
    use hufu_store::{Applied, EmbeddedStore};

    fn row(serial: &Serial, status: CertificateStatus) -> Write {
        let record = CertificateRecord {
            status,
            identity: IdentityId(Digest([1; 32])),
            profile: Name::new("idevid").unwrap(),
            kind: IdentityKind::Device,
            owner: Name::new("maker").unwrap(),
            subject: "pump".to_owned(),
            not_before: UnixMillis(1),
            not_after: UnixMillis(2),
            tbs: Digest([2; 32]),
            attestation: None,
            transaction: Digest([3; 32]),
            recorded_ms: UnixMillis(1),
        };
        Write::put(Space::State, crate::key::certificate(serial), codec::encode(&record))
    }

    #[test]
    fn a_store_from_before_the_index_gets_one() {
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(directory.path()).unwrap();
        let serial = |number: u8| Serial::new(&[0x40, number]).unwrap();
        let revoked = CertificateStatus::Revoked { reason: 1, at_ms: UnixMillis(5) };
        let rows = vec![
            row(&serial(1), CertificateStatus::Good),
            row(&serial(2), revoked),
            row(&serial(3), CertificateStatus::Held { at_ms: UnixMillis(6) }),
        ];
        store.stage(0, rows).unwrap();
        store.flip(Applied { height: 0, block: [0; 32], commitment: Vec::new() }).unwrap();
        assert_eq!(serials(&store).unwrap(), []);
        for _ in 0..2 {
            complete(&store, Height::ZERO).unwrap();
            assert_eq!(serials(&store).unwrap(), [serial(2), serial(3)]);
        }
    }
}
