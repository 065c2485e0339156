//! Requests as later plugins see them: the bytes of the request before, with only those fields
//! decoded, changed and encoded anew that were asked for.

use nri_proto::{Wire as _, api};
use prost::Message as _;

use super::fields::{fields, put_head, value_of};
use super::{CONTAINER, EncodedRequest};

/// `linux_resources` of an update.
const RESOURCES: u32 = 3;

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
        let bytes = self.bytes();
        let all = fields(&bytes).find(|field| field.number == CONTAINER)?;
        let container = &bytes[all.value.clone()];
        let mut body = Vec::with_capacity(container.len() + part.len());
        // Runs of fields that stay are copied in one go.
        let mut stays = 0..0;
        for field in fields(container) {
            if touched.contains(&field.number) {
                body.extend_from_slice(&container[stays.clone()]);
                stays = field.whole.end..field.whole.end;
            } else {
                stays.end = field.whole.end;
            }
        }
        body.extend_from_slice(&container[stays]);
        body.extend_from_slice(&part);
        let mut out = Vec::with_capacity(bytes.len() + part.len() + 16);
        out.extend_from_slice(&bytes[..all.whole.start]);
        put_head(CONTAINER, body.len(), &mut out);
        out.extend_from_slice(&body);
        out.extend_from_slice(&bytes[all.whole.end..]);
        Some(Self::of_bytes(self.event, out.into()))
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

    proptest! {
        /// Law: the bytes that each plugin gets are the container as those before it have made it,
        /// however little of it was decoded for that; and validators see the original.
        #[test]
        fn what_is_put_together_of_bytes_is_what_merging_shows(
            container in strategies::container(),
            responses in prop::collection::vec(strategies::create_response(), 3),
        ) {
            let plugins: Vec<_> = ["10-a", "20-b", "30-c"]
                .into_iter()
                .zip(1..)
                .map(|(id, registration)| RegisteredPlugin { id: id.parse().unwrap(), registration })
                .collect();
            let member = |plugin: &RegisteredPlugin| Member::new(plugin.clone(), EventMask::ALL);
            let roster = Roster::new(plugins.iter().map(member));
            let pod = api::PodSandbox { id: "p1".into(), ..Default::default() };
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
                        prop_assert_eq!(request.container.as_ref(), Some(&container));
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
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
