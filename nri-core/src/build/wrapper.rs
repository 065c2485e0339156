//! The protocol's wrappers: messages around one value, so that "not set" and "zero" are two things.

use nri_proto::api;

/// A message around one value.
///
/// ```
/// use nri_core::api::OptionalInt64;
/// use nri_core::build::Wrapper;
///
/// let limit = Some(OptionalInt64::wrap(0));
/// assert_eq!(limit.map(Wrapper::into_inner), Some(0));
/// ```
pub trait Wrapper: Sized {
    /// What is inside.
    type Value;

    /// Puts a value in.
    fn wrap(value: Self::Value) -> Self;

    /// Takes the value out.
    fn into_inner(self) -> Self::Value;
}

macro_rules! wrappers {
    ($($wrapper:ident($value:ty);)+) => { $(
        impl Wrapper for api::$wrapper {
            type Value = $value;

            fn wrap(value: $value) -> Self {
                Self { value }
            }

            fn into_inner(self) -> $value {
                self.value
            }
        }
    )+ };
}

wrappers! {
    OptionalString(String);
    OptionalRepeatedString(Vec<String>);
    OptionalInt(i64);
    OptionalInt32(i32);
    OptionalUInt32(u32);
    OptionalInt64(i64);
    OptionalUInt64(u64);
    OptionalBool(bool);
    OptionalFileMode(u32);
}
