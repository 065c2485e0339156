//! Messages to bytes and back: what prost's `encode` writes and its `decode` reads, in a fraction
//! of its instructions, which were most of what a call costs. Bytes have to lie in one piece for
//! it.
//!
//! There is one opinion on which bytes are a message, and on how an error reads, and that is
//! prost's: what is not read here is left to it.

mod reading;
mod writing;

use prost::{DecodeError, Message};

use self::reading::{Fill, Reader, Refused};
use self::writing::Put;
pub use self::writing::Writer;

/// Most answers are smaller.
const USUAL: usize = 256;

/// A message that is read and written here: every one of [`api`](crate::api).
///
/// ```
/// use nri_proto::{Wire as _, api};
/// use prost::Message as _;
///
/// let pod = api::PodSandbox { id: "p1".into(), ..Default::default() };
/// let bytes = pod.to_wire();
/// assert_eq!(bytes, pod.encode_to_vec());
/// assert_eq!(api::PodSandbox::from_wire(&bytes), Ok(pod));
/// ```
pub trait Wire: Message + Default + Fill + Put {
    /// The message in these bytes: that of [`Message::decode`], sooner.
    ///
    /// # Errors
    /// The bytes are no such message.
    fn from_wire(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut message = Self::default();
        match message.fill(&mut Reader::new(bytes)) {
            Ok(()) => Ok(message),
            Err(Refused) => Self::decode(bytes),
        }
    }

    /// The message on the wire: the bytes of [`Message::encode_to_vec`], sooner.
    fn to_wire(&self) -> Vec<u8> {
        let mut to = Writer::with_room(USUAL);
        self.put(&mut to);
        to.into_bytes()
    }
}

impl<M: Message + Default + Fill + Put> Wire for M {}
