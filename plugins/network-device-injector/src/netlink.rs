//! The kernel's routing socket (`rtnetlink(7)`), as far as devices are moved with it: it is asked,
//! and the answer is waited for. What may not enter: why something is asked.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{connect, recv, send, socket_with};

// Kinds of messages.
const ERROR: u16 = 2;
const DONE: u16 = 3;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;

// Flags of requests.
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
const CREATE_NEW: u16 = 0x600;

// Attributes of links and of addresses.
const LINK_NAME: u16 = 3;
const LINK_MTU: u16 = 4;
const LINK_ALIAS: u16 = 20;
const LINK_NAMESPACE_FD: u16 = 28;
const ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ADDRESS_BROADCAST: u16 = 4;
/// Without the flags that an attribute's kind may have.
const ATTRIBUTE_KIND: u16 = 0x3fff;

const LINK_IS_UP: u32 = 1;
const SCOPE_LINK: u8 = 253;

/// As many bytes as a message has before its contents.
const HEADER: usize = 16;
/// As many bytes as the contents of a message about a link have before its attributes.
const LINK: usize = 16;
/// The same about an address.
const ADDRESS_HEAD: usize = 8;
/// More than the kernel writes at once.
const BUFFER: usize = 1 << 16;
/// The kernel answers at once, unless it cannot.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A routing socket, of the network namespace in which it was opened.
pub(crate) struct Netlink {
    socket: OwnedFd,
    buffer: Vec<u8>,
    asked: u32,
}

/// A device as it is in a namespace.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) is_up: bool,
    pub(crate) alias: Option<String>,
}

/// What can be changed of a device.
pub(crate) enum Change<'a> {
    Up,
    Down,
    Name(&'a str),
    /// Empty is none.
    Alias(&'a str),
    Mtu(u32),
    Namespace(BorrowedFd<'a>),
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None, // is the protocol of routing
        )?;
        // Other programs can write to a socket that is not connected to the kernel.
        connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(LONGEST_WAIT))?;
        Ok(Self {
            socket,
            buffer: vec![0; BUFFER],
            asked: 0,
        })
    }

    /// A device by its name; `None` if there is none of it.
    pub(crate) fn find(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut message = Message::new(GET_LINK, ACKNOWLEDGE, &[0; LINK]);
        message.attribute(LINK_NAME, &text(name));
        let mut found = None;
        let asked = self.ask(message, |contents| {
            found = Link::of(contents).or(found.take())
        });
        match asked {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => {
                Ok(None)
            }
            asked => asked.map(|()| found),
        }
    }

    /// Changes a device, all at once.
    pub(crate) fn change(&mut self, index: u32, changes: &[Change<'_>]) -> io::Result<()> {
        let (mut flags, mut mask) = (0, 0);
        for change in changes {
            match change {
                Change::Up => (flags, mask) = (LINK_IS_UP, LINK_IS_UP),
                Change::Down => (flags, mask) = (0, LINK_IS_UP),
                _ => {}
            }
        }
        let mut link = [0; LINK];
        link[4..8].copy_from_slice(&index.to_ne_bytes());
        link[8..12].copy_from_slice(&flags.to_ne_bytes());
        link[12..16].copy_from_slice(&mask.to_ne_bytes());
        let mut message = Message::new(SET_LINK, ACKNOWLEDGE, &link);
        for change in changes {
            match change {
                Change::Up | Change::Down => {}
                Change::Name(name) => message.attribute(LINK_NAME, &text(name)),
                Change::Alias(alias) => message.attribute(LINK_ALIAS, alias.as_bytes()),
                Change::Mtu(mtu) => message.attribute(LINK_MTU, &mtu.to_ne_bytes()),
                Change::Namespace(file) => {
                    message.attribute(LINK_NAMESPACE_FD, &file.as_raw_fd().to_ne_bytes());
                }
            }
        }
        self.ask(message, |_| {})
    }

    /// Whether a device has an address that somebody gave it: the kernel makes one for each link by
    /// itself.
    pub(crate) fn has_address(&mut self, index: u32) -> io::Result<bool> {
        let mut has = false;
        let message = Message::new(GET_ADDRESS, DUMP, &[0; ADDRESS_HEAD]);
        self.ask(message, |contents| {
            has |= u32_at(contents, 4) == Some(index)
                && contents.get(3) != Some(&SCOPE_LINK)
                && attributes(contents, ADDRESS_HEAD).any(|(kind, _)| kind == ADDRESS);
        })?;
        Ok(has)
    }

    /// Gives a device an address, with the length of its prefix.
    pub(crate) fn add_address(
        &mut self,
        index: u32,
        address: IpAddr,
        prefix: u8,
    ) -> io::Result<()> {
        let (family, bytes) = match address {
            IpAddr::V4(address) => (AddressFamily::INET, address.octets().to_vec()),
            IpAddr::V6(address) => (AddressFamily::INET6, address.octets().to_vec()),
        };
        let mut head = [0; ADDRESS_HEAD];
        // Families of addresses have small numbers.
        head[0] = family.as_raw() as u8;
        head[1] = prefix;
        head[4..8].copy_from_slice(&index.to_ne_bytes());
        let mut message = Message::new(NEW_ADDRESS, ACKNOWLEDGE | CREATE_NEW, &head);
        message.attribute(ADDRESS_LOCAL, &bytes);
        message.attribute(ADDRESS, &bytes);
        // Networks of one or two addresses have none for all.
        if let (IpAddr::V4(address), 0..=30) = (address, prefix) {
            let of_all = u32::from(address) | (u32::MAX >> prefix);
            message.attribute(ADDRESS_BROADCAST, &of_all.to_be_bytes());
        }
        self.ask(message, |_| {})
    }

    /// Asks for something, and shows what is answered, until all is said.
    fn ask(&mut self, message: Message, mut answer: impl FnMut(&[u8])) -> io::Result<()> {
        self.asked += 1;
        let message = message.numbered(self.asked);
        send(&self.socket, &message, SendFlags::empty())?;
        loop {
            let (_, length) = recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC)?;
            let Some(bytes) = self.buffer.get(..length) else {
                return Err(io::Error::other("the kernel's answer is too long"));
            };
            for (kind, number, contents) in messages(bytes) {
                match kind {
                    _ if number != self.asked => {} // of a request that was given up
                    ERROR | DONE => return result(contents),
                    _ => answer(contents),
                }
            }
        }
    }
}

/// What an error says, of which success is one.
fn result(contents: &[u8]) -> io::Result<()> {
    match u32_at(contents, 0).map_or(0, u32::cast_signed) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
    }
}

impl Link {
    fn of(contents: &[u8]) -> Option<Self> {
        let alias = attributes(contents, LINK).find(|(kind, _)| *kind == LINK_ALIAS);
        let alias = alias.map(|(_, alias)| {
            let end = alias.iter().position(|byte| *byte == 0);
            String::from_utf8_lossy(&alias[..end.unwrap_or(alias.len())]).into_owned()
        });
        Some(Self {
            index: u32_at(contents, 4)?,
            is_up: u32_at(contents, 8)? & LINK_IS_UP != 0,
            alias,
        })
    }
}

/// A request in the form of the kernel, in which lengths count the padding between parts, but not
/// that behind the last.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, contents: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((REQUEST | flags).to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(contents);
        Self(bytes)
    }

    /// Adds an attribute, of a few hundred bytes at most.
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn numbered(mut self, number: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&number.to_ne_bytes());
        self.0
    }
}

/// A text as names have it, with a zero behind.
fn text(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

/// Takes a part of a length that it says itself; nothing if it is cut off.
fn part<'a>(bytes: &mut &'a [u8], length: usize, header: usize) -> Option<&'a [u8]> {
    let part = bytes.get(..length)?;
    *bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    part.get(header..)
}

/// Messages: kind, number and contents.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (u32_at(bytes, 0)?, u16_at(bytes, 4)?);
        let number = u32_at(bytes, 8)?;
        let length = usize::try_from(length).ok()?;
        Some((kind, number, part(&mut bytes, length, HEADER)?))
    })
}

/// The attributes behind the first bytes of a message's contents: kind and value.
fn attributes(contents: &[u8], head: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut bytes = contents.get(head..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, kind) = (u16_at(bytes, 0)?, u16_at(bytes, 2)?);
        let value = part(&mut bytes, usize::from(length), 4)?;
        Some((kind & ATTRIBUTE_KIND, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every network namespace has this device, and everybody may ask for it.
    #[test]
    fn a_device_is_found_by_its_name() {
        let mut netlink = Netlink::open().unwrap();
        let there = netlink.find("lo").unwrap().unwrap();
        assert_eq!(there.index, 1);
        assert!(netlink.find("nri-is-nowhere").unwrap().is_none());
        netlink.has_address(there.index).unwrap();
        assert!(!netlink.has_address(u32::MAX).unwrap());
    }

    #[test]
    fn what_the_kernel_refuses_is_said_in_its_words() {
        let mut netlink = Netlink::open().unwrap();
        // No device has this number.
        let error = netlink.change(u32::MAX >> 1, &[Change::Up]).unwrap_err();
        let words = error.to_string();
        assert!(
            words.contains("No such device") || words.contains("not permitted"),
            "{words}"
        );
    }

    /// Law: what is cut off anywhere, or says any length of itself, ends and has no more parts than
    /// bytes.
    #[test]
    fn nothing_is_read_behind_the_end() {
        let mut message = Message::new(SET_LINK, ACKNOWLEDGE, &[7; LINK]);
        message.attribute(LINK_NAME, &text("eth0"));
        message.attribute(LINK_ALIAS, b"other");
        let whole = message.numbered(3);
        let read: Vec<_> = messages(&whole).collect();
        let [(SET_LINK, 3, contents)] = read[..] else {
            panic!("{read:?}");
        };
        let both: Vec<_> = attributes(contents, LINK).collect();
        assert_eq!(both, [(LINK_NAME, &b"eth0\0"[..]), (LINK_ALIAS, b"other")]);
        for end in 0..whole.len() {
            assert_eq!(messages(&whole[..end]).count(), 0);
            assert!(attributes(&whole[..end], HEADER + LINK).count() <= 2);
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 3, 4, 15, 255] {
                let mut broken = whole.clone();
                broken[at] = byte;
                for (_, _, contents) in messages(&broken) {
                    let _ = Link::of(contents);
                    assert!(attributes(contents, LINK).count() < whole.len());
                }
            }
        }
    }

    #[test]
    fn an_error_is_a_code_of_the_system_and_none_is_success() {
        assert!(result(&0u32.to_ne_bytes()).is_ok());
        assert!(result(&[]).is_ok());
        let busy = result(&(-16i32).to_ne_bytes()).unwrap_err();
        assert_eq!(busy.raw_os_error(), Some(16));
        result(&i32::MIN.to_ne_bytes()).unwrap_err();
    }
}
