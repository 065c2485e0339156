//! The runtime.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nri_adaptation::{Creation, RuntimeApi as _};
use tokio::runtime::Runtime;

use crate::commands::{self, Measured};
use crate::work::{Call, Setup, What, Work};
use crate::{Failure, Options};

/// Listens, and carries out commands until there are no more.
pub(crate) fn serve(options: &Options) -> Result<(), Failure> {
    let tokio = match options.current_thread {
        true => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
        false => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?,
    };
    let setup = Setup {
        socket: options.socket.clone(),
        request: std::fs::read_to_string(&options.request)?,
        containers: options.containers,
        in_flight: options.in_flight,
    };
    let work = Arc::new(tokio.block_on(Work::start(setup))?);
    let mut runtime = Ours {
        tokio,
        work,
        current_thread: options.current_thread,
    };
    commands::carry_out(&mut runtime)?;
    runtime.tokio.block_on(runtime.work.nri.stop());
    Ok(())
}

struct Ours {
    tokio: Runtime,
    work: Arc<Work>,
    current_thread: bool,
}

impl Measured for Ours {
    fn wait(&mut self, plugins: usize) -> Result<(), Failure> {
        self.tokio.block_on(self.work.wait(plugins))
    }

    fn measure(
        &mut self,
        what: What,
        callers: usize,
        calls: usize,
    ) -> Result<Vec<Duration>, Failure> {
        let Self { tokio, work, .. } = self;
        match self.current_thread && callers == 1 {
            true => alone(tokio, work, what, calls),
            false => tokio.block_on(together(work, what, callers, calls)),
        }
    }
}

/// Makes calls one after the other, each of which is all that its thread does.
fn alone(tokio: &Runtime, work: &Work, what: What, calls: usize) -> Result<Vec<Duration>, Failure> {
    let mut took = Vec::with_capacity(calls);
    for number in 0..calls {
        let call = work.prepare(what, 0, number);
        let begun = Instant::now();
        let made = measured_call(tokio, work, &call)?;
        took.push(begun.elapsed());
        tokio.block_on(call.end(&work.nri, made))?;
    }
    Ok(took)
}

/// One call and nothing else: a function of its own, so that who counts instructions finds it.
#[inline(never)]
fn measured_call(tokio: &Runtime, work: &Work, call: &Call) -> Result<Option<Creation>, Failure> {
    tokio.block_on(call.make(&work.nri))
}

/// Lets so many callers make so many calls together, each with a pod of its own.
async fn together(
    work: &Arc<Work>,
    what: What,
    callers: usize,
    calls: usize,
) -> Result<Vec<Duration>, Failure> {
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let work = Arc::clone(work);
            tokio::spawn(async move { make(&work, what, caller, calls / callers).await })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    Ok(all)
}

/// Makes calls one after the other, and returns how long each took.
async fn make(
    work: &Work,
    what: What,
    caller: usize,
    calls: usize,
) -> Result<Vec<Duration>, Failure> {
    let mut took = Vec::with_capacity(calls);
    for number in 0..calls {
        let call = work.prepare(what, caller, number);
        let begun = Instant::now();
        let made = call.make(&work.nri).await?;
        took.push(begun.elapsed());
        call.end(&work.nri, made).await?;
    }
    Ok(took)
}
