//! Which fields of an answer a runtime ignores, since it is older than they are. Pure.
//!
//! The table has the release of the protocol's module in which the messages got a field; fields
//! that are not in it have been there since the first that plugins can use, v0.2.

use std::sync::atomic::{AtomicU32, Ordering};

use nri_core::api::{self, Field};
use nri_core::{Configuration, Response};

use crate::level::{RuntimeLevel, Version};

/// A field, since when it is there, and whether an adjustment or resources have it.
struct Row {
    field: Field,
    since: [u64; 3],
    is_in: Place,
}

#[derive(Clone, Copy)]
enum Place {
    Adjustment(fn(&api::ContainerAdjustment) -> bool),
    Linux(fn(&api::LinuxContainerAdjustment) -> bool),
    Rdt(fn(&api::LinuxRdt) -> bool),
    Resources(fn(&api::LinuxResources) -> bool),
}

const ROWS: &[Row] = &[
    row(
        Field::Rlimits,
        [0, 4, 0],
        Place::Adjustment(|it| !it.rlimits.is_empty()),
    ),
    row(
        Field::CdiDevices,
        [0, 7, 0],
        Place::Adjustment(|it| !it.cdi_devices.is_empty()),
    ),
    row(
        Field::OomScoreAdj,
        [0, 7, 0],
        Place::Linux(|it| it.oom_score_adj.is_some()),
    ),
    row(
        Field::PidsLimit,
        [0, 7, 0],
        Place::Resources(|it| it.pids.is_some()),
    ),
    row(
        Field::Args,
        [0, 10, 0],
        Place::Adjustment(|it| !it.args.is_empty()),
    ),
    row(
        Field::IoPriority,
        [0, 10, 0],
        Place::Linux(|it| it.io_priority.is_some()),
    ),
    row(
        Field::SeccompPolicy,
        [0, 10, 0],
        Place::Linux(|it| it.seccomp_policy.is_some()),
    ),
    row(
        Field::Namespace,
        [0, 10, 0],
        Place::Linux(|it| !it.namespaces.is_empty()),
    ),
    row(
        Field::Sysctl,
        [0, 11, 0],
        Place::Linux(|it| !it.sysctl.is_empty()),
    ),
    row(
        Field::LinuxNetDevices,
        [0, 11, 0],
        Place::Linux(|it| !it.net_devices.is_empty()),
    ),
    row(
        Field::LinuxSched,
        [0, 11, 0],
        Place::Linux(|it| it.scheduler.is_some()),
    ),
    row(
        Field::RdtClosId,
        [0, 11, 0],
        Place::Rdt(|it| it.clos_id.is_some() || it.remove),
    ),
    row(
        Field::RdtSchemata,
        [0, 11, 0],
        Place::Rdt(|it| it.schemata.is_some()),
    ),
    row(
        Field::RdtEnableMonitoring,
        [0, 11, 0],
        Place::Rdt(|it| it.enable_monitoring.is_some()),
    ),
    row(
        Field::MemoryPolicy,
        [0, 12, 0],
        Place::Linux(|it| it.memory_policy.is_some()),
    ),
];

const fn row(field: Field, since: [u64; 3], is_in: Place) -> Row {
    Row {
        field,
        since,
        is_in,
    }
}

/// The first release of the protocol that the runtime certainly does not have yet; `None` if it may
/// have all. Only what is certain is warned about.
fn is_before(configuration: &Configuration) -> Option<[u64; 3]> {
    let said = &configuration.runtime.nri_version;
    if !said.is_empty() {
        let version = Version::parse(said)?;
        // Builds without a version say 0.0.0.
        return (version.numbers() != [0, 0, 0]).then(|| {
            let [major, minor, patch] = version.numbers();
            [major, minor, patch.saturating_add(1)]
        });
    }
    // Those before v0.7 do not say how long a request may take, those before v0.12 not their level.
    let says_no_time =
        configuration.registration_timeout.is_zero() && configuration.request_timeout.is_zero();
    Some(match RuntimeLevel::of(configuration) {
        _ if says_no_time => [0, 7, 0],
        RuntimeLevel::BeforeV0_10 => [0, 10, 0],
        RuntimeLevel::V0_10OrLater | RuntimeLevel::Unknown => [0, 12, 0],
    })
}

/// The fields that a runtime ignores.
#[derive(Debug, Default)]
pub(crate) struct Ignored {
    /// Of the rows, which ones: a bit each.
    rows: u32,
    /// Those that were warned about.
    told: AtomicU32,
}

impl Ignored {
    /// Those of the runtime that sent this.
    pub(crate) fn of(configuration: &Configuration) -> Self {
        let newer = is_before(configuration).map_or(0, |end| {
            let rows = ROWS.iter().enumerate();
            rows.filter(|(_, row)| row.since >= end)
                .fold(0, |bits, (index, _)| bits | 1 << index)
        });
        Self {
            rows: newer,
            told: AtomicU32::new(0),
        }
    }

    /// The fields.
    pub(crate) fn fields(&self) -> Vec<Field> {
        self.rows_of(self.rows).map(|row| row.field).collect()
    }

    fn rows_of(&self, bits: u32) -> impl Iterator<Item = &'static Row> {
        let rows = ROWS.iter().enumerate();
        rows.filter(move |(index, _)| bits & (1 << index) != 0)
            .map(|(_, row)| row)
    }

    /// Those that an answer has and that were not told of before: the field and its release.
    pub(crate) fn news(&self, response: &Response) -> Vec<(Field, String)> {
        let none_left = self.rows & !self.told.load(Ordering::Relaxed) == 0;
        if none_left {
            return Vec::new();
        }
        let mut found = 0;
        for (index, row) in ROWS.iter().enumerate() {
            if self.rows & (1 << index) != 0 && row.is_in(response) {
                found |= 1 << index;
            }
        }
        let told = self.told.fetch_or(found, Ordering::Relaxed);
        self.rows_of(found & !told)
            .map(|row| {
                let [major, minor, patch] = row.since;
                (row.field, format!("v{major}.{minor}.{patch}"))
            })
            .collect()
    }
}

impl Row {
    fn is_in(&self, response: &Response) -> bool {
        let (adjust, updates) = match response {
            Response::CreateContainer(response) => (response.adjust.as_ref(), &response.update),
            Response::UpdateContainer(response) => (None, &response.update),
            Response::StopContainer(response) => (None, &response.update),
            _ => return false,
        };
        let linux = adjust.and_then(|adjust| adjust.linux.as_ref());
        match self.is_in {
            Place::Adjustment(is_in) => adjust.is_some_and(is_in),
            Place::Linux(is_in) => linux.is_some_and(is_in),
            Place::Rdt(is_in) => linux
                .and_then(|linux| linux.rdt.as_ref())
                .is_some_and(is_in),
            Place::Resources(is_in) => {
                let of_updates = updates.iter().filter_map(|update| update.linux.as_ref());
                let own = linux.and_then(|linux| linux.resources.as_ref());
                own.into_iter()
                    .chain(of_updates.filter_map(|linux| linux.resources.as_ref()))
                    .any(is_in)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nri_core::RuntimeInfo;
    use nri_core::build::{Adjust as _, SetResources as _};

    use super::*;

    fn ignored(name: &str, version: &str, nri: &str) -> Ignored {
        let mut configuration = Configuration::default();
        configuration.runtime = RuntimeInfo::new(name, version, nri);
        configuration.request_timeout = Duration::from_secs(2);
        Ignored::of(&configuration)
    }

    #[test]
    fn what_is_newer_than_the_runtime_is_ignored() {
        for (name, version, nri, count) in [
            ("containerd", "v2.4.0", "v0.12.5", 0),
            ("containerd", "v2.4.0", "(devel)", 0),
            ("containerd", "v2.4.0", "0.0.0-unknown", 0),
            ("new", "1.0", "v0.11.0", 1),
            ("new", "1.0", "v0.10.2", 7),
            ("new", "1.0", "v0.7.0", 11),
            ("new", "1.0", "v0.3.0", 15),
            // Those say no level, so they are older than v0.12.
            ("containerd", "v2.2.0", "", 1),
            ("containerd", "v1.7.29", "", 11),
            ("cri-o", "1.33.0", "", 11),
            ("new", "1.0", "", 1),
        ] {
            let fields = ignored(name, version, nri).fields();
            assert_eq!(fields.len(), count, "{name} {version} {nri}: {fields:?}");
        }
        // One that does not say how long requests may take is older than v0.7.
        assert_eq!(Ignored::of(&Configuration::default()).fields().len(), 14);
    }

    fn created(adjust: api::ContainerAdjustment) -> Response {
        Response::CreateContainer(api::CreateContainerResponse {
            adjust: Some(adjust),
            ..Default::default()
        })
    }

    /// Law: a field is told of once, and not before it is asked for.
    #[test]
    fn every_field_is_told_of_once() {
        let ignored = ignored("old", "1.0", "v0.6.0");
        let mut adjust = api::ContainerAdjustment::default();
        adjust.add_env("A", "1").unwrap().set_memory_limit(1);
        assert_eq!(ignored.news(&created(adjust.clone())), []);
        adjust.set_args(["sh"]).unwrap().set_oom_score_adj(Some(5));
        let news = ignored.news(&created(adjust.clone()));
        let (oom, args) = ("v0.7.0".to_owned(), "v0.10.0".to_owned());
        assert_eq!(news, [(Field::OomScoreAdj, oom), (Field::Args, args)]);
        assert_eq!(ignored.news(&created(adjust)), []);
    }

    #[test]
    fn updates_are_looked_at_too() {
        let ignored = ignored("old", "1.0", "v0.6.0");
        let mut update = api::ContainerUpdate::default();
        update.set_pids_limit(5);
        let response = Response::StopContainer(api::StopContainerResponse {
            update: vec![update],
        });
        assert_eq!(ignored.news(&response)[0].0, Field::PidsLimit);
        assert_eq!(
            ignored.news(&Response::empty(nri_core::Event::StartContainer)),
            []
        );
    }

    /// Law: whatever a runtime since v0.2 does not ignore is in no row.
    #[test]
    fn rows_are_in_the_order_of_their_releases() {
        assert!(ROWS.is_sorted_by_key(|row| row.since));
        assert!(ROWS.iter().all(|row| row.since > [0, 2, 0]));
        assert!(ROWS.len() <= 32);
    }
}
