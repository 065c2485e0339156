//! The streams of an exec or attach, as `v4.channel.k8s.io` has them: input, outputs, sizes of the
//! terminal, and how it ended.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::spdy::{Input, Output, Session, Stream};
use crate::descriptor::Descriptor;
use crate::error::{Error, Result};

/// How long a client may take to open its streams.
const OPENING: Duration = Duration::from_secs(30);
/// How long outputs may say nothing after the end, before they are taken to be at theirs: who has
/// them still was left behind by the command.
const QUIET: Duration = Duration::from_secs(1);

/// Which streams a client opens.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
}

/// The streams.
#[derive(Debug)]
pub(super) struct Channels {
    error: Output,
    pub(super) stdin: Option<Input>,
    pub(super) stdout: Option<Output>,
    pub(super) stderr: Option<Output>,
    pub(super) sizes: Sizes,
}

/// The sizes that a terminal is to have.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    input: Option<Input>,
    said: Vec<u8>,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Size {
    pub(super) width: u16,
    pub(super) height: u16,
}

impl Channels {
    /// Waits until the client has opened all of them.
    ///
    /// # Errors
    /// It does not in time, or is gone.
    pub(super) async fn open(session: &mut Session, wanted: Wanted) -> Result<Self> {
        let names = [
            ("error", true),
            ("stdin", wanted.stdin),
            ("stdout", wanted.stdout),
            ("stderr", wanted.stderr),
            ("resize", wanted.tty),
        ];
        let names: Vec<&str> = names
            .iter()
            .filter_map(|(name, wanted)| wanted.then_some(*name))
            .collect();
        let mut streams: BTreeMap<String, Stream> = BTreeMap::new();
        let all = async {
            while !names.iter().all(|name| streams.contains_key(*name)) {
                let stream = session.accept().await;
                let mut stream = stream.ok_or_else(|| Error::internal("the client is gone"))?;
                let name = stream.headers.remove("streamtype").unwrap_or_default();
                streams.insert(name, stream);
            }
            Ok(())
        };
        let opened = timeout(OPENING, all).await.unwrap_or_else(|_| {
            Err(Error::deadline(format!(
                "the client has not opened the streams {names:?} after {OPENING:?}"
            )))
        });
        opened?;
        let mut take = |name: &str, wanted: bool| {
            let stream = streams.remove(name).filter(|_| wanted)?;
            Some((stream.input, stream.output))
        };
        let (_, error) = take("error", true).ok_or_else(|| Error::internal("no error stream"))?;
        Ok(Self {
            error,
            stdin: take("stdin", wanted.stdin).map(|(input, _)| input),
            stdout: take("stdout", wanted.stdout).map(|(_, output)| output),
            stderr: take("stderr", wanted.stderr).map(|(_, output)| output),
            sizes: Sizes {
                input: take("resize", wanted.tty).map(|(input, _)| input),
                said: Vec::new(),
            },
        })
    }

    /// Says how it ended, and ends the streams.
    pub(super) async fn finish(self, ended: &Result<Option<ExitStatus>>) {
        for output in [self.stdout, self.stderr].into_iter().flatten() {
            output.finish().await;
        }
        // A client that is gone does not want to know.
        let _ = self.error.write(status(ended).as_bytes()).await;
        self.error.finish().await;
    }
}

/// A `Status` of Kubernetes', as clients read it.
fn status(ended: &Result<Option<ExitStatus>>) -> String {
    let status = match ended {
        Ok(status) if status.is_none_or(|status| status.success()) => {
            json!({"metadata": {}, "status": "Success"})
        }
        Ok(status) => {
            let code = status.and_then(|status| status.code()).unwrap_or(255);
            json!({
                "metadata": {},
                "status": "Failure",
                "reason": "NonZeroExitCode",
                "message": format!("command terminated with non-zero exit code: {code}"),
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            })
        }
        Err(error) => json!({
            "metadata": {},
            "status": "Failure",
            "reason": "InternalError",
            "message": error.to_string(),
            "code": 500,
        }),
    };
    status.to_string()
}

impl Sizes {
    /// The next size; never, once there are no more.
    pub(super) async fn next(&mut self) -> Size {
        /// Longer than any size that is written in JSON.
        const MOST: usize = 1000;
        loop {
            while let Some(end) = self.said.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.said.drain(..=end).collect();
                if let Ok(size) = serde_json::from_slice(&line) {
                    return size;
                }
            }
            if self.said.len() > MOST {
                self.input = None;
            }
            let more = match &mut self.input {
                Some(input) => input.read().await,
                None => std::future::pending().await,
            };
            match more {
                Some(more) => self.said.extend_from_slice(&more),
                None => self.input = None,
            }
        }
    }
}

/// Hands what the client sends on, to its end.
pub(super) async fn feed(mut from: Input, to: &Descriptor, most: usize) {
    while let Some(piece) = from.read().await {
        for part in piece.chunks(most) {
            // Who does not read any more needs no more.
            if to.write_all(part).await.is_err() {
                return;
            }
        }
    }
}

/// Sends what is said, to its end: what comes after a silence once `over` is set is not waited for.
///
/// # Errors
/// The client is gone; those of the operating system.
pub(super) async fn drain(
    from: &Descriptor,
    to: &Output,
    mut over: watch::Receiver<bool>,
) -> Result<()> {
    let mut piece = vec![0; 32 << 10];
    let failed = |error: io::Error| Error::internal(format!("what a command says: {error}"));
    loop {
        let silence = async {
            // That nobody sets it any more is an end too.
            let _ = over.wait_for(|over| *over).await;
            sleep(QUIET).await;
        };
        let read = tokio::select! {
            biased;
            read = from.read(&mut piece) => read.map_err(failed)?,
            () = silence => 0,
        };
        match read {
            0 => return Ok(()),
            read => to.write(&piece[..read]).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;
    use crate::streaming::spdy::tests::{Blocks, data, open, read_data};

    #[test]
    fn the_status_is_as_clients_read_it() {
        let read = |ended| serde_json::from_str::<serde_json::Value>(&status(&ended)).unwrap();
        assert_eq!(read(Ok(None))["status"], "Success");
        assert_eq!(read(Ok(Some(ExitStatus::from_raw(0))))["status"], "Success");
        let failed = read(Ok(Some(ExitStatus::from_raw(3 << 8))));
        let cause = &failed["details"]["causes"][0];
        assert_eq!(
            (&failed["reason"], &cause["message"]),
            (&"NonZeroExitCode".into(), &"3".into())
        );
        let broken = read(Err(Error::internal("no runc")));
        assert_eq!(broken["message"], "no runc");
    }

    #[tokio::test]
    async fn the_streams_of_a_terminal_are_opened_in_any_order() {
        let (mut client, server) = duplex(1 << 20);
        let mut session = Session::new(server);
        let mut blocks = Blocks::new();
        for (id, kind) in [(1, "resize"), (3, "stdout"), (5, "error")] {
            let frame = open(&mut blocks, id, &[("StreamType", kind)]);
            client.write_all(&frame).await.unwrap();
        }
        let sizes = b"{\"Width\":80,\"Height\":25}\nnonsense\n{\"Width\":1,\"Height\":2}\n";
        for part in sizes.chunks(10) {
            client.write_all(&data(1, part, false)).await.unwrap();
        }
        let wanted = Wanted {
            stdout: true,
            tty: true,
            ..Wanted::default()
        };
        let mut channels = Channels::open(&mut session, wanted).await.unwrap();
        let size = channels.sizes.next().await;
        assert_eq!((size.width, size.height), (80, 25));
        assert_eq!(channels.sizes.next().await.width, 1);
        channels.finish(&Ok(None)).await;
        assert_eq!(read_data(&mut client).await, (3, Vec::new(), true));
        let (id, said, _) = read_data(&mut client).await;
        assert!(id == 5 && String::from_utf8(said).unwrap().contains("Success"));
    }

    #[tokio::test]
    async fn a_client_that_goes_before_it_has_opened_all_is_told_apart() {
        let (client, server) = duplex(1000);
        drop(client);
        let opened = Channels::open(&mut Session::new(server), Wanted::default()).await;
        assert!(opened.unwrap_err().to_string().contains("gone"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_output_that_somebody_keeps_is_not_waited_for() {
        let (mut client, server) = duplex(1 << 20);
        let mut session = Session::new(server);
        let frame = open(&mut Blocks::new(), 1, &[]);
        client.write_all(&frame).await.unwrap();
        let stream = session.accept().await.unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"said").unwrap();
        let reader = Descriptor::with(reader.into(), tokio::io::Interest::READABLE).unwrap();
        let (_over, over) = watch::channel(true);
        drain(&reader, &stream.output, over).await.unwrap();
        assert_eq!(read_data(&mut client).await, (1, b"said".to_vec(), false));
    }
}
