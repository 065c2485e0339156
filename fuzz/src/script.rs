//! The input of the target `merge`: a kind of request, then messages, the request first and a
//! response per plugin after it.
//!
//! Byte 0 is the kind and the validators. Every message follows a byte that says what the plugin
//! does and two with the message's length. Any bytes are a script: lengths that are too large end
//! at the end, and of a message whatever can be decoded counts. So nearly every mutation of a
//! script is a merge, not a decoding error.

use nri_core::Event;
use nri_core::api::{
    ContainerAdjustment, CreateContainerRequest, CreateContainerResponse, StopContainerRequest,
    StopContainerResponse, UpdateContainerRequest, UpdateContainerResponse,
};
use prost::Message;

/// More plugins than this only take time.
const MOST_MESSAGES: usize = 8;

/// A script taken apart.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// Kind of the request and validators.
    pub head: u8,
    /// What the plugin does, and the message. The first is the request.
    pub messages: Vec<(u8, Vec<u8>)>,
}

impl Script {
    /// The script that these bytes are.
    pub fn read(bytes: &[u8]) -> Self {
        let Some((&head, mut rest)) = bytes.split_first() else {
            return Self::default();
        };
        let mut messages = Vec::new();
        while let [role, low, high, tail @ ..] = rest
            && messages.len() < MOST_MESSAGES
        {
            let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
            let (message, tail) = tail.split_at(length);
            messages.push((*role, message.to_vec()));
            rest = tail;
        }
        Self { head, messages }
    }

    /// The bytes of this script.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = vec![self.head];
        for (role, message) in &self.messages {
            let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
            bytes.push(*role);
            bytes.extend(length.to_le_bytes());
            bytes.extend(&message[..usize::from(length)]);
        }
        bytes
    }

    /// The event that the request is about.
    pub fn event(&self) -> Event {
        match self.head % 4 {
            0 | 3 => Event::CreateContainer,
            1 => Event::UpdateContainer,
            _ => Event::StopContainer,
        }
    }
}

/// What can be decoded of a message.
pub fn salvage<M: Message + Default>(bytes: &[u8]) -> M {
    let mut message = M::default();
    // An error ends decoding; what came before it stays.
    let _ = message.merge(bytes);
    message
}

/// Another script, made of this one. `change` changes bytes at random: in place, the first so many,
/// into so many at most.
pub fn mutate(
    bytes: &[u8],
    seed: u32,
    mut change: impl FnMut(&mut [u8], usize, usize) -> usize,
) -> Vec<u8> {
    const ROOM: usize = 256;
    let mut change = |bytes: &[u8]| {
        let mut buffer = bytes.to_vec();
        buffer.resize(bytes.len() + ROOM, 0);
        let room = buffer.len();
        let size = change(&mut buffer, bytes.len(), room);
        buffer.truncate(size);
        buffer
    };
    let mut script = Script::read(bytes);
    let mut random = Random(seed);
    let (kind, count) = (random.below(12), script.messages.len());
    if count < 2 || kind < 2 {
        return change(bytes);
    }
    let one = 1 + random.below(count - 1);
    let other = random.below(count);
    match kind {
        // A response or the request, kept decodable.
        2..=5 => {
            let changed = change(&script.messages[other].1);
            script.messages[other].1 = again(&script, other, &changed);
        }
        // A plugin that answers as another one does.
        6 => {
            let copied = script.messages[one].clone();
            script.messages.push(copied);
        }
        // One message after the other is both merged, field by field.
        7 => {
            let more = script.messages[1 + random.below(count - 1)].1.clone();
            script.messages[one].1.extend(more);
        }
        8 => script.messages.swap(one, 1 + random.below(count - 1)),
        9 => drop(script.messages.remove(one)),
        10 => script.messages[one].0 = random.below(256) as u8,
        _ => {
            if script.event() == Event::CreateContainer {
                let mut response: CreateContainerResponse = salvage(&script.messages[one].1);
                if let Some(adjustment) = &mut response.adjust {
                    toggle_markers(adjustment, &mut random);
                }
                script.messages[one].1 = response.encode_to_vec();
            }
        }
    }
    script.messages.truncate(MOST_MESSAGES);
    script.write()
}

/// A changed message, decoded as far as possible and encoded again.
fn again(script: &Script, at: usize, bytes: &[u8]) -> Vec<u8> {
    match (script.event(), at) {
        (Event::CreateContainer, 0) => salvage::<CreateContainerRequest>(bytes).encode_to_vec(),
        (Event::CreateContainer, _) => salvage::<CreateContainerResponse>(bytes).encode_to_vec(),
        (Event::UpdateContainer, 0) => salvage::<UpdateContainerRequest>(bytes).encode_to_vec(),
        (Event::UpdateContainer, _) => salvage::<UpdateContainerResponse>(bytes).encode_to_vec(),
        (_, 0) => salvage::<StopContainerRequest>(bytes).encode_to_vec(),
        (_, _) => salvage::<StopContainerResponse>(bytes).encode_to_vec(),
    }
}

/// Makes some sets removals and some removals sets.
fn toggle_markers(adjustment: &mut ContainerAdjustment, random: &mut Random) {
    let mut toggle = |key: &mut String| {
        if random.below(2) == 0 {
            *key = match key.strip_prefix('-') {
                Some(bare) => bare.to_owned(),
                None => format!("-{key}"),
            };
        }
    };
    adjustment.env.iter_mut().for_each(|e| toggle(&mut e.key));
    let mounts = adjustment.mounts.iter_mut();
    mounts.for_each(|mount| toggle(&mut mount.destination));
    adjustment.annotations = std::mem::take(&mut adjustment.annotations)
        .into_iter()
        .map(|(mut key, value)| {
            toggle(&mut key);
            (key, value)
        })
        .collect();
    if let Some(linux) = &mut adjustment.linux {
        linux.devices.iter_mut().for_each(|d| toggle(&mut d.path));
        let namespaces = linux.namespaces.iter_mut();
        namespaces.for_each(|namespace| toggle(&mut namespace.r#type));
        linux.sysctl = std::mem::take(&mut linux.sysctl)
            .into_iter()
            .map(|(mut key, value)| {
                toggle(&mut key);
                (key, value)
            })
            .collect();
    }
}

/// Pseudo-random numbers, good enough to choose with.
struct Random(u32);

impl Random {
    /// A number below `limit`, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x915f_77f5).wrapping_add(0x3c6e_f35f);
        (self.0 >> 8) as usize % limit
    }
}
