//! The checks, and what came of them.

use crate::conformance::{self, checks};

checks! {
    /// Something that NRI promises to plugins.
    pub enum Check;

    Synchronised: "A plugin that registers is configured, with the runtime's name and version, and then synchronised.",
        "set the runtime's name and version (`Nri::builder(..).runtime(..)`)";
    Order: "Each step in the life of a pod and a container reaches plugins once and in order, post events included.",
        "call NRI at each step, also after a container was created and started";
    PodShown: "Plugins see a pod's id, name, namespace, uid, labels and annotations.",
        "fill in all that the pod was run with, before RunPodSandbox";
    ContainerShown: "Plugins see a container's id, pod, name, labels, annotations, command line, variables and resources before it is created.",
        "call CreateContainer when the spec is complete, and read the container from it";
    StateShown: "A started container is shown as running, with its process id.",
        "call PostStartContainer after the start, with the container's state of then";
    Applied: "What plugins adjust is what the container gets.",
        "apply the whole adjustment to the spec before the container is made of it";
    AdjustedShown: "After its creation plugins see the container as it was adjusted.",
        "keep the adjusted spec, and read the container from it in later events";
    PluginOrder: "Plugins are asked in the order of their indices, and see what those before them adjusted.",
        "ask all plugins in one chain, sorted by index";
    Conflict: "Two plugins that set the same thing fail the creation.",
        "treat the error of CreateContainer as one of the container";
    CreateRefused: "A plugin's error refuses a container: it is not created, and plugins that saw it hear that it is removed.",
        "create nothing when CreateContainer is an error, and undo what plugins saw";
    CreateUndone: "Plugins hear of the removal of a container whose creation failed after they were asked.",
        "drop the creation instead of committing it, on every early return";
    PodRefused: "A plugin's error refuses a pod: it does not run, and the plugin hears of its removal.",
        "tear the pod down when RunPodSandbox is an error, with StopPodSandbox and RemovePodSandbox";
    StartRefused: "A plugin's error refuses a start: the container does not run, and plugins hear of its stop or removal.",
        "start nothing when StartContainer is an error, and tell StopContainer";
    Updated: "Plugins see an update's resources before they change, what they answer is applied, and they hear when it is.",
        "call UpdateContainer before the update, apply the resources that it returns, then call PostUpdateContainer";
    UpdateRefused: "A plugin's error refuses an update: the resources stay as they are.",
        "change nothing when UpdateContainer is an error";
    SideUpdate: "Updates of other containers that plugins ask for in an answer are applied.",
        "implement `Domain::update_container`";
    Unsolicited: "Updates that a plugin asks for on its own account are applied, and it is told which containers are not known.",
        "implement `Domain::update_container`; an id that is not known is `NotFound`";
    Evicted: "A container that a plugin evicts is stopped, and plugins hear of its stop once.",
        "implement `Domain::evict_container`, and tell of the exit as of any other";
    LateJoiner: "A plugin that comes late is shown each pod and each living container once, in its state, and nothing that was removed.",
        "list all pods and containers with their states, and take out what was removed";
    JoinDuring: "A plugin that comes while containers are created hears of each once: as it is shown or as it is created.",
        "tell NRI of every container, and commit creations when they are done";
    Once: "However often a container is stopped, plugins hear of it once.",
        "tell NRI of the stop, and of no start that does not happen";
    RemovalImplies: "The removal of a running container is told as its stop and its removal.",
        "call RemoveContainer for whatever is removed; the stop is implied";
    ExitTold: "Plugins hear of a process that ends by itself as of a stop.",
        "watch for exits, and call `notify_container_exit`";
    RuntimeRestart: "After a restart of the runtime plugins are shown what was there before, and hear of its end.",
        "recover pods and containers before NRI is started";
    StartsAgain: "Each start and each stop of a container that is started again reaches plugins.",
        "let the domain be `restartable`, and call StartContainer for every start";
    LostPlugin: "A plugin that is lost in a request does not keep others from hearing of it, nor the container from being created.",
        "leave lost plugins to NRI: that is no error of the call";
}

/// A check and what came of it.
pub type CheckResult = conformance::CheckResult<Check>;

/// What came of all checks.
pub type Report = conformance::Report<Check>;
