//! How many items a message has, counted in its bytes before the message is built.
//!
//! Two bytes on the wire can be a thousand in memory: an empty update, mount or device is a whole
//! one once it is decoded. So what comes from a peer is counted first, and refused before it costs
//! anything. Counting takes no memory, and goes over each byte once, at most.
//!
//! What a message consists of is generated from the proto file; see [`Shaped`]. What may not enter:
//! what the limits are worth, and whose message it is.

use bytes::Buf as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// What a message consists of, as far as there can be many of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Shape {
    /// The message's name.
    pub name: &'static str,
    /// Its fields that are repeated, or messages, or both. Entries of maps are repeated messages.
    pub fields: &'static [Field],
}

/// A field of a [`Shape`].
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// Its number on the wire.
    pub number: u32,
    /// Its name in the proto file.
    pub name: &'static str,
    /// Whether there can be several.
    pub repeated: bool,
    /// Whether several can be in one run of bytes, as numbers can.
    pub packed: bool,
    /// What each of them consists of, where they are messages.
    pub message: Option<&'static Shape>,
}

/// A message whose items can be counted before it is built.
pub trait Shaped: prost::Message {
    /// What it consists of.
    const SHAPE: &'static Shape;
}

include!("generated/shapes.rs");

/// How many items a message may have.
///
/// ```
/// use nri_proto::api::{ContainerUpdate, UpdateContainersRequest};
/// use nri_proto::items::Limits;
/// use prost::Message as _;
///
/// let request = UpdateContainersRequest { update: vec![ContainerUpdate::default(); 1000], ..Default::default() };
/// let bytes = request.encode_to_vec();
/// let limits = Limits { asked: 1000, items: 1000 };
/// assert_eq!(limits.check::<UpdateContainersRequest>(&bytes).map(|tally| tally.asked), Ok(1000));
///
/// let limits = Limits { asked: 999, items: 1000 };
/// let error = limits.check::<UpdateContainersRequest>(&bytes).unwrap_err();
/// assert_eq!(error.to_string(), "UpdateContainersRequest has more than 999 updates and evictions");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many updates and evictions of containers it may ask for, together.
    pub asked: usize,
    /// How many entries all its lists and maps may have together, those of messages in messages
    /// included.
    pub items: usize,
}

/// What was counted in a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Updates and evictions of containers.
    pub asked: usize,
    /// Entries of all lists and maps, updates and evictions included.
    pub items: usize,
}

/// A message has more items than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TooMany {
    /// Too many updates and evictions.
    #[error("{message} has more than {limit} updates and evictions")]
    Asked {
        /// The message.
        message: &'static str,
        /// How many it may have.
        limit: usize,
    },
    /// Too many entries of lists and maps.
    #[error(
        "{message} has more than {limit} entries in its lists and maps; the last one counted is in {field}"
    )]
    Items {
        /// The message.
        message: &'static str,
        /// How many it may have.
        limit: usize,
        /// The field in which the one too many is.
        field: &'static str,
    },
}

impl Limits {
    /// Counts the items of a message `M`, no further than the limits go.
    ///
    /// Bytes that are no such message are counted up to where that shows. So decoding never builds
    /// more items than were counted, whether it succeeds or not.
    ///
    /// # Errors
    /// There are more than the limits allow.
    pub fn check<M: Shaped>(&self, bytes: &[u8]) -> Result<Tally, TooMany> {
        self.check_shape(M::SHAPE, bytes)
    }

    /// The same for a message that is known by its shape.
    ///
    /// # Errors
    /// There are more than the limits allow.
    pub fn check_shape(&self, shape: &'static Shape, bytes: &[u8]) -> Result<Tally, TooMany> {
        let mut counting = Counting {
            limits: *self,
            message: shape.name,
            tally: Tally::default(),
        };
        // Where the bytes are wrong, the count ends, and so does decoding.
        match counting.message(shape, bytes) {
            Ok(()) | Err(Stop::Malformed) => Ok(counting.tally),
            Err(Stop::TooMany(error)) => Err(error),
        }
    }
}

struct Counting {
    limits: Limits,
    message: &'static str,
    tally: Tally,
}

enum Stop {
    Malformed,
    TooMany(TooMany),
}

impl Counting {
    /// Goes over one message. It calls itself as deep as messages are in messages, which the shapes
    /// say.
    fn message(&mut self, shape: &'static Shape, mut bytes: &[u8]) -> Result<(), Stop> {
        while !bytes.is_empty() {
            let (number, wire) = decode_key(&mut bytes).map_err(|_| Stop::Malformed)?;
            let field = shape.fields.iter().find(|field| field.number == number);
            match (field, wire) {
                (Some(field), WireType::LengthDelimited) => {
                    let data = delimited(&mut bytes).ok_or(Stop::Malformed)?;
                    self.field(field, data)?;
                }
                (field, wire) => {
                    if let Some(field) = field {
                        self.count(field, 1)?;
                    }
                    skip_field(wire, number, &mut bytes, DecodeContext::default())
                        .map_err(|_| Stop::Malformed)?;
                }
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &'static Field, data: &[u8]) -> Result<(), Stop> {
        match field.message {
            Some(shape) => {
                self.count(field, 1)?;
                self.message(shape, data)
            }
            // Each number ends with a byte below 128, whatever its kind takes beside.
            None if field.packed => {
                let ends = data.iter().filter(|byte| **byte < 0x80).count();
                self.count(field, ends)
            }
            None => self.count(field, 1),
        }
    }

    fn count(&mut self, field: &'static Field, more: usize) -> Result<(), Stop> {
        if !field.repeated {
            return Ok(());
        }
        let Limits { asked, items } = self.limits;
        let message = self.message;
        self.tally.items += more;
        let shape = field.message.map(|shape| shape.name);
        if matches!(shape, Some("ContainerUpdate" | "ContainerEviction")) {
            self.tally.asked += more;
        }
        if self.tally.asked > asked {
            let limit = asked;
            return Err(Stop::TooMany(TooMany::Asked { message, limit }));
        }
        if self.tally.items > items {
            return Err(Stop::TooMany(TooMany::Items {
                message,
                limit: items,
                field: field.name,
            }));
        }
        Ok(())
    }
}

/// The run of bytes that comes next, with its length before it.
fn delimited<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = decode_varint(bytes).ok()?;
    let length = usize::try_from(length).ok()?;
    let data = bytes.get(..length)?;
    bytes.advance(length);
    Some(data)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::api;

    const NO_LIMITS: Limits = Limits {
        asked: usize::MAX,
        items: usize::MAX,
    };

    fn count<M: Shaped>(message: &M) -> Tally {
        NO_LIMITS.check::<M>(&message.encode_to_vec()).unwrap()
    }

    #[test]
    fn what_is_nested_counts_and_values_do_not() {
        let pair = || [("a".to_owned(), "b".to_owned())];
        let resources = api::LinuxResources {
            hugepage_limits: vec![api::HugepageLimit::default(); 3],
            unified: pair().into(),
            cpu: Some(api::LinuxCpu::default()),
            ..Default::default()
        };
        let update = api::ContainerUpdate {
            container_id: "x".repeat(100_000),
            linux: Some(api::LinuxContainerUpdate {
                resources: Some(resources.clone()),
            }),
            ignore_failure: true,
        };
        let mount = api::Mount {
            options: vec!["ro".into(); 5],
            ..Default::default()
        };
        let adjust = api::ContainerAdjustment {
            args: vec![String::new(); 7],
            mounts: vec![mount],
            annotations: pair().into(),
            linux: Some(api::LinuxContainerAdjustment {
                resources: Some(resources),
                ..Default::default()
            }),
            ..Default::default()
        };
        let response = api::CreateContainerResponse {
            adjust: Some(adjust),
            update: vec![update; 2],
            evict: vec![api::ContainerEviction::default()],
        };
        let tally = count(&response);
        assert_eq!(tally.asked, 3);
        assert_eq!(tally.items, 7 + (1 + 5) + 1 + 4 + 2 * (1 + 4) + 1);
    }

    #[test]
    fn numbers_count_one_by_one_packed_or_not() {
        let user = api::User {
            uid: 7,
            gid: 0,
            additional_gids: vec![0, 1, 300, u32::MAX],
        };
        assert_eq!(count(&user).items, 4);
        let field = api::User::SHAPE.fields[0].number as u8;
        let unpacked: Vec<u8> = [0u8, 1, 2].iter().flat_map(|n| [field << 3, *n]).collect();
        assert_eq!(
            api::User::decode(&unpacked[..]).unwrap().additional_gids,
            [0, 1, 2]
        );
        assert_eq!(NO_LIMITS.check::<api::User>(&unpacked).unwrap().items, 3);
    }

    #[test]
    fn the_one_too_many_is_named_with_its_message_and_field() {
        let limits = Limits { asked: 2, items: 3 };
        let updates = |count| api::StopContainerResponse {
            update: vec![api::ContainerUpdate::default(); count],
        };
        let check =
            |count| limits.check::<api::StopContainerResponse>(&updates(count).encode_to_vec());
        assert_eq!(check(2).unwrap().asked, 2);
        assert_eq!(
            check(3).unwrap_err().to_string(),
            "StopContainerResponse has more than 2 updates and evictions"
        );
        let adjust = api::ContainerAdjustment {
            args: vec![String::new(); 4],
            ..Default::default()
        };
        let error = limits.check::<api::ContainerAdjustment>(&adjust.encode_to_vec());
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("more than 3 entries")
        );
    }

    /// Law: counting stops at the limit, however much follows, and needs no memory.
    #[test]
    fn four_mebibytes_of_empty_updates_cost_nothing() {
        let bytes = [0x0a, 0].repeat(2 << 20);
        let limits = Limits {
            asked: 4096,
            items: 32_768,
        };
        let cost = allocation_counter::measure(|| {
            limits
                .check::<api::UpdateContainersRequest>(&bytes)
                .unwrap_err();
            limits
                .check::<api::SynchronizeResponse>(&[0x12, 0])
                .unwrap();
        });
        assert!(cost.bytes_max < 64, "{cost:?}");
    }

    /// How many items a message has that was built.
    trait Built {
        fn built(&self) -> usize;
    }

    impl Built for api::UpdateContainersRequest {
        fn built(&self) -> usize {
            self.update.len() + self.evict.len() + self.update.iter().map(resources).sum::<usize>()
        }
    }

    fn resources(update: &api::ContainerUpdate) -> usize {
        let resources = update.linux.as_ref().and_then(|l| l.resources.as_ref());
        resources.map_or(0, |r| {
            r.hugepage_limits.len() + r.unified.len() + r.devices.len()
        })
    }

    proptest! {
        /// Law: garbage is counted without a panic, and what decodes was counted whole.
        #[test]
        fn no_more_is_built_than_was_counted(bytes in prop::collection::vec(prop_oneof![
            Just(0x0au8), Just(0x12), Just(0), 0u8..8, any::<u8>()
        ], 0..400)) {
            let tally = NO_LIMITS.check::<api::UpdateContainersRequest>(&bytes).unwrap();
            if let Ok(request) = api::UpdateContainersRequest::decode(&bytes[..]) {
                prop_assert!(request.built() <= tally.items);
                prop_assert_eq!(request.update.len() + request.evict.len(), tally.asked);
            }
            let _ = NO_LIMITS.check::<api::CreateContainerResponse>(&bytes);
        }
    }
}
