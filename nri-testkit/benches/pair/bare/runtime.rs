//! A runtime that has nothing but its plugins.

use std::os::unix::net::UnixListener;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nri_core::flow::SynchronizeFlow;
use nri_proto::frame::{PLUGIN_ID, RUNTIME_ID};
use nri_proto::rpc::plugin::{self, Configure, CreateContainer, RunPodSandbox, Synchronize};
use nri_proto::{Method, Wire as _, api};

use super::{Line, answer, call};
use crate::commands::{self, Measured};
use crate::work::{What, existing, read_request};
use crate::{Failure, Options};

/// Listens, and carries out commands until there are no more.
pub(crate) fn serve(options: &Options) -> Result<(), Failure> {
    let request = read_request(&std::fs::read_to_string(&options.request)?)?;
    let run = api::RunPodSandboxRequest {
        pod: request.pod.clone(),
    };
    let (pods, containers): (Vec<_>, Vec<_>) = existing(&request, options.containers).unzip();
    let mut flow = SynchronizeFlow::new(pods, containers);
    let mut parts = Vec::new();
    while let Some(part) = flow.next_part()? {
        parts.push(to_plugin::<Synchronize>(part.bytes)?);
        flow.answer(api::SynchronizeResponse {
            more: part.more,
            ..Default::default()
        })?;
    }
    commands::carry_out(&mut Bare {
        listener: UnixListener::bind(&options.socket)?,
        parts,
        create: to_plugin::<CreateContainer>(request.to_wire())?,
        run: to_plugin::<RunPodSandbox>(run.to_wire())?,
        plugins: Vec::new(),
    })
}

fn to_plugin<M: Method>(payload: Vec<u8>) -> Result<Vec<u8>, Failure> {
    call(PLUGIN_ID, plugin::SERVICE, M::NAME, payload)
}

struct Bare {
    listener: UnixListener,
    /// Of the synchronisation.
    parts: Vec<Vec<u8>>,
    create: Vec<u8>,
    run: Vec<u8>,
    plugins: Vec<Mutex<Line>>,
}

impl Bare {
    /// Takes in a plugin.
    fn accept(&mut self) -> Result<(), Failure> {
        let mut line = Line::new(self.listener.accept()?.0);
        let register = line.next(RUNTIME_ID)?.ok_or("no plugin registers")?;
        line.write(register.stream, &mut answer(RUNTIME_ID, Vec::new())?)?;
        let configure = api::ConfigureRequest {
            runtime_name: "pair".to_owned(),
            runtime_version: "1.0".to_owned(),
            nri_version: "v0.12.2".to_owned(),
            registration_timeout: 5000,
            request_timeout: 20_000,
            ..Default::default()
        };
        let mut configure = to_plugin::<Configure>(configure.to_wire())?;
        line.call(PLUGIN_ID, &mut configure)?.payload()?;
        for part in &mut self.parts {
            line.call(PLUGIN_ID, part)?.payload()?;
        }
        self.plugins.push(Mutex::new(line));
        Ok(())
    }

    /// Makes calls one after the other, each through all plugins.
    fn make(&self, what: What, calls: usize) -> Result<Vec<Duration>, Failure> {
        let mut message = match what {
            What::Create => self.create.clone(),
            What::Run => self.run.clone(),
            What::Unheard => return Err("nothing is called of which nobody hears".into()),
        };
        let mut took = Vec::with_capacity(calls);
        for _ in 0..calls {
            let begun = Instant::now();
            for plugin in &self.plugins {
                let mut plugin = plugin.lock().unwrap_or_else(PoisonError::into_inner);
                plugin.call(PLUGIN_ID, &mut message)?.payload()?;
            }
            took.push(begun.elapsed());
        }
        Ok(took)
    }
}

impl Measured for Bare {
    fn wait(&mut self, plugins: usize) -> Result<(), Failure> {
        (0..plugins).try_for_each(|_| self.accept())
    }

    fn measure(
        &mut self,
        what: What,
        callers: usize,
        calls: usize,
    ) -> Result<Vec<Duration>, Failure> {
        let this = &*self;
        thread::scope(|scope| {
            let callers: Vec<_> = (0..callers)
                .map(|_| scope.spawn(move || this.make(what, calls / callers)))
                .collect();
            let mut all = Vec::new();
            for caller in callers {
                all.extend(caller.join().map_err(|_| "a caller panicked")??);
            }
            Ok(all)
        })
    }
}
