//! What a runtime can apply. What it cannot is refused or taken out and reported, never dropped in
//! silence.

use std::fmt;

use nri_proto::api::{ContainerAdjustment, Field, LinuxResources};

use super::sieve::{Sieve, sift_adjustment, sift_resources};

/// The fields that a runtime can apply.
///
/// ```
/// use nri_core::api::{ContainerAdjustment, Field};
/// use nri_core::merge::SupportedFields;
///
/// let mut adjustment = ContainerAdjustment { args: vec!["sh".into()], ..Default::default() };
/// let supported = SupportedFields::ALL.without(Field::Args);
///
/// assert_eq!(supported.unsupported(&adjustment)[0].to_string(), "Args");
/// let taken_out = supported.restrict(&mut adjustment);
/// assert_eq!(taken_out[0].field, Some(Field::Args));
/// assert_eq!(adjustment, ContainerAdjustment::default());
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SupportedFields(u128);

/// The bit of a field. The number that means "no field" stands for the rules of the device cgroup.
fn bit(field: Field) -> u128 {
    1 << (field as i32)
}

impl SupportedFields {
    /// Everything that the protocol has.
    pub const ALL: Self = Self(u128::MAX);
    /// Nothing at all.
    pub const NONE: Self = Self(0);

    /// The same with `field`.
    #[must_use]
    pub fn with(self, field: Field) -> Self {
        Self(self.0 | bit(field))
    }

    /// The same without `field`.
    #[must_use]
    pub fn without(self, field: Field) -> Self {
        Self(self.0 & !bit(field))
    }

    /// The same with rules of the device cgroup, which have no number in the protocol.
    #[must_use]
    pub fn with_device_rules(self) -> Self {
        self.with(Field::None)
    }

    /// The same without rules of the device cgroup.
    #[must_use]
    pub fn without_device_rules(self) -> Self {
        self.without(Field::None)
    }

    /// Whether the field can be applied.
    pub fn contains(self, field: Field) -> bool {
        self.0 & bit(field) != 0
    }

    /// Whether rules of the device cgroup can be applied.
    pub fn contains_device_rules(self) -> bool {
        self.contains(Field::None)
    }

    /// What of the adjustment cannot be applied.
    pub fn unsupported(self, adjustment: &ContainerAdjustment) -> Vec<Unsupported> {
        self.examine(false, |restriction| {
            sift_adjustment(&mut adjustment.clone(), restriction);
        })
    }

    /// Takes out of the adjustment what cannot be applied, and reports it.
    pub fn restrict(self, adjustment: &mut ContainerAdjustment) -> Vec<Unsupported> {
        self.examine(true, |restriction| {
            sift_adjustment(adjustment, restriction);
        })
    }

    /// What of an update's resources cannot be applied.
    pub fn unsupported_resources(self, resources: &LinuxResources) -> Vec<Unsupported> {
        self.examine(false, |restriction| {
            sift_resources(&mut resources.clone(), restriction);
        })
    }

    /// Takes out of an update's resources what cannot be applied, and reports it.
    pub fn restrict_resources(self, resources: &mut LinuxResources) -> Vec<Unsupported> {
        self.examine(true, |restriction| {
            sift_resources(resources, restriction);
        })
    }

    fn examine(self, takes_out: bool, examine: impl FnOnce(&mut Restriction)) -> Vec<Unsupported> {
        let mut restriction = Restriction {
            supported: self,
            takes_out,
            refused: Vec::new(),
        };
        if self != Self::ALL {
            examine(&mut restriction);
        }
        for unsupported in &mut restriction.refused {
            unsupported.keys.sort();
            unsupported.keys.dedup();
        }
        restriction.refused
    }
}

/// Everything is supported unless a runtime says otherwise.
impl Default for SupportedFields {
    fn default() -> Self {
        Self::ALL
    }
}

impl FromIterator<Field> for SupportedFields {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Self {
        fields.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for SupportedFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = (1..128).filter_map(|number| Field::try_from(number).ok());
        f.debug_set()
            .entries(fields.filter(|field| self.contains(*field)))
            .entries(
                self.contains_device_rules()
                    .then_some("device cgroup rules"),
            )
            .finish()
    }
}

/// Something that a runtime was asked for and cannot apply.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unsupported {
    /// The field; `None` for rules of the device cgroup.
    pub field: Option<Field>,
    /// The entries concerned, in order of their keys; none for fields with one value.
    pub keys: Vec<String>,
}

/// The field and the entries, for example `Env "A", "B"`.
impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            self.field
                .map_or("device cgroup rules", |field| field.as_str_name()),
        )?;
        for (at, key) in self.keys.iter().enumerate() {
            write!(f, "{} {key:?}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Keeps what is supported, and notes the rest.
struct Restriction {
    supported: SupportedFields,
    takes_out: bool,
    refused: Vec<Unsupported>,
}

impl Sieve for Restriction {
    const A_PART_STAYS: bool = true;

    fn keeps(&mut self, field: Field, key: Option<&str>) -> bool {
        if self.supported.contains(field) {
            return true;
        }
        let field = (field != Field::None).then_some(field);
        // Entries of one field come one after the other.
        if self.refused.last().is_none_or(|last| last.field != field) {
            let keys = Vec::new();
            self.refused.push(Unsupported { field, keys });
        }
        if let (Some(last), Some(key)) = (self.refused.last_mut(), key) {
            last.keys.push(key.to_owned());
        }
        !self.takes_out
    }
}

#[cfg(test)]
mod tests {
    use nri_proto::api::{
        KeyValue, LinuxContainerAdjustment, LinuxDeviceCgroup, LinuxMemory, LinuxRdt, OptionalInt64,
    };

    use super::*;

    fn adjustment() -> ContainerAdjustment {
        let variable = |key: &str| KeyValue {
            key: key.into(),
            value: "v".into(),
        };
        ContainerAdjustment {
            env: vec![variable("B"), variable("-A")],
            linux: Some(LinuxContainerAdjustment {
                resources: Some(LinuxResources {
                    memory: Some(LinuxMemory {
                        limit: Some(OptionalInt64 { value: 1 }),
                        ..Default::default()
                    }),
                    devices: vec![LinuxDeviceCgroup::default()],
                    ..Default::default()
                }),
                rdt: Some(LinuxRdt {
                    clos_id: Some("c".to_owned().into_wrapper()),
                    remove: true,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    trait IntoWrapper {
        fn into_wrapper(self) -> nri_proto::api::OptionalString;
    }
    impl IntoWrapper for String {
        fn into_wrapper(self) -> nri_proto::api::OptionalString {
            nri_proto::api::OptionalString { value: self }
        }
    }

    #[test]
    fn what_is_not_supported_is_named_with_its_entries() {
        let mut restricted = adjustment();
        let supported = SupportedFields::ALL
            .without(Field::Env)
            .without(Field::MemLimit)
            .without(Field::RdtClosId)
            .without_device_rules();
        let texts: Vec<String> = supported
            .unsupported(&restricted)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            texts,
            [
                "Env \"A\", \"B\"",
                "MemLimit",
                "device cgroup rules",
                "RdtClosID"
            ]
        );
        assert_eq!(restricted, adjustment(), "a question changes nothing");

        assert_eq!(supported.restrict(&mut restricted).len(), 4);
        assert!(supported.unsupported(&restricted).len() <= 1);
        let linux = restricted.linux.unwrap();
        assert!(linux.rdt.unwrap().remove, "the other two can be removed");
        assert!(linux.resources.unwrap().devices.is_empty());
    }

    #[test]
    fn nothing_and_everything() {
        let mut all = adjustment();
        assert!(SupportedFields::ALL.restrict(&mut all).is_empty());
        assert_eq!(all, adjustment());
        SupportedFields::NONE.restrict(&mut all);
        assert_eq!(crate::merge::strip(all), None);
    }
}
