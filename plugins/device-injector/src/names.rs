//! Names in annotations: of sysctls, of CDI devices, and those of the protocol's enumerations. What
//! may not enter: which annotation they stand in.

use nri_plugin::api::{IoPrioClass, LinuxSchedulerFlag, LinuxSchedulerPolicy, MpolFlag, MpolMode};
use serde::de::{Deserialize, Deserializer, Error as _};

/// A name such as `net.core.somaxconn`; a `/` may stand for a dot.
pub(crate) fn is_sysctl(name: &str) -> bool {
    let is_word = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-:@".contains(&b))
    };
    name.len() <= 255 && name.split(['.', '/']).all(is_word) && !name.starts_with('-')
}

/// `VENDOR/CLASS=NAME` of the Container Device Interface.
pub(crate) fn is_cdi_device(name: &str) -> bool {
    let word = |text: &str, others: &[u8]| {
        let ends = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric());
        ends && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || others.contains(&b))
    };
    let parts = name
        .split_once('=')
        .and_then(|(kind, device)| Some((kind.split_once('/')?, device)));
    parts.is_some_and(|((vendor, class), device)| {
        name.len() <= 1024
            && vendor.starts_with(|c: char| c.is_ascii_alphabetic())
            && class.starts_with(|c: char| c.is_ascii_alphabetic())
            && word(vendor, b"-_.")
            && word(class, b"-_")
            && word(device, b"-_.:")
    })
}

/// Readers of the names that the protocol's enumerations have.
macro_rules! names {
    ($($reader:ident($what:literal): $kind:ident { $($allowed:ident)+ };)*) => {
        $(pub(crate) fn $reader<'de, D: Deserializer<'de>>(from: D) -> Result<$kind, D::Error> {
            let name = String::deserialize(from)?;
            let allowed = [$($kind::$allowed),+];
            allowed.into_iter().find(|value| value.as_str_name() == name).ok_or_else(|| {
                let names = allowed.map(|value| value.as_str_name()).join(", ");
                D::Error::custom(format!("{name:?} is no {}; there is {names}", $what))
            })
        })*
    };
}

names! {
    io_class("class of I/O priority"): IoPrioClass {
        IoprioClassNone IoprioClassRt IoprioClassBe IoprioClassIdle
    };
    scheduler_policy("scheduling policy"): LinuxSchedulerPolicy {
        SchedOther SchedFifo SchedRr SchedBatch SchedIso SchedIdle SchedDeadline
    };
    scheduler_flag("scheduling flag"): LinuxSchedulerFlag {
        SchedFlagResetOnFork SchedFlagReclaim SchedFlagDlOverrun SchedFlagKeepPolicy
        SchedFlagKeepParams SchedFlagUtilClampMin SchedFlagUtilClampMax
    };
    memory_mode("mode of a memory policy"): MpolMode {
        MpolDefault MpolPreferred MpolBind MpolInterleave MpolLocal MpolPreferredMany
        MpolWeightedInterleave
    };
    memory_flag("flag of a memory policy"): MpolFlag {
        MpolFStaticNodes MpolFRelativeNodes MpolFNumaBalancing
    };
}

/// As many flags as there may be; no kind has so many.
const MOST_FLAGS: usize = 16;

/// A list of names, each read by one of the readers above.
macro_rules! lists {
    ($($reader:ident of $one:ident: $kind:ident;)*) => {
        $(pub(crate) fn $reader<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<$kind>, D::Error> {
            struct One($kind);

            impl<'de> Deserialize<'de> for One {
                fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                    $one(from).map(Self)
                }
            }

            let flags = Vec::<One>::deserialize(from)?;
            match flags.len() > MOST_FLAGS {
                true => Err(D::Error::custom(format!("there are more than {MOST_FLAGS} flags"))),
                false => Ok(flags.into_iter().map(|One(flag)| flag).collect()),
            }
        })*
    };
}

lists! {
    scheduler_flags of scheduler_flag: LinuxSchedulerFlag;
    memory_flags of memory_flag: MpolFlag;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_kernel_and_of_cdi() {
        for name in [
            "net.core.somaxconn",
            "net/ipv4/conf/eth0.1/arp_ignore",
            "kernel.shm_rmid_forced",
        ] {
            assert!(is_sysctl(name), "{name}");
        }
        for name in ["", ".", "a..b", "../etc", "-net.a", "a b"] {
            assert!(!is_sysctl(name), "{name}");
        }
        for name in ["vendor0.com/device=null", "nvidia.com/gpu=0", "a/b=c:1"] {
            assert!(is_cdi_device(name), "{name}");
        }
        for name in [
            "", "a", "a/b", "a=b", "/b=c", "a/=c", "a/b=", "a/b=c d", "-a/b=c", "0a/b=c",
        ] {
            assert!(!is_cdi_device(name), "{name}");
        }
    }
}
