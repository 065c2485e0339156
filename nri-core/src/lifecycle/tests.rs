//! The table of steps, and the law that every life yields at most one stop and one removal, in that
//! order.

use std::collections::BTreeMap;

use nri_proto::api::ContainerState;
use proptest::prelude::*;

use super::*;
use crate::Settlement::{Abandoned, Committed};
use crate::Subject;

fn container() -> ObjectKey {
    ObjectKey::container("k8s.io", "c")
}

fn pod() -> ObjectKey {
    ObjectKey::pod("k8s.io", "p")
}

fn created(lives: &mut Lifecycles, key: &ObjectKey) {
    let mut birth = lives.create(key).unwrap();
    lives.asked(&mut birth);
    assert_eq!(lives.settle(birth, Committed), Due::Nothing);
}

fn listed(lives: &mut Lifecycles, objects: &[(ObjectKey, Observed)]) -> Vec<ObjectKey> {
    let listing = lives.begin_listing();
    lives.seed(listing, "k8s.io", objects.iter().cloned())
}

#[test]
fn a_container_leads_one_life() {
    let (mut lives, key) = (Lifecycles::new(), container());
    created(&mut lives, &key);
    assert_eq!(lives.state(&key), State::Created);
    assert_eq!(lives.begin(&key, Event::StartContainer), Ok(Due::Event));
    assert_eq!(lives.state(&key), State::Running);
    assert!(matches!(
        lives.create(&key),
        Err(LifecycleError::Alive { .. })
    ));
    assert_eq!(lives.begin(&key, Event::StopContainer), Ok(Due::Event));
    assert_eq!(lives.begin(&key, Event::StopContainer), Ok(Due::Nothing));
    assert!(matches!(
        lives.begin(&key, Event::StartContainer),
        Err(LifecycleError::Stopped { .. })
    ));
    assert_eq!(lives.begin(&key, Event::RemoveContainer), Ok(Due::Event));
    assert_eq!(lives.begin(&key, Event::RemoveContainer), Ok(Due::Nothing));
    assert_eq!(lives.begin(&key, Event::StopContainer), Ok(Due::Nothing));
    assert!(matches!(
        lives.begin(&key, Event::StartContainer),
        Err(LifecycleError::Removed { .. })
    ));
    assert!(lives.is_empty());
    created(&mut lives, &key);
}

#[test]
fn s8_a_removal_implies_the_stop_of_pods_and_containers() {
    let mut lives = Lifecycles::new();
    created(&mut lives, &container());
    assert_eq!(lives.begin(&pod(), Event::RunPodSandbox), Ok(Due::Event));
    for (key, event) in [
        (container(), Event::RemoveContainer),
        (pod(), Event::RemovePodSandbox),
    ] {
        assert_eq!(lives.begin(&key, event), Ok(Due::StopFirst));
    }
}

#[test]
fn post_and_update_events_are_always_due_and_change_nothing() {
    let mut lives = Lifecycles::new();
    for event in [
        Event::PostCreateContainer,
        Event::PostStartContainer,
        Event::UpdateContainer,
        Event::PostUpdateContainer,
    ] {
        assert_eq!(lives.begin(&container(), event), Ok(Due::Event));
    }
    for event in [Event::UpdatePodSandbox, Event::PostUpdatePodSandbox] {
        assert_eq!(lives.begin(&pod(), event), Ok(Due::Event));
    }
    assert!(lives.is_empty());
}

#[test]
fn steps_of_the_wrong_kind_do_not_exist() {
    let mut lives = Lifecycles::new();
    for event in Event::ALL {
        let wrong = match event.subject() {
            Subject::Pod => container(),
            Subject::Container => pod(),
        };
        assert!(matches!(
            lives.begin(&wrong, event),
            Err(LifecycleError::NoSuchStep { .. })
        ));
    }
    assert!(lives.create(&pod()).is_err());
    assert!(lives.begin(&container(), Event::CreateContainer).is_err());
    assert!(
        lives
            .begin(&container(), Event::ValidateContainerAdjustment)
            .is_err()
    );
}

#[test]
fn s10_the_same_id_in_another_domain_or_kind_is_something_else() {
    let mut lives = Lifecycles::new();
    created(&mut lives, &ObjectKey::container("k8s.io", "x"));
    created(&mut lives, &ObjectKey::container("moby", "x"));
    assert_eq!(
        lives.begin(&ObjectKey::pod("k8s.io", "x"), Event::StopPodSandbox),
        Ok(Due::Nothing)
    );
    assert_eq!(lives.len(), 2);
}

#[test]
fn s11_an_abandoned_creation_is_undone_unless_the_runtime_did_it() {
    let key = container();
    let mut lives = Lifecycles::new();
    let birth = lives.create(&key).unwrap();
    assert!(matches!(
        lives.begin(&key, Event::RemoveContainer),
        Err(LifecycleError::StillCreating { .. })
    ));
    assert_eq!(lives.settle(birth, Abandoned), Due::StopFirst);

    let mut birth = lives.create(&key).unwrap();
    lives.asked(&mut birth);
    assert_eq!(lives.begin(&key, Event::StopContainer), Ok(Due::Event));
    assert_eq!(lives.settle(birth, Abandoned), Due::Event);

    let mut birth = lives.create(&key).unwrap();
    lives.asked(&mut birth);
    assert_eq!(
        lives.begin(&key, Event::RemoveContainer),
        Ok(Due::StopFirst)
    );
    created(&mut lives, &key);
    // The old creation says nothing about the new container.
    assert_eq!(lives.settle(birth, Abandoned), Due::Nothing);
    assert_eq!(lives.state(&key), State::Created);
}

/// The reference seeds containers only, and no exited ones: their stop and removal are lost after a
/// restart.
#[test]
fn s1_s2_after_a_restart_older_objects_still_yield_their_stop_and_removal() {
    let mut lives = Lifecycles::new();
    let (old, exited) = (
        ObjectKey::pod("k8s.io", "old"),
        ObjectKey::container("k8s.io", "x"),
    );
    let _ = listed(
        &mut lives,
        &[
            (pod(), Observed::pod(true)),
            (old.clone(), Observed::pod(false)),
            (container(), Observed::Unknown),
            (exited.clone(), Observed::Stopped),
        ],
    );
    assert_eq!(lives.begin(&pod(), Event::StopPodSandbox), Ok(Due::Event));
    assert_eq!(lives.begin(&old, Event::StopPodSandbox), Ok(Due::Nothing));
    assert_eq!(lives.begin(&old, Event::RemovePodSandbox), Ok(Due::Event));
    assert_eq!(
        lives.begin(&container(), Event::RemoveContainer),
        Ok(Due::StopFirst)
    );
    assert_eq!(lives.begin(&exited, Event::RemoveContainer), Ok(Due::Event));
}

/// In the reference a container that was stopped runs again when a plugin connects, and an unknown
/// one is forgotten.
#[test]
fn s3_a_list_changes_nothing_that_is_known() {
    let (mut lives, key) = (Lifecycles::new(), container());
    created(&mut lives, &key);
    let _ = listed(&mut lives, &[(key.clone(), Observed::Stopped)]);
    // Its stop is still to come.
    assert_eq!(lives.begin(&key, Event::StopContainer), Ok(Due::Event));
    for observed in [Observed::Running, Observed::Unknown, Observed::Created] {
        let _ = listed(&mut lives, &[(key.clone(), observed)]);
        assert_eq!(lives.state(&key), State::Stopped);
    }
    assert_eq!(lives.begin(&key, Event::RemoveContainer), Ok(Due::Event));
    // A runtime removes after it has announced it.
    let _ = listed(&mut lives, &[(key.clone(), Observed::Stopped)]);
    assert_eq!(lives.begin(&key, Event::RemoveContainer), Ok(Due::Nothing));
}

#[test]
fn what_a_runtime_lists_before_it_announces_it_may_be_announced() {
    let mut lives = Lifecycles::new();
    let _ = listed(
        &mut lives,
        &[(pod(), Observed::Stopped), (container(), Observed::Unknown)],
    );
    assert_eq!(lives.begin(&pod(), Event::RunPodSandbox), Ok(Due::Event));
    assert_eq!(lives.state(&pod()), State::Running);
    created(&mut lives, &container());
    assert!(lives.begin(&pod(), Event::RunPodSandbox).is_err());
}

#[test]
fn s11_what_the_runtime_lost_is_forgotten_but_nothing_else() {
    let mut lives = Lifecycles::new();
    let key = |id: &str| ObjectKey::container("k8s.io", id);
    let elsewhere = ObjectKey::container("moby", "e");
    created(&mut lives, &key("unlisted yet"));
    created(&mut lives, &elsewhere);
    let creating = lives.create(&key("creating")).unwrap();
    let all = [
        (key("lost"), Observed::Running),
        (key("kept"), Observed::Running),
        (key("creating"), Observed::Created),
    ];
    assert!(listed(&mut lives, &all).is_empty());

    let listing = lives.begin_listing();
    created(&mut lives, &key("new"));
    let _ = listed(
        &mut lives,
        &[
            (key("new"), Observed::Created),
            all[1].clone(),
            all[0].clone(),
        ],
    );
    let forgotten = lives.seed(listing, "k8s.io", [all[1].clone()]);
    assert_eq!(forgotten, [key("lost")]);
    assert_eq!(lives.len(), 5);
    assert_eq!(lives.settle(creating, Committed), Due::Nothing);
}

#[test]
fn plugins_are_shown_what_lives() {
    let mut lives = Lifecycles::new();
    let birth = lives.create(&container()).unwrap();
    assert!(!lives.shows(&container()));
    let _ = lives.settle(birth, Committed);
    assert!(lives.shows(&container()));
    let _ = lives.begin(&container(), Event::StopContainer).unwrap();
    assert!(!lives.shows(&container()));
    let _ = listed(&mut lives, &[(pod(), Observed::Stopped)]);
    assert!(lives.shows(&pod()));
    let _ = lives.begin(&pod(), Event::RemovePodSandbox).unwrap();
    let _ = listed(&mut lives, &[(pod(), Observed::Stopped)]);
    assert!(!lives.shows(&pod()));
}

#[test]
fn s11_memory_is_bounded_by_what_lives() {
    let mut lives = Lifecycles::new();
    for n in 0..3 * removed::REMEMBERED {
        let key = ObjectKey::container("k8s.io", n.to_string());
        created(&mut lives, &key);
        if n % 2 == 0 {
            let _ = lives.begin(&key, Event::RemoveContainer).unwrap();
        }
    }
    // A runtime that announces no removals and lists nothing.
    let forgotten = listed(&mut lives, &[]);
    assert_eq!(forgotten.first().map(ObjectKey::id), Some("1"));
    assert!(lives.len() <= 4096, "{}", lives.len());
    assert!(lives.removed.len() <= removed::REMEMBERED);
}

fn restartable() -> Lifecycles {
    let mut lives = Lifecycles::new();
    lives.set_restartable("k8s.io");
    lives
}

#[test]
fn where_a_domain_says_so_what_was_stopped_runs_again_until_it_is_removed() {
    let mut lives = restartable();
    created(&mut lives, &container());
    for (key, run, stop, remove) in [
        (
            pod(),
            Event::RunPodSandbox,
            Event::StopPodSandbox,
            Event::RemovePodSandbox,
        ),
        (
            container(),
            Event::StartContainer,
            Event::StopContainer,
            Event::RemoveContainer,
        ),
    ] {
        for _ in 0..3 {
            assert_eq!(lives.begin(&key, run), Ok(Due::Event));
            assert_eq!(lives.state(&key), State::Running);
            assert_eq!(lives.begin(&key, stop), Ok(Due::Event));
            assert_eq!(lives.begin(&key, stop), Ok(Due::Nothing));
        }
        assert_eq!(lives.begin(&key, run), Ok(Due::Event));
        assert_eq!(lives.begin(&key, remove), Ok(Due::StopFirst));
    }
    let start = lives.begin(&container(), Event::StartContainer);
    assert!(matches!(start, Err(LifecycleError::Removed { .. })));
}

#[test]
fn only_a_stop_makes_room_for_another_run_and_only_in_its_domain() {
    let mut lives = restartable();
    let _ = lives.begin(&pod(), Event::RunPodSandbox).unwrap();
    let run = lives.begin(&pod(), Event::RunPodSandbox);
    assert!(matches!(run, Err(LifecycleError::Alive { .. })));
    created(&mut lives, &container());
    let _ = lives.begin(&container(), Event::StopContainer).unwrap();
    assert!(lives.create(&container()).is_err());

    let elsewhere = ObjectKey::container("other", "c");
    created(&mut lives, &elsewhere);
    let _ = lives.begin(&elsewhere, Event::StopContainer).unwrap();
    let start = lives.begin(&elsewhere, Event::StartContainer);
    assert!(matches!(start, Err(LifecycleError::Stopped { .. })));
    assert!(!lives.shows(&elsewhere) && lives.shows(&container()));
}

#[test]
fn plugins_are_shown_what_may_run_again_in_the_state_that_was_announced() {
    use ContainerState::{ContainerCreated, ContainerRunning, ContainerStopped};
    let (mut lives, key) = (restartable(), container());
    let shown = |lives: &Lifecycles, listed| lives.shown_state(&container(), listed);
    created(&mut lives, &key);
    assert_eq!(shown(&lives, ContainerCreated), ContainerCreated);
    let _ = lives.begin(&key, Event::StopContainer).unwrap();
    assert!(lives.unlisted().any(|(unlisted, _)| *unlisted == key));
    let _ = listed(&mut lives, &[(key.clone(), Observed::Running)]);
    assert!(lives.shows(&key));
    assert_eq!(shown(&lives, ContainerRunning), ContainerStopped);
    let _ = lives.begin(&key, Event::StartContainer).unwrap();
    assert_eq!(shown(&lives, ContainerStopped), ContainerRunning);
    assert_eq!(
        shown(&lives, ContainerState::ContainerPaused),
        ContainerState::ContainerPaused
    );
    // Without restarts the stop is still to come, and that is how it is shown.
    let mut lives = Lifecycles::new();
    created(&mut lives, &key);
    assert_eq!(shown(&lives, ContainerStopped), ContainerStopped);
}

#[test]
fn a_creation_that_ran_and_stopped_before_it_was_settled_runs_again_as_what_exists() {
    let (mut lives, key) = (restartable(), container());
    let mut birth = lives.create(&key).unwrap();
    lives.asked(&mut birth);
    let _ = lives.begin(&key, Event::StopContainer).unwrap();
    assert!(!lives.shows(&key), "it may still come to nothing");
    let _ = lives.begin(&key, Event::StartContainer).unwrap();
    assert!(lives.shows(&key));
    assert_eq!(lives.settle(birth, Abandoned), Due::StopFirst);
}

#[derive(Debug, Clone)]
enum Act {
    Create(u8),
    Asked(u8),
    Settle(u8, bool),
    Step(u8, Event),
    List(Vec<(u8, u8)>),
}

fn act() -> impl Strategy<Value = Act> {
    let step = prop_oneof![
        Just(Event::StartContainer),
        Just(Event::StopContainer),
        Just(Event::RemoveContainer),
        Just(Event::UpdateContainer),
    ];
    prop_oneof![
        2 => (0u8..3).prop_map(Act::Create),
        2 => (0u8..3).prop_map(Act::Asked),
        2 => (0u8..3, any::<bool>()).prop_map(|(id, commit)| Act::Settle(id, commit)),
        6 => (0u8..3, step).prop_map(|(id, event)| Act::Step(id, event)),
        1 => prop::collection::vec((0u8..3, 0u8..4), 0..4).prop_map(Act::List),
    ]
}

/// The events of one life, as plugins hear them.
#[derive(Debug, Default)]
struct Heard {
    stops: usize,
    removals: usize,
    /// A list told of it as stopped, so its stop was announced by an earlier process.
    born_stopped: bool,
    /// Whether it may run again after a stop.
    restartable: bool,
}

impl Heard {
    fn stop(&mut self) {
        assert_eq!(self.removals, 0, "a stop after the removal");
        self.stops += 1;
        assert!(self.stops <= 1, "a second stop");
    }

    fn remove(&mut self) {
        assert!(
            self.stops == 1 || self.born_stopped,
            "a removal without stop"
        );
        self.removals += 1;
        assert!(self.removals <= 1, "a second removal");
    }

    fn hear(&mut self, due: Due, event: Event) {
        match (due, event) {
            (Due::Nothing, _) => {}
            (Due::StopFirst, _) => {
                self.stop();
                self.remove();
            }
            (Due::Event, Event::StopContainer) => self.stop(),
            (Due::Event, Event::RemoveContainer) => self.remove(),
            (Due::Event, Event::StartContainer) => {
                if self.restartable {
                    self.stops = 0;
                }
                assert_eq!((self.stops, self.removals), (0, 0), "a step backwards");
                self.born_stopped = false;
            }
            (Due::Event, _) => {}
        }
    }
}

/// A case is cheap, so there are more than usual.
fn many_cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: usual.cases.max(2000),
        ..usual
    }
}

proptest! {
    #![proptest_config(many_cases())]

    /// Law: whatever a runtime announces in whatever order, each life yields at most one stop (one
    /// per start, where what was stopped may run again) and at most one removal, never a removal
    /// before the stop, and nothing but a creation after the removal.
    #[test]
    fn each_life_is_stopped_once_then_removed_once(
        acts in prop::collection::vec(act(), 1..60),
        restartable in any::<bool>(),
    ) {
        let mut lives = Lifecycles::new();
        if restartable {
            lives.set_restartable("k8s.io");
        }
        let begins = || Heard { restartable, ..Heard::default() };
        let key = |id: u8| ObjectKey::container("k8s.io", id.to_string());
        let mut heard: BTreeMap<u8, Heard> = BTreeMap::new();
        let mut births: BTreeMap<u8, Vec<PendingCreation>> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Create(id) => {
                    let alive = lives.entries.get(&key(id)).is_some_and(|entry| entry.announced);
                    match lives.create(&key(id)) {
                        Ok(birth) => {
                            prop_assert!(!alive);
                            births.entry(id).or_default().push(birth);
                            heard.insert(id, begins());
                        }
                        Err(_) => prop_assert!(alive),
                    }
                }
                Act::Asked(id) => {
                    if let Some(birth) = births.get_mut(&id).and_then(|births| births.last_mut()) {
                        lives.asked(birth);
                    }
                }
                Act::Settle(id, commit) => {
                    // The oldest first: an old one must not touch a newer life.
                    let Some(births) = births.get_mut(&id).filter(|births| !births.is_empty()) else { continue };
                    let birth = births.remove(0);
                    let current = lives.newborn(&birth).is_some();
                    let due = lives.settle(birth, if commit { Committed } else { Abandoned });
                    prop_assert!(current || due == Due::Nothing);
                    heard.entry(id).or_insert_with(begins).hear(due, Event::RemoveContainer);
                }
                Act::Step(id, event) => {
                    let known = lives.entries.contains_key(&key(id));
                    if let Ok(due) = lives.begin(&key(id), event) {
                        if !known && event == Event::StartContainer {
                            // A life that nobody told of before; not one that ended.
                            prop_assert!(heard.get(&id).is_none_or(|heard| heard.removals == 0));
                            heard.insert(id, begins());
                        }
                        heard.entry(id).or_insert_with(begins).hear(due, event);
                    }
                }
                Act::List(objects) => {
                    let before: Vec<u8> = (0..3).filter(|id| lives.entries.contains_key(&key(*id))).collect();
                    let objects = objects.into_iter().map(|(id, observed)| {
                        let observed = [Observed::Created, Observed::Running, Observed::Stopped, Observed::Unknown][usize::from(observed)];
                        (key(id), observed)
                    });
                    let listing = lives.begin_listing();
                    let forgotten = lives.seed(listing, "k8s.io", objects);
                    for gone in &forgotten {
                        let id: u8 = gone.id().parse().unwrap();
                        heard.remove(&id);
                    }
                    for id in 0..3 {
                        let state = lives.state(&key(id));
                        if state != State::Removed && !before.contains(&id) {
                            heard.insert(id, Heard { born_stopped: state == State::Stopped, ..begins() });
                        }
                    }
                }
            }
        }
    }
}
