//! Where status, metrics and probes can be served.
//!
//! What may not enter: whether anybody is there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use nri_plugin::SocketPath;

/// A place to serve at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Socket(PathBuf),
    Address(SocketAddr),
}

impl Place {
    pub(crate) fn socket(path: &Path) -> Self {
        Self::Socket(path.to_owned())
    }

    /// `127.0.0.1:9464`, or `unix:///path`, or the path alone.
    ///
    /// # Errors
    /// It is none of these, or one that others than this node reach.
    pub(crate) fn parse(text: &str, public: bool) -> Result<Self, String> {
        let address: SocketAddr = match (text.parse(), SocketPath::parse(text)) {
            (Ok(address), _) => address,
            (Err(_), Ok(path)) if path.as_path().is_absolute() => {
                return Ok(Self::Socket(path.into_path_buf()));
            }
            (Err(error), _) => {
                return Err(format!(
                    "{error}: write an address with a port, such as 127.0.0.1:9464, or unix:///path"
                ));
            }
        };
        if !address.ip().is_loopback() && !public {
            return Err(
                "others than this node can reach it, and nobody has to say who they are: set `hub.http_public = true` if \
                 that is meant"
                    .to_owned(),
            );
        }
        Ok(Self::Address(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_others_can_reach_has_to_be_meant() {
        assert!(Place::parse("127.0.0.1:9464", false).is_ok());
        assert!(Place::parse("[::1]:9464", false).is_ok());
        let error = Place::parse("0.0.0.0:9464", false).unwrap_err();
        assert!(error.contains("hub.http_public = true"), "{error}");
        assert!(Place::parse("0.0.0.0:9464", true).is_ok());
        assert!(Place::parse("localhost", false).is_err());
        assert_eq!(
            Place::parse("unix:///x", false).unwrap(),
            Place::socket(Path::new("/x"))
        );
    }
}
