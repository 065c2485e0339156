//! The fourteen events and sets of them. Numbers, bits and names are the protocol's.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Sub};
use std::str::FromStr;

use nri_proto::api;

/// Whom an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A pod sandbox.
    Pod,
    /// A container (its pod comes along).
    Container,
}

/// An event that a plugin can subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Event {
    /// A pod sandbox is up and about to be marked ready.
    RunPodSandbox = 1,
    /// A pod sandbox was stopped.
    StopPodSandbox = 2,
    /// A pod sandbox is removed.
    RemovePodSandbox = 3,
    /// A container is about to be created; plugins adjust it here.
    CreateContainer = 4,
    /// A container was created.
    PostCreateContainer = 5,
    /// A container is about to be started.
    StartContainer = 6,
    /// A container was started.
    PostStartContainer = 7,
    /// The resources of a container are about to be updated; plugins change them here.
    UpdateContainer = 8,
    /// The resources of a container were updated.
    PostUpdateContainer = 9,
    /// A container was stopped; plugins may update others here.
    StopContainer = 10,
    /// A container is removed.
    RemoveContainer = 11,
    /// The resources of a pod are about to be updated.
    UpdatePodSandbox = 12,
    /// The resources of a pod were updated.
    PostUpdatePodSandbox = 13,
    /// The combined adjustment of a container is about to be applied; plugins may veto it here.
    ValidateContainerAdjustment = 14,
}

impl Event {
    /// Every event, by number.
    pub const ALL: [Event; 14] = [
        Event::RunPodSandbox,
        Event::StopPodSandbox,
        Event::RemovePodSandbox,
        Event::CreateContainer,
        Event::PostCreateContainer,
        Event::StartContainer,
        Event::PostStartContainer,
        Event::UpdateContainer,
        Event::PostUpdateContainer,
        Event::StopContainer,
        Event::RemoveContainer,
        Event::UpdatePodSandbox,
        Event::PostUpdatePodSandbox,
        Event::ValidateContainerAdjustment,
    ];

    /// The event's number in the protocol's `Event` enum.
    pub fn number(self) -> i32 {
        i32::from(self as u8)
    }

    /// The event with a number of the protocol's `Event` enum; `None` for `UNKNOWN`, `LAST` and
    /// numbers of a newer protocol.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.number() == number)
    }

    /// The event as the protocol's enum.
    pub fn to_wire(self) -> api::Event {
        api::Event::try_from(self.number()).unwrap_or(api::Event::Unknown)
    }

    /// Bare name of the event's method, for example `CreateContainer`.
    pub fn name(self) -> &'static str {
        match self {
            Event::RunPodSandbox => "RunPodSandbox",
            Event::StopPodSandbox => "StopPodSandbox",
            Event::RemovePodSandbox => "RemovePodSandbox",
            Event::CreateContainer => "CreateContainer",
            Event::PostCreateContainer => "PostCreateContainer",
            Event::StartContainer => "StartContainer",
            Event::PostStartContainer => "PostStartContainer",
            Event::UpdateContainer => "UpdateContainer",
            Event::PostUpdateContainer => "PostUpdateContainer",
            Event::StopContainer => "StopContainer",
            Event::RemoveContainer => "RemoveContainer",
            Event::UpdatePodSandbox => "UpdatePodSandbox",
            Event::PostUpdatePodSandbox => "PostUpdatePodSandbox",
            Event::ValidateContainerAdjustment => "ValidateContainerAdjustment",
        }
    }

    /// Whom the event is about.
    pub fn subject(self) -> Subject {
        match self {
            Event::RunPodSandbox
            | Event::StopPodSandbox
            | Event::RemovePodSandbox
            | Event::UpdatePodSandbox
            | Event::PostUpdatePodSandbox => Subject::Pod,
            _ => Subject::Container,
        }
    }

    /// Whether what is told of a container by it shows that the container exists.
    pub(crate) fn shows_existence(self) -> bool {
        matches!(
            self,
            Event::PostCreateContainer
                | Event::StartContainer
                | Event::PostStartContainer
                | Event::UpdateContainer
                | Event::PostUpdateContainer
        )
    }

    /// Whether it tells of the end of a pod or container, or of a part of that.
    pub(crate) fn is_end(self) -> bool {
        matches!(
            self,
            Event::StopContainer
                | Event::RemoveContainer
                | Event::StopPodSandbox
                | Event::RemovePodSandbox
        )
    }

    /// Whether all plugins hear of the event whatever an earlier one answered.
    ///
    /// True for what has already happened: stop, remove and post events. The others may be refused,
    /// and the first error ends them.
    pub fn is_notification(self) -> bool {
        !matches!(
            self,
            Event::RunPodSandbox
                | Event::UpdatePodSandbox
                | Event::CreateContainer
                | Event::StartContainer
                | Event::UpdateContainer
                | Event::ValidateContainerAdjustment
        )
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names neither an event nor a group of events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown event {0:?}: use names such as RunPodSandbox or CreateContainer, or the groups all, pod and container"
)]
pub struct UnknownEvent(pub String);

/// Reads the [name](Event::name), in upper or lower case.
impl FromStr for Event {
    type Err = UnknownEvent;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|event| event.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownEvent(text.to_owned()))
    }
}

/// A set of events: bit `n - 1` stands for event number `n`.
///
/// A mask is made of one event with `from` or `into`, of several with `|` or by collecting them, of
/// text by parsing.
///
/// ```
/// use nri_core::{Event, EventMask};
/// let mask = EventMask::from(Event::CreateContainer) | Event::StopContainer.into();
/// assert_eq!(mask.bits(), 0x208);
/// assert!(mask.contains(Event::StopContainer));
/// assert_eq!([Event::CreateContainer, Event::StopContainer].into_iter().collect::<EventMask>(), mask);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EventMask(u32);

/// A mask with bits that no event has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event mask {mask:#x} has bits {unknown:#x} that no event has (valid: {valid:#x})")]
pub struct InvalidEventMask {
    /// The mask as it came.
    pub mask: i32,
    /// Its bits that no event has.
    pub unknown: u32,
    /// All bits that events have.
    pub valid: u32,
}

impl EventMask {
    /// No event.
    pub const NONE: Self = Self(0);
    /// Every event: `0x3fff`.
    pub const ALL: Self = Self(0x3fff);
    /// Every event that runtimes before protocol v0.10 know: `0x07ff`.
    pub const BEFORE_V0_10: Self = Self(0x07ff);

    /// The mask with these bits.
    ///
    /// # Errors
    /// Any bit outside [`EventMask::ALL`], the sign bit included.
    pub fn from_bits(bits: i32) -> Result<Self, InvalidEventMask> {
        let raw = bits as u32;
        match raw & !Self::ALL.0 {
            0 => Ok(Self(raw)),
            unknown => Err(InvalidEventMask {
                mask: bits,
                unknown,
                valid: Self::ALL.0,
            }),
        }
    }

    /// Every event of pods; `pod` in a text.
    pub const PODS: Self = Self(0x1807);
    /// Every event of containers but their validation, which is asked for by name; `container` in a
    /// text.
    pub const CONTAINERS: Self = Self(0x07f8);

    /// The events that several texts name together, each a list as [`EventMask::from_str`] reads
    /// it.
    ///
    /// # Errors
    /// The first text that names nothing.
    ///
    /// ```
    /// use nri_core::EventMask;
    /// let mask = EventMask::parse(["pod, CreateContainer", "stopcontainer"])?;
    /// assert_eq!(mask.bits(), 0x1a0f);
    /// # Ok::<(), nri_core::UnknownEvent>(())
    /// ```
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, UnknownEvent> {
        texts.into_iter().try_fold(Self::NONE, |mask, text| {
            Ok(mask | text.as_ref().parse::<Self>()?)
        })
    }

    /// Any mask in words, those with bits that no event has included; `EventMask` itself has no
    /// such bits.
    ///
    /// ```
    /// use nri_core::EventMask;
    /// assert_eq!(EventMask::describe(0x1_0001), "RunPodSandbox,unknown(0x10000)");
    /// ```
    pub fn describe(bits: i32) -> String {
        let raw = bits as u32;
        let names = Self(raw & Self::ALL.0).iter().map(Event::name);
        let mut parts: Vec<String> = names.map(str::to_owned).collect();
        let unknown = raw & !Self::ALL.0;
        if unknown != 0 {
            parts.push(format!("unknown({unknown:#x})"));
        }
        parts.join(",")
    }

    /// The bits, as the protocol sends them.
    pub fn bits(self) -> i32 {
        self.0 as i32
    }

    /// Whether the event is in the set.
    pub fn contains(self, event: Event) -> bool {
        self.0 & Self::from(event).0 != 0
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The events in the set, by number.
    pub fn iter(self) -> impl Iterator<Item = Event> {
        Event::ALL
            .into_iter()
            .filter(move |event| self.contains(*event))
    }
}

/// Reads names and groups separated by commas, in upper or lower case, with blanks around them:
/// `RunPodSandbox,CreateContainer`. The groups are `all`, `pod` (or `podsandbox`) and `container`.
/// An empty name is an error.
impl FromStr for EventMask {
    type Err = UnknownEvent;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',').try_fold(Self::NONE, |mask, name| {
            let name = name.trim();
            let named = match name.to_ascii_lowercase().as_str() {
                "all" => Self::ALL,
                "pod" | "podsandbox" => Self::PODS,
                "container" => Self::CONTAINERS,
                _ => name.parse::<Event>()?.into(),
            };
            Ok(mask | named)
        })
    }
}

/// The names, separated by commas.
impl fmt::Display for EventMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Self::describe(self.bits()))
    }
}

/// The mask of one event.
impl From<Event> for EventMask {
    fn from(event: Event) -> Self {
        Self(1 << (event.number() - 1))
    }
}

impl FromIterator<Event> for EventMask {
    fn from_iter<I: IntoIterator<Item = Event>>(events: I) -> Self {
        events
            .into_iter()
            .fold(Self::NONE, |mask, event| mask | event.into())
    }
}

impl BitOr for EventMask {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for EventMask {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for EventMask {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Sub for EventMask {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// With names as well.
impl fmt::Debug for EventMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventMask({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_in_a_debug_output_has_the_names_of_its_events() {
        let mask = EventMask::from_iter([Event::RunPodSandbox, Event::CreateContainer]);
        let written = format!("{mask:?}");
        assert_eq!(written, "EventMask(RunPodSandbox,CreateContainer)");
    }

    #[test]
    fn every_mask_reads_what_it_writes() {
        for bits in 1..=EventMask::ALL.bits() {
            let mask = EventMask::from_bits(bits).unwrap();
            assert_eq!(mask.to_string().parse(), Ok(mask));
        }
    }

    #[test]
    fn d33_groups_are_the_events_of_their_subject_without_validation() {
        let of = |subject| -> EventMask {
            let events = Event::ALL.into_iter();
            events.filter(|event| event.subject() == subject).collect()
        };
        assert_eq!("pod".parse(), Ok(of(Subject::Pod)));
        assert_eq!(
            "container".parse(),
            Ok(of(Subject::Container) - Event::ValidateContainerAdjustment.into())
        );
        assert_eq!(" All ".parse(), Ok(EventMask::ALL));
    }

    #[test]
    fn what_names_nothing_is_an_error_that_quotes_it() {
        for text in [
            "",
            ",",
            "CreateContainer,",
            "create",
            "RUN_POD_SANDBOX",
            "all bogus",
        ] {
            assert!(text.parse::<EventMask>().is_err(), "{text:?}");
        }
        let error = "pod,bogus".parse::<EventMask>().unwrap_err();
        assert!(error.to_string().contains("\"bogus\""));
    }
}
