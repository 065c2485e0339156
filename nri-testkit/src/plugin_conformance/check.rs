//! The checks of a plugin, and what came of them.

use crate::conformance::{self, checks};

checks! {
    /// Something that a plugin needs to be fit for any runtime.
    pub enum Check;

    Registered: "The plugin registers once, with an index of two digits and a name.",
        "register once per connection, as soon as it serves; the index has two digits, the name is not empty";
    Configured: "It answers its configuration, and subscribes to events that exist.",
        "answer Configure with the events that it handles: bit N-1 stands for event N; what needs a configuration is checked with --config";
    Synchronised: "It answers the synchronisation, and asks to update only what it was shown.",
        "answer Synchronize, with updates of containers that are in it, or none";
    Launched: "Launched by a runtime it uses the connection at descriptor 3.",
        "use the descriptor that NRI_PLUGIN_SOCKET names, and the name and index of NRI_PLUGIN_NAME and NRI_PLUGIN_IDX; if it is launched with other options, say so with --launch";
    Socket: "Started by itself it connects to the runtime's socket.",
        "connect to the path that it is given, and to /var/run/nri/nri.sock without one";
    Refused: "A refused registration does not crash it.",
        "treat the error of RegisterPlugin: say it, and end or try again later";
    Answers: "It answers every event that it subscribes to, in time, through the life of a pod and a container.",
        "return from handlers in time, and do what takes longer elsewhere; an error refuses the container";
    Adjusts: "What it asks for can be carried out.",
        "do not update the container that is being created, set nothing twice, and use values that a runtime can apply";
    BarePod: "A pod without its optional parts does not break it.",
        "check for what is optional: a pod may have no linux part, labels or annotations";
    BareContainer: "A container without its optional parts does not break it.",
        "check for what is optional: a container may have no linux part, no resources, no arguments or mounts";
    Unknown: "Events of pods and containers that it was never shown do not break it.",
        "do not assume that what ends has begun: a plugin may come between the two";
    SplitSync: "10,000 containers in a synchronisation of several messages are taken.",
        "collect the parts: answer each that has `more` with `more`, and with updates only the last (Go: build with v0.7 or later); if it is late, do what takes long with so many after the answer";
    Large: "A request close to the limit of 4 MiB is answered.",
        "accept messages of up to 4 MiB, and read them in time";
    Parallel: "Requests that come while others are under way are answered.",
        "serve requests concurrently, without a lock that is held while waiting";
    NewerRuntime: "Fields and methods that it does not know do not break it.",
        "ignore unknown fields, answer unknown methods with code 12 (UNIMPLEMENTED), and stay connected";
    OlderRuntime: "A runtime of an older protocol, which relays most events by StateChange, is served.",
        "serve StateChange too (libraries do), and do without the runtime's NRI version";
    SlowRuntime: "A runtime that answers late, and whose bytes come one by one, is served.",
        "wait at least 5 s for the answer of RegisterPlugin, and read messages whatever pieces they come in";
    FailedUpdates: "Unsolicited updates that fail do not break it.",
        "look at the `failed` list of UpdateContainers, and go on";
    Shutdown: "A shutdown while a request is under way is taken, and the request is not lost by a crash.",
        "answer Shutdown, and finish what is under way before ending";
    Torn: "A connection that ends in the middle of a message does not crash it.",
        "treat it as the end of the connection";
    Restart: "After a restart of the runtime it comes back, or ends so that it can be started again.",
        "connect again, or end the process, when the connection is lost; mount the socket's directory, not the socket";
    EndsWithRuntime: "Launched by a runtime, it ends when the connection does.",
        "end the process when the inherited connection is lost: nobody else will";
    Terminates: "It ends when it is asked to by SIGTERM.",
        "handle SIGTERM, also as process 1 of a container";
}

/// A check and what came of it.
pub type CheckResult = conformance::CheckResult<Check>;

/// What came of all checks.
pub type Report = conformance::Report<Check>;
