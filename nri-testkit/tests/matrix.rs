//! Every event with every kind of trouble: a plugin that answers, fails, mumbles, crashes, sends
//! garbage, hangs or is late, with a healthy one before it and one after it. What becomes of the
//! request, what the healthy ones see, what the observer is told, and that the next event works.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is the report of a test"
)]

use std::time::Duration;

use nri_adaptation::config::PluginConfig;
use nri_adaptation::{CallOutcome, RuntimeApi as _};
use nri_core::{Ctx, Error, Event, EventMask, api};
use nri_proto::transport::Code;
use nri_testkit::{Behavior, FakePlugin, Gate, TEST_TIMEOUT, TestRuntime, When};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long the plugin in trouble may take for the one call with which it is to be late. For all
/// others, its handshake among them, it has as long as it needs, as the others do.
const SHORT: Duration = Duration::from_millis(500);

/// How many cells are under way at a time.
static PLACES: Semaphore = Semaphore::const_new(8);

/// What a plugin in trouble does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    Error,
    Mumble,
    Crash,
    Garbage,
    Hang,
    Late,
}

/// What becomes of it afterwards.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It is ready as before.
    Stays,
    /// It is gone.
    Gone,
    /// It still owes the answer.
    Owes,
    /// It is ready again once it has answered.
    Returns,
}

impl Trouble {
    fn act(self, gate: &Gate) -> Behavior {
        match self {
            Self::None => Behavior::usual(),
            Self::Error => Behavior::fail(Code::Unknown, "as planned"),
            Self::Mumble => Behavior::bad_answer(),
            Self::Crash => Behavior::exit(),
            Self::Garbage => Behavior::garbage(&[0xff; 64][..]),
            Self::Hang => Behavior::hang(),
            Self::Late => Behavior::usual().behind(gate),
        }
    }

    /// What the observer is told of the call, and what becomes of the plugin.
    fn outcome(self) -> (&'static str, Fate) {
        match self {
            Self::None => ("answered", Fate::Stays),
            Self::Error | Self::Mumble => ("failed", Fate::Stays),
            Self::Crash | Self::Garbage => ("gone", Fate::Gone),
            Self::Hang => ("late", Fate::Owes),
            Self::Late => ("late", Fate::Returns),
        }
    }

    /// What the error of the request must say, if there is to be one.
    fn error(self, event: Event) -> Option<&'static str> {
        match (self, event) {
            (Self::None, _) => None,
            (Self::Error, _) => Some("as planned"),
            (Self::Mumble, _) => Some("decoded"),
            // A validator that does not answer has not accepted.
            (_, Event::ValidateContainerAdjustment) => Some("did not judge"),
            (Self::Crash | Self::Garbage | Self::Hang | Self::Late, _) => None,
        }
    }
}

/// How it is displayed: pod events are about `p`, the others about `c`.
fn brief(event: Event) -> String {
    let id = match event.subject() {
        nri_core::Subject::Pod => "p",
        nri_core::Subject::Container => "c",
    };
    format!("{event} {id}")
}

/// The runtime does one step of that life.
async fn step(runtime: &TestRuntime, event: Event) -> Result<(), Error> {
    let (nri, cx, domain) = (runtime.nri(), &Ctx::new(), runtime.domain());
    let pod = &runtime.pod("p");
    let container = &domain
        .container("c")
        .unwrap_or_else(|| runtime.container(pod, "c"));
    match event {
        Event::RunPodSandbox => runtime.try_run_pod("p").await.map(drop),
        Event::UpdatePodSandbox => nri.update_pod_sandbox(cx, pod, None, None).await,
        Event::PostUpdatePodSandbox => nri.post_update_pod_sandbox(cx, pod).await,
        // Validation is part of it.
        Event::CreateContainer | Event::ValidateContainerAdjustment => {
            runtime.try_create(pod, "c").await.map(drop)
        }
        Event::PostCreateContainer => nri.post_create_container(cx, pod, container).await,
        Event::StartContainer => nri.start_container(cx, pod, container).await,
        Event::PostStartContainer => nri.post_start_container(cx, pod, container).await,
        Event::UpdateContainer => {
            let resources = api::LinuxResources::default();
            runtime.try_update(pod, "c", resources).await.map(drop)
        }
        Event::PostUpdateContainer => nri.post_update_container(cx, pod, container).await,
        Event::StopContainer => nri.stop_container(cx, pod, container).await.map(drop),
        Event::RemoveContainer => nri.remove_container(cx, pod, container).await,
        Event::StopPodSandbox => nri.stop_pod_sandbox(cx, pod).await,
        Event::RemovePodSandbox => nri.remove_pod_sandbox(cx, pod).await,
        other => panic!("{other} is not part of a life"),
    }
}

/// Sets how long the plugin in trouble has for calls that begin from now on.
async fn give_time(runtime: &TestRuntime, time: Duration) {
    let mut config = (*runtime.nri().config()).clone();
    let mut bad = PluginConfig::default();
    bad.request_timeout = Some(time);
    config.plugins.insert("bad".into(), bad);
    runtime.nri().reconfigure(config).await.unwrap();
}

/// One cell of the matrix.
async fn cell(event: Event, trouble: Trouble) {
    let (outcome, fate) = trouble.outcome();
    let short = matches!(trouble, Trouble::Hang | Trouble::Late);
    let runtime = TestRuntime::builder()
        .request_timeout(TEST_TIMEOUT)
        .config(|config| config.plugin_strikes = 1000)
        .start()
        .await;
    let validates = event == Event::ValidateContainerAdjustment;
    let plugin = |identity: &str| match validates {
        true => FakePlugin::new(identity).subscribe(EventMask::ALL),
        false => FakePlugin::new(identity),
    };
    let gate = Gate::new();
    let before = plugin("10-before");
    let bad = match validates && short {
        // The creation itself is not what it is to be late with.
        true => plugin("20-bad").subscribe(EventMask::ALL - Event::CreateContainer.into()),
        false => plugin("20-bad"),
    };
    let bad = bad.on(When::from(event).nth(1), trouble.act(&gate));
    let after = plugin("30-after");
    let _healthy = (runtime.join(&before).await, runtime.join(&after).await);

    // The life up to the event, without the bad one, so that it is in no hurry.
    let asked = match validates {
        true => Event::CreateContainer,
        false => event,
    };
    let past = TestRuntime::LIFE.iter().take_while(|step| **step != asked);
    // Of a container that was stopped before a plugin came, it does not hear the removal.
    let joins = match asked {
        Event::RemoveContainer => Event::StopContainer,
        asked => asked,
    };
    let mut joined = None;
    for &past in past.clone() {
        if past == joins {
            joined = Some(runtime.join(&bad).await);
        }
        step(&runtime, past).await.unwrap();
    }
    let _bad = match joined {
        Some(joined) => joined,
        None => runtime.join(&bad).await,
    };
    if short {
        give_time(&runtime, SHORT).await;
    }
    let result = step(&runtime, event).await;

    // The request.
    match (&result, trouble.error(event)) {
        (Ok(()), None) => {}
        (Err(error), Some(says)) => {
            let error = error.to_string();
            assert!(error.contains(says), "{error}");
            assert!(error.contains("20-bad"), "{error}");
        }
        (result, expected) => panic!("{result:?}, and expected is an error with {expected:?}"),
    }

    // The healthy ones. The first error ends what can be refused; what has happened is told to all.
    let refused = result.is_err();
    let reached_after = !refused || event.is_notification() || validates;
    if refused && asked == Event::CreateContainer {
        // What came to nothing is undone towards those that saw it.
        before.wait_for("RemoveContainer c").await;
        if fate == Fate::Stays {
            bad.wait_for("RemoveContainer c").await;
        }
        if reached_after {
            after.wait_for("RemoveContainer c").await;
        }
    }
    let expected = |reached: bool| {
        let mut expected = Vec::from_iter(past.clone().copied().map(brief));
        if reached {
            expected.push(brief(asked));
            if validates {
                expected.push(brief(event));
            }
            if refused && asked == Event::CreateContainer {
                expected.push(brief(Event::StopContainer));
                expected.push(brief(Event::RemoveContainer));
            }
            if refused && asked == Event::RunPodSandbox {
                // The runtime tears it down.
                expected.push(brief(Event::StopPodSandbox));
                expected.push(brief(Event::RemovePodSandbox));
            }
        }
        expected
    };
    assert_eq!(before.events(), expected(true));
    assert_eq!(after.events(), expected(reached_after));

    // The observer.
    let watcher = runtime.watcher();
    let names = |identity: &str| -> Vec<&'static str> {
        let outcomes = watcher.outcomes(identity, event);
        outcomes.iter().map(CallOutcome::name).collect()
    };
    assert_eq!(names("20-bad"), [outcome]);
    assert_eq!(names("10-before"), ["answered"]);
    assert_eq!(names("30-after").len(), usize::from(reached_after));

    // The next event.
    let all = ["10-before", "20-bad", "30-after"];
    match fate {
        Fate::Stays => runtime.wait_for_plugins(&all).await,
        Fate::Gone => {
            watcher.wait_for("gone 20-bad").await;
            assert_eq!(runtime.plugins(), [all[0], all[2]]);
        }
        Fate::Owes => assert_eq!(runtime.plugins(), [all[0], all[2]]),
        Fate::Returns => {
            gate.open();
            runtime.wait_for_plugins(&all).await;
            give_time(&runtime, TEST_TIMEOUT).await;
        }
    }
    let told = bad.events().len();
    runtime.run_pod("next").await;
    for healthy in [&before, &after] {
        assert_eq!(healthy.events().last().unwrap(), "RunPodSandbox next");
    }
    let has_next = bad.events()[told..] == ["RunPodSandbox next"];
    assert_eq!(has_next, matches!(fate, Fate::Stays | Fate::Returns));
    assert_eq!(watcher.count("gone"), usize::from(fate == Fate::Gone));
}

/// All events with one kind of trouble, at the same time.
async fn row(trouble: Trouble) {
    let mut cells = JoinSet::new();
    for event in Event::ALL {
        cells.spawn(async move {
            let _place = PLACES.acquire().await.unwrap();
            let cell = tokio::spawn(cell(event, trouble));
            (event, cell.await)
        });
    }
    let mut failed = Vec::new();
    while let Some(cell) = cells.join_next().await {
        let (event, result) = cell.unwrap();
        if let Err(panic) = result {
            failed.push(format!("{event}: {panic}"));
        }
    }
    assert!(failed.is_empty(), "{trouble:?} in {failed:#?}");
}

macro_rules! rows {
    ($($name:ident: $trouble:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                row(Trouble::$trouble).await;
            }
        )*
    };
}

rows! {
    a_plugin_that_answers_takes_part_in_all_events: None,
    an_error_ends_what_can_be_refused_and_what_has_happened_is_told_to_all: Error,
    an_answer_that_is_no_message_is_an_error: Mumble,
    a_crash_is_nobody_elses_business: Crash,
    garbage_ends_the_connection_and_nothing_else: Garbage,
    a_plugin_that_hangs_is_gone_without_and_owes_the_answer: Hang,
    a_plugin_that_is_late_is_gone_without_and_comes_back: Late,
}
