//! Requests as later plugins see them: the bytes of the request before, with only those fields
//! decoded, changed and encoded anew that were asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher as _};
use std::ops::Range;

use nri_proto::{Wire as _, api};
use prost::Message as _;

use super::fields::{Field, fields, put_entry, put_head, value_of};
use super::{CONTAINER, EncodedRequest};
use crate::merge::removal_marker::{bare, marked};

/// `annotations` of a container.
pub(crate) const ANNOTATIONS: u32 = 6;
/// The key of a map's entry.
const KEY: u32 = 1;
/// `linux_resources` of an update.
const RESOURCES: u32 = 3;

/// The key of a map's entry: of several the last one counts.
fn key_of(entry: &[u8]) -> &[u8] {
    let keys = fields(entry).filter(|field| field.number == KEY);
    keys.last().map_or(&[], |key| &entry[key.value])
}

/// The annotations of a container, or more than these, each as a hash of its key: what is asked for
/// under keys that are new to it need not be looked for in the container.
#[derive(Debug, Default)]
pub(crate) struct KnownAnnotations(Option<BTreeSet<u64>>);

impl KnownAnnotations {
    /// What they are is not known any more.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }

    /// Takes in what is asked for of a container; whether all of it is new to it.
    fn are_new(&mut self, asked: &BTreeMap<String, String>, container: &[u8]) -> bool {
        let all = self.0.get_or_insert_with(|| {
            let own = fields(container).filter(|field| field.number == ANNOTATIONS);
            own.map(|field| hash(key_of(&container[field.value])))
                .collect()
        });
        let mut are_new = true;
        for key in asked.keys() {
            are_new &= all.insert(hash(bare(key).as_bytes()));
        }
        are_new
    }
}

fn hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}

/// Where the container of a request is.
fn container_in(request: &[u8]) -> Option<Field> {
    fields(request).find(|field| field.number == CONTAINER)
}

impl EncodedRequest {
    /// The container with nothing but these fields. The rest need not be decoded for it.
    pub(crate) fn part_of_container(&self, touched: &[u32]) -> Option<api::Container> {
        let bytes = self.bytes();
        let container = bytes.get(value_of(&bytes, CONTAINER)?)?;
        let mut part = Vec::new();
        for field in fields(container).filter(|field| touched.contains(&field.number)) {
            part.extend_from_slice(&container[field.whole]);
        }
        api::Container::from_wire(&part).ok()
    }

    /// The request with a container of which `change` has changed these fields; it is given nothing
    /// else. `None` if there is no container.
    pub(crate) fn with_container(
        &self,
        touched: &[u32],
        change: impl FnOnce(&mut api::Container),
    ) -> Option<Self> {
        let mut part = self.part_of_container(touched)?;
        change(&mut part);
        let part = part.to_wire();
        self.with_fields_of_container(&part, |field, _| !touched.contains(&field.number))
    }

    /// The request with a container that has these annotations beside its own, and none of those of
    /// its own whose keys are asked for, be it with a removal marker. Neither is decoded: of a
    /// container the annotations are often the largest part, and what most plugins add to.
    pub(crate) fn with_annotations(
        &self,
        asked: &BTreeMap<String, String>,
        known: &mut KnownAnnotations,
    ) -> Option<Self> {
        let mut part = Vec::new();
        for (key, value) in asked.iter().filter(|(key, _)| marked(key).is_none()) {
            put_entry(ANNOTATIONS, key, value, &mut part);
        }
        let bytes = self.bytes();
        let all = container_in(&bytes)?;
        if known.are_new(asked, &bytes[all.value.clone()]) {
            let run = 0..all.value.len();
            return Some(self.with_runs_of_container(&all, &[run], &part));
        }
        let mut touched: Vec<&[u8]> = asked.keys().map(|key| bare(key).as_bytes()).collect();
        touched.sort_unstable();
        self.with_fields_of_container(&part, |field, container| {
            field.number != ANNOTATIONS || {
                let key = key_of(&container[field.value.clone()]);
                touched.binary_search(&key).is_err()
            }
        })
    }

    /// The request with a container of which those fields stay that `stays` says, with the fields
    /// of `part` behind them. `None` if there is no container.
    fn with_fields_of_container(
        &self,
        part: &[u8],
        stays: impl Fn(&Field, &[u8]) -> bool,
    ) -> Option<Self> {
        let bytes = self.bytes();
        let all = container_in(&bytes)?;
        let container = &bytes[all.value.clone()];
        // Runs of fields that stay are copied in one go.
        let mut runs: Vec<Range<usize>> = Vec::new();
        for field in fields(container) {
            let stays = stays(&field, container);
            match runs.last_mut() {
                Some(run) if stays && run.end == field.whole.start => run.end = field.whole.end,
                _ if stays => runs.push(field.whole),
                _ => {}
            }
        }
        Some(self.with_runs_of_container(&all, &runs, part))
    }

    /// The request with these runs of bytes of its container, which is where `all` says, and `part`
    /// behind them.
    fn with_runs_of_container(&self, all: &Field, runs: &[Range<usize>], part: &[u8]) -> Self {
        let bytes = self.bytes();
        let container = &bytes[all.value.clone()];
        let len = runs.iter().map(Range::len).sum::<usize>() + part.len();
        let mut out = Vec::with_capacity(bytes.len() + part.len() + 16);
        out.extend_from_slice(&bytes[..all.whole.start]);
        put_head(CONTAINER, len, &mut out);
        for run in runs {
            out.extend_from_slice(&container[run.clone()]);
        }
        out.extend_from_slice(part);
        out.extend_from_slice(&bytes[all.whole.end..]);
        Self::of_bytes(self.event, out.into())
    }

    /// The update with these resources in place of its own.
    pub(crate) fn with_resources(&self, resources: Option<&api::LinuxResources>) -> Self {
        let bytes = self.bytes();
        let mut out = Vec::with_capacity(bytes.len());
        for field in fields(&bytes).filter(|field| field.number != RESOURCES) {
            out.extend_from_slice(&bytes[field.whole]);
        }
        if let Some(resources) = resources {
            put_head(RESOURCES, resources.encoded_len(), &mut out);
            resources.encode_raw(&mut out);
        }
        Self::of_bytes(self.event, out.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::{CreateFlow, Flow as _, Member, Reply, Roster, Step};
    use crate::merge::CreateMerge;
    use crate::{EventMask, RegisteredPlugin, Request, Response, strategies};

    /// Has three plugins answer a creation, and compares what each gets with what merging shows it.
    fn compare(
        container: &api::Container,
        responses: Vec<api::CreateContainerResponse>,
    ) -> Result<(), TestCaseError> {
        let plugins: Vec<_> = ["10-a", "20-b", "30-c"]
            .into_iter()
            .zip(1..)
            .map(|(id, registration)| RegisteredPlugin {
                id: id.parse().unwrap(),
                registration,
            })
            .collect();
        let member = |plugin: &RegisteredPlugin| Member::new(plugin.clone(), EventMask::ALL);
        let roster = Roster::new(plugins.iter().map(member));
        let pod = api::PodSandbox {
            id: "p1".into(),
            ..Default::default()
        };
        let request = api::CreateContainerRequest {
            pod: Some(pod.clone()),
            container: Some(container.clone()),
        };
        let mut merge = CreateMerge::new(container.clone());
        let mut flow = CreateFlow::new(&roster, request);
        for (plugin, response) in plugins.iter().zip(responses) {
            let Step::Call(call) = flow.next() else { break };
            prop_assert_eq!(call.request.pod(), Some(&pod));
            prop_assert_eq!(call.request.container(), Some(merge.view()));
            let merged = merge.apply(plugin, response.clone());
            flow.answer(plugin, Reply::Answer(Response::CreateContainer(response)));
            if merged.is_err() {
                return Ok(());
            }
        }
        if let Step::Call(call) = flow.next() {
            match &**call.request {
                Request::ValidateContainerAdjustment(request) => {
                    prop_assert_eq!(request.container.as_ref(), Some(container));
                    let asked = merge.finish().to_response();
                    prop_assert_eq!(
                        request.adjust.clone(),
                        Some(asked.adjust.unwrap_or_default())
                    );
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        Ok(())
    }

    /// Annotations with few keys, so that plugins set and remove those of others.
    fn annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
        let key = prop::sample::select(vec!["", "a", "b", "c", "-a", "-b", "--a", "-"]);
        prop::collection::btree_map(key.prop_map_into(), "[x-z]?", 0..6)
    }

    proptest! {
        /// Law: the bytes that each plugin gets are the container as those before it have made it,
        /// however little of it was decoded for that; and validators see the original.
        #[test]
        fn what_is_put_together_of_bytes_is_what_merging_shows(
            container in strategies::container(),
            responses in prop::collection::vec(strategies::create_response(), 3),
        ) {
            compare(&container, responses)?;
        }

        /// Law: the same where plugins ask for annotations alone, which are not decoded at all, or
        /// one of them for something else too.
        #[test]
        fn annotations_are_as_merged_without_being_decoded(
            own in annotations(),
            asked in prop::collection::vec((annotations(), prop::option::of(0..3i64)), 3),
        ) {
            let container = api::Container {
                annotations: own,
                env: vec!["A=1".into()],
                ..Default::default()
            };
            let response = |(annotations, env): (_, Option<i64>)| {
                let env = env.map(|value| api::KeyValue {
                    key: format!("E{value}"),
                    value: value.to_string(),
                });
                api::CreateContainerResponse {
                    adjust: Some(api::ContainerAdjustment {
                        annotations,
                        env: env.into_iter().collect(),
                        ..Default::default()
                    }),
                    ..Default::default()
                }
            };
            compare(&container, asked.into_iter().map(response).collect())?;
        }
    }

    #[test]
    fn resources_of_an_update_take_the_place_of_those_before() {
        let class = |value: &str| api::LinuxResources {
            rdt_class: Some(api::OptionalString {
                value: value.into(),
            }),
            ..Default::default()
        };
        let request = api::UpdateContainerRequest {
            container: Some(api::Container::default()),
            linux_resources: Some(class("before")),
            ..Default::default()
        };
        let before = EncodedRequest::from(Request::UpdateContainer(request.clone()));
        for resources in [Some(class("after")), None] {
            let after = before.with_resources(resources.as_ref());
            let expected = api::UpdateContainerRequest {
                linux_resources: resources,
                ..request.clone()
            };
            assert_eq!(*after, Request::UpdateContainer(expected));
        }
    }
}
