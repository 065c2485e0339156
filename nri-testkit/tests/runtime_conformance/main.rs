//! The conformance suite for runtimes: one that keeps all promises passes, and for every promise
//! there is one that breaks it and is caught.

#![allow(clippy::unwrap_used, reason = "a panic is the report of a test")]

mod toy;

use std::collections::BTreeMap;
use std::time::Duration;

use nri_testkit::runtime_conformance::{Check, Outcome, check, check_within};
use toy::{How, Toy};

/// How long is waited for what never comes.
const TIME: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_runtime_that_keeps_all_promises_passes_every_check() {
    let report = check(&Toy::start(How::NotAtAll).await).await;
    report.assert_ok();
    assert!(report.skipped().is_empty(), "\n{report}");
    let all = format!("{} passed, 0 failed, 0 skipped", Check::ALL.len());
    assert!(report.to_string().ends_with(&all), "\n{report}");
}

#[tokio::test]
async fn every_check_finds_a_runtime_that_breaks_its_promise() {
    let table: BTreeMap<Check, Vec<How>> = [
        (Check::Synchronised, vec![How::Nameless]),
        (Check::Order, vec![How::SkipsPost]),
        (Check::PodShown, vec![How::HidesPod]),
        (Check::ContainerShown, vec![How::HidesContainer]),
        (Check::StateShown, vec![How::HidesState]),
        (Check::Applied, vec![How::IgnoresAdjustments]),
        (Check::AdjustedShown, vec![How::ShowsUnadjusted]),
        (Check::PluginOrder, vec![How::HasTwoInstances]),
        (Check::Conflict, vec![How::IgnoresRefusals]),
        (Check::CreateRefused, vec![How::IgnoresRefusals]),
        (Check::CreateUndone, vec![How::KeepsFailed]),
        (
            Check::PodRefused,
            vec![How::RunsRefusedPods, How::KeepsRefusedPods],
        ),
        (Check::StartRefused, vec![How::StartsRefused]),
        (Check::Updated, vec![How::AppliesRequests]),
        (Check::UpdateRefused, vec![How::UpdatesRefused]),
        (Check::SideUpdate, vec![How::DropsUpdates]),
        (
            Check::Unsolicited,
            vec![How::DropsUpdates, How::UpdatesAnything],
        ),
        (
            Check::Evicted,
            vec![How::KeepsEvicted, How::EvictsInSilence],
        ),
        (Check::LateJoiner, vec![How::ListsAsCreated]),
        (Check::JoinDuring, vec![How::HidesSome]),
        (Check::Once, vec![How::StopsAnew]),
        (Check::RemovalImplies, vec![How::RemovesInSilence]),
        (Check::ExitTold, vec![How::ExitsInSilence]),
        (Check::RuntimeRestart, vec![How::RecoversNothing]),
        (Check::StartsAgain, vec![How::StartsInSilence]),
        (Check::LostPlugin, vec![How::FailsOnLoss]),
    ]
    .into();
    assert!(Check::ALL.iter().all(|check| table.contains_key(check)));
    let broken = table
        .iter()
        .flat_map(|(check, all)| all.iter().map(move |how| (check, how)));
    for (check, how) in broken {
        let report = check_within(&Toy::start(*how).await, TIME).await;
        assert!(
            report.failed().contains(check),
            "{how:?} was to break {check:?}\n{report}"
        );
        let told = report.to_string();
        assert!(told.contains(check.promise()) && told.contains(check.advice()));
    }
}

#[tokio::test]
async fn what_a_driver_cannot_do_is_skipped_and_what_it_cannot_start_with_fails() {
    use async_trait::async_trait;
    use nri_testkit::runtime_conformance::{ContainerSpec, Driver, DriverError, PodSpec};

    /// A driver with what is needed, and no more.
    struct Plain(Toy);

    #[async_trait]
    impl Driver for Plain {
        fn socket(&self) -> std::path::PathBuf {
            self.0.socket()
        }
        async fn run_pod(&self, spec: &PodSpec) -> Result<String, DriverError> {
            self.0.run_pod(spec).await
        }
        async fn create_container(
            &self,
            pod: &str,
            spec: &ContainerSpec,
        ) -> Result<String, DriverError> {
            self.0.create_container(pod, spec).await
        }
        async fn start_container(&self, id: &str) -> Result<(), DriverError> {
            self.0.start_container(id).await
        }
        async fn stop_container(&self, id: &str) -> Result<(), DriverError> {
            self.0.stop_container(id).await
        }
        async fn remove_container(&self, id: &str) -> Result<(), DriverError> {
            self.0.remove_container(id).await
        }
        async fn stop_pod(&self, id: &str) -> Result<(), DriverError> {
            self.0.stop_pod(id).await
        }
        async fn remove_pod(&self, id: &str) -> Result<(), DriverError> {
            self.0.remove_pod(id).await
        }
    }

    let report = check(&Plain(Toy::start(How::NotAtAll).await)).await;
    report.assert_ok();
    let skipped = report.skipped();
    for check in [Check::Applied, Check::Updated, Check::RuntimeRestart] {
        assert!(
            skipped.contains(&check),
            "{check:?} was not skipped\n{report}"
        );
    }
    let passed = report.results().iter();
    let passed = passed.filter(|it| it.outcome == Outcome::Passed).count();
    assert!(passed >= 15, "\n{report}");
}
