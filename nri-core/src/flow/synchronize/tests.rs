//! The laws of showing what exists in parts.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use proptest::prelude::*;
use prost::Message as _;

fn pod(id: usize, bytes: usize) -> api::PodSandbox {
    api::PodSandbox {
        id: format!("p{id}"),
        name: "x".repeat(bytes),
        ..Default::default()
    }
}

fn container(id: usize, bytes: usize) -> api::Container {
    api::Container {
        id: format!("c{id}"),
        name: "x".repeat(bytes),
        ..Default::default()
    }
}

fn objects(pods: &[usize], containers: &[usize]) -> (Vec<api::PodSandbox>, Vec<api::Container>) {
    (
        pods.iter().enumerate().map(|(i, b)| pod(i, *b)).collect(),
        containers
            .iter()
            .enumerate()
            .map(|(i, b)| container(i, *b))
            .collect(),
    )
}

/// What a plugin that does as the protocol says gets to see.
fn run(mut flow: SynchronizeFlow) -> Vec<api::SynchronizeRequest> {
    let mut parts = Vec::new();
    while let Some(part) = flow.next_part().unwrap() {
        assert_eq!(flow.next_part(), Ok(None), "one part at a time");
        let more = part.more;
        let part = api::SynchronizeRequest::decode(&*part.bytes).unwrap();
        assert_eq!(part.more, more);
        let answer = api::SynchronizeResponse {
            update: Vec::new(),
            more: part.more,
        };
        let done = flow.answer(answer).unwrap();
        assert_eq!(done.is_some(), !part.more);
        parts.push(part);
    }
    assert!(flow.is_done());
    parts
}

proptest! {
    /// Law: everything arrives once and in order; no part is over the limit; every part but the
    /// only one of nothing holds something; only the last is the last; no two neighbours would
    /// have fitted into one.
    #[test]
    fn everything_arrives_in_few_parts_under_the_limit(
        pods in prop::collection::vec(0usize..400, 0..40),
        containers in prop::collection::vec(0usize..400, 0..40),
        room in 420usize..2000,
    ) {
        let (pods, containers) = objects(&pods, &containers);
        let parts = run(SynchronizeFlow::with_room(pods.clone(), containers.clone(), room));
        for (at, part) in parts.iter().enumerate() {
            prop_assert!(part.encoded_len() <= room);
            prop_assert_eq!(part.more, at + 1 < parts.len());
            prop_assert!(parts.len() == 1 || !part.pods.is_empty() || !part.containers.is_empty());
        }
        for pair in parts.windows(2) {
            let mut both = pair[0].clone();
            both.pods.extend(pair[1].pods.first().cloned());
            if pair[1].pods.is_empty() {
                both.containers.extend(pair[1].containers.first().cloned());
            }
            prop_assert!(both.encoded_len() > room);
        }
        prop_assert_eq!(parts.iter().flat_map(|p| p.pods.clone()).collect::<Vec<_>>(), pods);
        prop_assert_eq!(parts.iter().flat_map(|p| p.containers.clone()).collect::<Vec<_>>(), containers);
    }

    /// Law: what is added is shown as what is taken, however many objects come at a time.
    #[test]
    fn what_is_added_is_shown_as_what_is_taken(
        containers in prop::collection::vec(0usize..400, 0..40),
        room in 1usize..2000,
        at_once in 1usize..9,
    ) {
        let (_, containers) = objects(&[], &containers);
        let taken = run(SynchronizeFlow::new([], containers.clone()).in_parts_of(room));
        let mut flow = SynchronizeFlow::of_added().in_parts_of(room);
        let (mut encoder, mut left) = (ObjectEncoder::new(), containers.into_iter());
        let mut added = Vec::new();
        while !flow.is_done() {
            while flow.wants_more() {
                prop_assert_eq!(flow.next_part(), Ok(None), "it is not complete");
                let next: Vec<_> = left.by_ref().take(at_once).collect();
                for container in &next {
                    flow.add(encoder.container_message(container));
                }
                if next.len() < at_once {
                    flow.end();
                }
            }
            let part = flow.next_part().unwrap().unwrap();
            added.push(api::SynchronizeRequest::decode(&*part.bytes).unwrap());
            let more = part.more;
            let answered = flow.answer(api::SynchronizeResponse { more, update: Vec::new() });
            prop_assert_eq!(answered.unwrap().is_none(), more);
        }
        prop_assert_eq!(added, taken);
    }

    /// Law: an object is refused exactly when a message with it alone, marked as a part, would
    /// be over the limit.
    #[test]
    fn what_is_too_large_alone_is_refused_by_name(bytes in 0usize..600, room in 0usize..600) {
        let alone = api::SynchronizeRequest {
            containers: vec![container(7, bytes)],
            more: true,
            ..Default::default()
        };
        match SynchronizeFlow::with_room([], [container(7, bytes)], room).next_part() {
            Ok(_) => prop_assert!(alone.encoded_len() <= room),
            Err(SynchronizeError::TooLarge { kind, id, size, .. }) => {
                prop_assert_eq!((kind, id.as_str()), ("container", "c7"));
                prop_assert_eq!(size + MORE, alone.encoded_len());
                prop_assert!(alone.encoded_len() > room);
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

/// Law: parts can be small, and what is not has one of its own; it is the same that arrives,
/// whenever it was prepared.
#[test]
fn parts_are_as_small_as_they_are_to_be() {
    let (pods, containers) = objects(&[100; 9], &[5, 900, 5]);
    let mut flow = SynchronizeFlow::with_room(pods.clone(), containers.clone(), 1000);
    flow = flow.in_parts_of(300);
    assert!(flow.prepare(1), "there is room for more");
    while flow.prepare(1) {}
    assert!(!flow.prepare(1), "it is full");
    let parts = run(flow);
    assert_eq!(
        parts
            .iter()
            .map(prost::Message::encoded_len)
            .filter(|len| *len > 302)
            .count(),
        1
    );
    assert_eq!(parts.len(), 7);
    assert_eq!(
        parts
            .iter()
            .flat_map(|p| p.pods.clone())
            .collect::<Vec<_>>(),
        pods
    );
    let arrived = parts.iter().flat_map(|p| p.containers.clone());
    assert_eq!(arrived.collect::<Vec<_>>(), containers);
}

/// Law: what a runtime has is shown as requests about it show it.
#[test]
fn objects_of_a_runtime_have_a_linux_part_and_the_state_they_are_shown_in() {
    let (pods, containers) = objects(&[5; 3], &[7; 3]);
    let shown = ContainerState::ContainerStopped;
    let arc = |pod: &api::PodSandbox| Arc::new(pod.clone()) as Arc<dyn PodSandbox>;
    let of_pods: Vec<_> = pods.iter().map(arc).collect();
    let arc = |container: &api::Container| Arc::new(container.clone()) as Arc<dyn Container>;
    let of_containers: Vec<_> = containers.iter().map(|it| (arc(it), shown)).collect();
    let parts = run(SynchronizeFlow::of_objects(of_pods, of_containers));
    let [part] = &parts[..] else {
        panic!("{parts:?}")
    };
    for (sent, pod) in part.pods.iter().zip(pods) {
        let linux = Some(api::LinuxPodSandbox::default());
        assert_eq!(*sent, api::PodSandbox { linux, ..pod });
    }
    for (sent, mut container) in part.containers.iter().zip(containers) {
        container.linux = Some(api::LinuxContainer::default());
        container.set_state(shown);
        assert_eq!(*sent, container);
    }
    assert_eq!((part.pods.len(), part.containers.len()), (3, 3));
}

/// Law: a message takes no more memory than it may be long.
#[test]
fn a_part_is_not_larger_in_memory_than_it_may_be() {
    let (_, containers) = objects(&[], &[7_800; 100]);
    let mut flow = SynchronizeFlow::new([], containers).in_parts_of(256 << 10);
    while let Some(part) = flow.next_part().unwrap() {
        assert!(part.bytes.capacity() <= (256 << 10) + MORE);
        let answer = api::SynchronizeResponse {
            more: part.more,
            update: Vec::new(),
        };
        assert_eq!(flow.answer(answer).unwrap().is_none(), part.more);
    }
    assert!(flow.is_done());
}

#[test]
fn nothing_is_one_message() {
    let parts = run(SynchronizeFlow::new([], []));
    assert_eq!(parts, [api::SynchronizeRequest::default()]);
}

/// The reference sends empty messages until its time is over here.
#[test]
fn one_pod_with_many_large_containers_takes_few_messages() {
    let (pods, containers) = objects(&[100], &[1 << 20; 9]);
    let parts = run(SynchronizeFlow::new(pods, containers));
    assert_eq!(parts.len(), 3);
    assert!(
        parts
            .iter()
            .all(|part| part.encoded_len() + ENVELOPE_RESERVE <= MESSAGE_LIMIT)
    );
}

/// The reference crashes here.
#[test]
fn large_containers_without_pods_are_no_trouble() {
    let (_, containers) = objects(&[], &[1 << 20; 9]);
    assert_eq!(run(SynchronizeFlow::new([], containers)).len(), 3);
}

#[test]
fn an_object_over_the_limit_is_named() {
    let mut flow = SynchronizeFlow::new([pod(3, 10), pod(4, 5 << 20)], []);
    let error = flow.next_part().unwrap_err();
    let text = SynchronizeError::to_string(&error);
    assert!(text.contains("pod") && text.contains("\"p4\""));
    assert!(matches!(error, SynchronizeError::TooLarge { size, .. } if size > 5 << 20));
}

/// Law: nothing is taken before there is room for it.
#[test]
fn objects_are_taken_as_parts_are_filled() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let pods = (0..10).map(move |id| {
        counted.fetch_add(1, Ordering::Relaxed);
        pod(id, 100)
    });
    let mut flow = SynchronizeFlow::with_room(pods, [], 350);
    assert_eq!(taken.load(Ordering::Relaxed), 0);
    assert!(flow.next_part().unwrap().unwrap().more);
    assert_eq!(
        taken.load(Ordering::Relaxed),
        4,
        "three that fit, and one that did not"
    );
}

fn first_of_two_parts() -> SynchronizeFlow {
    let (pods, _) = objects(&[100, 100], &[]);
    let mut flow = SynchronizeFlow::with_room(pods, [], 150);
    assert!(flow.next_part().unwrap().unwrap().more);
    flow
}

#[test]
fn a_plugin_that_does_not_expect_more_cannot_take_parts() {
    let answer = api::SynchronizeResponse::default();
    assert_eq!(
        first_of_two_parts().answer(answer),
        Err(SynchronizeError::CannotTakeParts)
    );
}

#[test]
fn updates_belong_to_the_last_part() {
    let update = vec![api::ContainerUpdate::default()];
    let early = api::SynchronizeResponse {
        update: update.clone(),
        more: true,
    };
    assert_eq!(
        first_of_two_parts().answer(early),
        Err(SynchronizeError::UpdatesTooEarly(1))
    );
    let mut flow = SynchronizeFlow::new([], []);
    assert!(!flow.next_part().unwrap().unwrap().more);
    // Whatever `more` says: the runtime asked for nothing more.
    let last = api::SynchronizeResponse {
        update: update.clone(),
        more: true,
    };
    assert_eq!(flow.answer(last), Ok(Some(update)));
}

#[test]
fn an_answer_to_nothing_is_an_error() {
    let mut flow = SynchronizeFlow::new([], []);
    assert_eq!(
        flow.answer(api::SynchronizeResponse::default()),
        Err(SynchronizeError::NotAsked)
    );
}
