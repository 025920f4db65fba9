//! The other end of a machine's second network cable: it gives the machine an
//! address (DHCP), answers ARP, and knocks at every port.
//!
//! QEMU's own network accepts connections before the machine has, so that a
//! scan through it finds every port open. Here the frames are ours, and what
//! answers is the machine's kernel.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Documentation addresses (RFC 5737): nobody has them.
const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
const OUR_CARD: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 1];

const IP: u16 = 0x0800;
const ARP: u16 = 0x0806;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The port that we knock from.
const FROM: u16 = 40_000;

/// Largest frame that QEMU may announce.
const MAX_FRAME: usize = 64 * 1024;

/// What the machine answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// TCP ports that accept.
    pub open: BTreeSet<u16>,
    /// TCP ports that refuse audibly, UDP ports that do (ICMP).
    pub refused: BTreeSet<u16>,
    /// UDP ports that answered.
    pub talking: BTreeSet<u16>,
    /// Answers to pings.
    pub pings: u32,
    card: Option<[u8; 6]>,
    bound: bool,
}

/// The segment.
pub struct Segment {
    writer: Arc<Mutex<UnixStream>>,
    answers: Arc<Mutex<Answers>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done in it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Segment {
    /// Takes QEMU's connection.
    pub fn accept(listener: &UnixListener) -> anyhow::Result<Self> {
        let (mut reader, _) = listener.accept().context("QEMU's second card")?;
        let writer = Arc::new(Mutex::new(reader.try_clone()?));
        let answers = Arc::new(Mutex::new(Answers::default()));
        let (ours, heard) = (writer.clone(), answers.clone());
        // Ends with QEMU.
        thread::spawn(move || {
            let mut length = [0; 4];
            while reader.read_exact(&mut length).is_ok() {
                let length = u32::from_be_bytes(length) as usize;
                let mut frame = vec![0; length.min(MAX_FRAME)];
                if length > MAX_FRAME || reader.read_exact(&mut frame).is_err() {
                    return;
                }
                let reply = hear(&frame, &mut lock(&heard));
                if let Some(reply) = reply
                    && send(&mut lock(&ours), &reply).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { writer, answers })
    }

    /// Knocks at every TCP and UDP port; what answered. The machine answers a
    /// ping before and after, so that silence is the machine's.
    pub fn scan(&mut self, patience: Duration) -> anyhow::Result<Answers> {
        let deadline = Instant::now() + patience;
        let card = loop {
            let heard = lock(&self.answers).clone();
            if let (Some(card), true) = (heard.card, heard.bound) {
                break card;
            }
            if Instant::now() > deadline {
                bail!("the machine did not ask its second network for an address");
            }
            thread::sleep(Duration::from_millis(100));
        };
        self.ping(card, deadline).context("before the scan")?;
        for (count, port) in (1..=u16::MAX).enumerate() {
            self.send(&frame(card, IP, &packet(TCP, &syn(port))))?;
            self.send(&frame(card, IP, &packet(UDP, &datagram(FROM, port, b"?"))))?;
            if count % 512 == 0 {
                // Under emulation the machine is slower than we are.
                thread::sleep(Duration::from_millis(20));
            }
        }
        self.ping(card, deadline).context("after the scan")?;
        Ok(lock(&self.answers).clone())
    }

    fn ping(&self, card: [u8; 6], deadline: Instant) -> anyhow::Result<()> {
        let before = lock(&self.answers).pings;
        while lock(&self.answers).pings == before {
            if Instant::now() > deadline {
                bail!("the machine does not answer a ping");
            }
            let mut echo = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1];
            let sum = checksum(&[&echo]);
            echo[2..4].copy_from_slice(&sum.to_be_bytes());
            self.send(&frame(card, IP, &packet(ICMP, &echo)))?;
            thread::sleep(Duration::from_millis(300));
        }
        Ok(())
    }

    fn send(&self, frame: &[u8]) -> anyhow::Result<()> {
        send(&mut lock(&self.writer), frame).context("the machine's second network")
    }
}

fn send(stream: &mut UnixStream, frame: &[u8]) -> std::io::Result<()> {
    // Frames are far shorter than that.
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(frame);
    stream.write_all(&bytes)
}

/// Notes what a frame says, and gives the answer to it.
fn hear(frame: &[u8], answers: &mut Answers) -> Option<Vec<u8>> {
    let card: [u8; 6] = frame.get(6..12)?.try_into().ok()?;
    let body = frame.get(14..)?;
    match number(frame, 12)? {
        ARP => {
            // A question for our address.
            let wanted: [u8; 4] = body.get(24..28)?.try_into().ok()?;
            if number(body, 6)? != 1 || Ipv4Addr::from(wanted) != OURS {
                return None;
            }
            let mut reply = body.get(..6)?.to_vec();
            reply.extend([0, 2]);
            reply.extend(OUR_CARD);
            reply.extend(OURS.octets());
            reply.extend(body.get(8..18)?);
            answers.card = Some(card);
            Some(self::frame(card, ARP, &reply))
        }
        IP => {
            let header = usize::from(body.first()? & 15) * 4;
            let payload = body.get(header..usize::from(number(body, 2)?).min(body.len()))?;
            match *body.get(9)? {
                UDP if number(payload, 2)? == 67 => {
                    let (reply, bound) = dhcp(payload.get(8..)?)?;
                    answers.card = Some(card);
                    answers.bound |= bound;
                    Some(self::frame(card, IP, &packet_to(Ipv4Addr::BROADCAST, UDP, &reply)))
                }
                UDP if number(payload, 2)? == FROM => {
                    answers.talking.insert(number(payload, 0)?);
                    None
                }
                TCP if number(payload, 2)? == FROM => {
                    let flags = payload.get(13)?;
                    let port = number(payload, 0)?;
                    if flags & 4 != 0 {
                        answers.refused.insert(port);
                    } else if flags & 18 == 18 {
                        answers.open.insert(port);
                    }
                    None
                }
                ICMP if payload.first() == Some(&0) => {
                    answers.pings += 1;
                    None
                }
                ICMP if payload.first() == Some(&3) => {
                    // Quotes the packet that it refuses.
                    let quoted = payload.get(8..)?;
                    let header = usize::from(quoted.first()? & 15) * 4;
                    answers.refused.insert(number(quoted, header + 2)?);
                    None
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// The answer to a DHCP message, and whether the address is taken with it.
fn dhcp(message: &[u8]) -> Option<(Vec<u8>, bool)> {
    const MAGIC: [u8; 4] = [99, 130, 83, 99];
    if *message.first()? != 1 || message.get(236..240)? != MAGIC {
        return None;
    }
    let mut options = message.get(240..)?;
    let kind = loop {
        match *options.first()? {
            0 => options = options.get(1..)?,
            53 => break *options.get(2)?,
            _ => options = options.get(2 + usize::from(*options.get(1)?)..)?,
        }
    };
    // DISCOVER gets an OFFER, REQUEST an ACK.
    let (answer, bound) = match kind {
        1 => (2, false),
        3 => (5, true),
        _ => return None,
    };
    let mut reply = vec![2, 1, 6, 0];
    reply.extend(message.get(4..8)?);
    reply.extend([0, 0, 0x80, 0]);
    reply.extend([0; 4]);
    reply.extend(THEIRS.octets());
    reply.extend(OURS.octets());
    reply.extend([0; 4]);
    reply.extend(message.get(28..44)?);
    reply.resize(236, 0);
    reply.extend(MAGIC);
    reply.extend([53, 1, answer]);
    reply.extend([54, 4]);
    reply.extend(OURS.octets());
    reply.extend([51, 4, 0, 0, 0x0e, 0x10]);
    reply.extend([1, 4]);
    reply.extend(MASK.octets());
    reply.push(255);
    let mut datagram = header(67, 68, reply.len());
    datagram.extend(reply);
    Some((datagram, bound))
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn frame(to: [u8; 6], kind: u16, body: &[u8]) -> Vec<u8> {
    [&to, &OUR_CARD, &kind.to_be_bytes()[..], body].concat()
}

fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
    packet_to(THEIRS, protocol, payload)
}

fn packet_to(to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    // Payloads are a few hundred bytes.
    let length = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut header = vec![0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
    header.extend(OURS.octets());
    header.extend(to.octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend(payload);
    header
}

/// A UDP header without a checksum, which is allowed.
fn header(from: u16, to: u16, payload: usize) -> Vec<u8> {
    let length = u16::try_from(8 + payload).unwrap_or(u16::MAX);
    [from, to, length, 0].iter().flat_map(|field| field.to_be_bytes()).collect()
}

fn datagram(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = header(from, to, payload.len());
    datagram.extend(payload);
    datagram
}

fn syn(port: u16) -> Vec<u8> {
    let mut segment: Vec<u8> = [FROM, port].iter().flat_map(|field| field.to_be_bytes()).collect();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x20, 0, 0, 0, 0, 0]);
    let pseudo = [&OURS.octets()[..], &THEIRS.octets(), &[0, TCP, 0, 20]].concat();
    let sum = checksum(&[&pseudo, &segment]);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// The internet checksum (RFC 1071) of pieces of even length.
fn checksum(pieces: &[&[u8]]) -> u16 {
    let sum: u32 = pieces
        .iter()
        .flat_map(|piece| piece.chunks(2))
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    // Two folds leave sixteen bits.
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: [u8; 6] = [2; 6];

    #[test]
    fn checksums_are_those_of_the_internet() {
        // The example of RFC 1071, section 3.
        assert_eq!(checksum(&[&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        let header = packet(TCP, &[]);
        assert_eq!(checksum(&[&header]), 0);
    }

    #[test]
    fn answers_are_told_apart() {
        let mut answers = Answers::default();
        let mut from_machine = |body: Vec<u8>| {
            let mut frame = frame(OUR_CARD, IP, &body);
            frame[6..12].copy_from_slice(&CARD);
            assert_eq!(hear(&frame, &mut answers), None);
        };
        let tcp = |port: u16, flags: u8| {
            let mut segment = syn(FROM);
            segment[..2].copy_from_slice(&port.to_be_bytes());
            segment[13] = flags;
            packet(TCP, &segment)
        };
        from_machine(tcp(8440, 18));
        from_machine(tcp(22, 20));
        from_machine(packet(UDP, &datagram(123, FROM, b"x")));
        from_machine(packet(ICMP, &[0; 8]));
        let refused = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &packet(UDP, &datagram(FROM, 53, b"x"))];
        from_machine(packet(ICMP, &refused.concat()));
        from_machine(Vec::new());
        assert_eq!(answers.open, BTreeSet::from([8440]));
        assert_eq!(answers.refused, BTreeSet::from([22, 53]));
        assert_eq!(answers.talking, BTreeSet::from([123]));
        assert_eq!(answers.pings, 1);
    }

    #[test]
    fn whoever_asks_gets_an_address() {
        let mut message = vec![1, 1, 6, 0, 9, 9, 9, 9];
        message.resize(236, 0);
        message.extend([99, 130, 83, 99, 12, 1, 65, 53, 1, 1, 255]);
        let (offer, bound) = dhcp(&message).unwrap();
        assert!(!bound);
        assert_eq!(&offer[8 + 16..8 + 20], THEIRS.octets());
        assert_eq!(offer[8 + 242], 2);
        let kind = message.len() - 2;
        message[kind] = 3;
        let (acknowledged, bound) = dhcp(&message).unwrap();
        assert!(bound && acknowledged[8 + 242] == 5);
        for end in 0..message.len() - 4 {
            assert!(dhcp(&message[..end]).is_none());
        }
    }

    #[test]
    fn our_address_is_answered_for() {
        let mut question = vec![0, 1, 8, 0, 6, 4, 0, 1];
        question.extend(CARD);
        question.extend(THEIRS.octets());
        question.extend([0; 6]);
        question.extend(OURS.octets());
        let mut asked = frame([0xff; 6], ARP, &question);
        asked[6..12].copy_from_slice(&CARD);
        let reply = hear(&asked, &mut Answers::default()).unwrap();
        assert_eq!(&reply[..6], CARD);
        assert_eq!(&reply[14 + 6..14 + 8], [0, 2]);
        assert_eq!(&reply[14 + 8..14 + 14], OUR_CARD);
        question[24] = 10;
        let other = frame([0xff; 6], ARP, &question);
        assert_eq!(hear(&other, &mut Answers::default()), None);
    }
}
