//! Work in a network namespace, with a socket of the kernel's routing in it. What may not enter:
//! what is done there.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::netlink::Netlink;

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Namespace(File);

impl Namespace {
    /// That of this program.
    pub(crate) fn own() -> io::Result<Self> {
        File::open("/proc/thread-self/ns/net").map(Self)
    }

    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self)
    }

    pub(crate) fn file(&self) -> &File {
        &self.0
    }

    /// Whether two are the same.
    pub(crate) fn is(&self, other: &Self) -> io::Result<bool> {
        let (one, two) = (rustix::fs::fstat(&self.0)?, rustix::fs::fstat(&other.0)?);
        Ok((one.st_dev, one.st_ino) == (two.st_dev, two.st_ino))
    }

    /// Does something in it, in a thread of its own, which is in the namespace as long as it lives.
    pub(crate) fn within<T: Send>(
        &self,
        work: impl FnOnce(&mut Netlink) -> Result<T, String> + Send,
    ) -> Result<T, String> {
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let network = Some(LinkNameSpaceType::Network);
                let there = move_into_link_name_space(self.0.as_fd(), network);
                there
                    .map_err(|error| format!("the network namespace cannot be entered: {error}"))?;
                let netlink = Netlink::open();
                let mut netlink = netlink.map_err(|error| {
                    format!("the kernel's routing socket cannot be opened: {error}")
                })?;
                work(&mut netlink)
            });
            let done = worker.join();
            done.unwrap_or_else(|_| {
                Err("the thread in the network namespace has panicked".to_owned())
            })
        })
    }
}
