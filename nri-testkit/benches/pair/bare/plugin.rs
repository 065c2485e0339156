//! A plugin that has its answers before it is asked.

use std::os::unix::net::UnixStream;
use std::time::Instant;

use nri_core::{Event, EventMask};
use nri_proto::frame::{PLUGIN_ID, RUNTIME_ID};
use nri_proto::rpc::plugin::{Configure, CreateContainer, RunPodSandbox, Synchronize};
use nri_proto::rpc::runtime::{self, RegisterPlugin};
use nri_proto::{Method, Wire as _, api};
use prost::Message as _;

use super::{Call, Line, answer, call};
use crate::{Failure, Options};

/// Where the name of a method is in a message: behind that of the service.
const NAMES: usize = 64;

/// Is a plugin until the runtime is gone.
pub(crate) fn join(options: &Options) -> Result<(), Failure> {
    let mut line = Line::new(UnixStream::connect(&options.socket)?);
    let register = api::RegisterPluginRequest {
        plugin_name: "pair".to_owned(),
        plugin_idx: options.index.clone(),
        ..Default::default()
    };
    let register = register.to_wire();
    let mut register = call(RUNTIME_ID, runtime::SERVICE, RegisterPlugin::NAME, register)?;
    line.call(RUNTIME_ID, &mut register)?.payload()?;

    let of_index = |item| {
        let key = format!("pair.example/{}-{item}", options.index);
        (key, options.index.clone())
    };
    let created = api::CreateContainerResponse {
        adjust: Some(api::ContainerAdjustment {
            annotations: (0..options.items).map(of_index).collect(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut created = answer(PLUGIN_ID, created.to_wire())?;
    let mut nothing = answer(PLUGIN_ID, Vec::new())?;
    let mut begun = Instant::now();
    while let Some(asked) = line.next(PLUGIN_ID)? {
        let names = &asked.data[..asked.data.len().min(NAMES)];
        if names_method::<CreateContainer>(names) {
            line.write(asked.stream, &mut created)?;
        } else if names_method::<RunPodSandbox>(names) {
            line.write(asked.stream, &mut nothing)?;
        } else {
            let mut answer = set_up(&asked.data, &mut begun)?;
            line.write(asked.stream, &mut answer)?;
        }
    }
    Ok(())
}

fn names_method<M: Method>(names: &[u8]) -> bool {
    let mut windows = names.windows(M::NAME.len());
    windows.any(|name| name == M::NAME.as_bytes())
}

/// The answer to what comes before any event.
fn set_up(data: &[u8], begun: &mut Instant) -> Result<Vec<u8>, Failure> {
    let asked = Call::decode(data)?;
    let payload = match asked.method.as_str() {
        Configure::NAME => {
            *begun = Instant::now();
            let events: EventMask = [Event::CreateContainer, Event::RunPodSandbox]
                .into_iter()
                .collect();
            api::ConfigureResponse {
                events: events.bits(),
                ..Default::default()
            }
            .to_wire()
        }
        Synchronize::NAME => {
            let more = api::SynchronizeRequest::from_wire(&asked.payload)?.more;
            if !more {
                let ns = begun.elapsed().as_nanos();
                println!("{{\"ns\":{ns}}}");
            }
            api::SynchronizeResponse {
                more,
                ..Default::default()
            }
            .to_wire()
        }
        // What it did not subscribe to does not come, except for the end.
        _ => Vec::new(),
    };
    answer(PLUGIN_ID, payload)
}
