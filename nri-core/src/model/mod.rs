//! Pods and containers as a runtime shows them: accessor traits with defaulted methods, and their
//! mapping to messages.
//!
//! A runtime implements just what it has. The plain messages implement the traits too:
//! [`api::Container`](nri_proto::api::Container) is the message, [`Container`] the trait; where
//! both are needed, import the trait and write `api::` before the message. All getters return owned
//! snapshots; none may block or call back into NRI. They are read once, when a method of the API is
//! entered.

mod annotation;
mod container;
mod pod;
mod snapshot;
mod state;

pub use annotation::effective_annotation;
pub use container::{Container, ContainerStatus, LinuxContainer};
pub use pod::{LinuxPodSandbox, PodSandbox};
pub use snapshot::{ContainerSnapshot, PodSnapshot};
pub use state::State;

#[cfg(test)]
mod tests {
    use nri_proto::api::{self, ContainerState};

    use super::*;

    /// Sees a message through its accessors only.
    struct Accessors<'a, T>(&'a T);

    impl PodSandbox for Accessors<'_, api::PodSandbox> {
        fn id(&self) -> String {
            PodSandbox::id(self.0)
        }
        fn name(&self) -> String {
            PodSandbox::name(self.0)
        }
        fn ips(&self) -> Vec<String> {
            PodSandbox::ips(self.0)
        }
        fn linux(&self) -> Option<&dyn LinuxPodSandbox> {
            PodSandbox::linux(self.0)
        }
    }

    #[test]
    fn a_message_built_from_accessors_is_the_message() {
        let pod = api::PodSandbox {
            id: "p1".into(),
            name: "web".into(),
            ips: vec!["10.0.0.7".into()],
            linux: Some(api::LinuxPodSandbox {
                cgroup_parent: "/kubepods".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(Accessors(&pod).to_message(), pod);
        assert_eq!(pod.to_message(), pod);
    }

    #[test]
    fn a_snapshot_is_what_it_was_taken_of() {
        let container = api::Container {
            id: "c1".into(),
            state: ContainerState::ContainerPaused.into(),
            pid: 7,
            args: vec!["/app".into()],
            linux: Some(api::LinuxContainer::default()),
            ..Default::default()
        };
        let snapshot = ContainerSnapshot::of(&container).with_domain("edge.io");
        assert_eq!(
            (snapshot.to_message(), snapshot.status(), snapshot.pid()),
            (container.clone(), Container::status(&container), 7)
        );
        assert_eq!(ContainerSnapshot::of(&snapshot), snapshot);
        let pod = PodSnapshot::new(api::PodSandbox::default())
            .with_ready(None)
            .with_domain("edge.io");
        assert_eq!(PodSnapshot::of(&pod), pod);
        assert_eq!((pod.ready(), &*pod.domain()), (None, "edge.io"));
    }

    #[test]
    fn a_containers_state_counts_as_the_api_counts() {
        let cases = [
            (ContainerState::ContainerCreated, State::Created),
            (ContainerState::ContainerRunning, State::Running),
            (ContainerState::ContainerPaused, State::Running),
            (ContainerState::ContainerUnknown, State::Running),
            (ContainerState::ContainerStopped, State::Stopped),
        ];
        for (wire, expected) in cases {
            let container = api::Container {
                state: wire.into(),
                ..Default::default()
            };
            assert_eq!(Container::state(&container), expected, "{wire:?}");
        }
    }
}
