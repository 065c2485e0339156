//! The one table of the commands: reading, error messages and `--help` follow it.

/// A member of a command.
#[derive(Debug)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// What it is.
    pub what: &'static str,
}

/// What there is to say about a command.
#[derive(Debug)]
pub struct Spec {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Its members beside `cmd`, `id` and `async`.
    pub members: &'static [Member],
    /// A line that would do.
    pub example: &'static str,
    /// The members of a good result beside `ok`, `id` and `cmd`; those with a `?` are not always
    /// there.
    pub answers: &'static str,
}

const fn must(name: &'static str, what: &'static str) -> Member {
    Member {
        name,
        required: true,
        what,
    }
}

const fn may(name: &'static str, what: &'static str) -> Member {
    Member {
        name,
        required: false,
        what,
    }
}

const POD_ID: Member = must("pod_id", "the id of a pod (a text)");
const CONTAINER_ID: Member = must("container_id", "the id of a container (a text)");
const POD: Member = must("pod", "a PodSandbox message with an `id`");
const CONTAINER: Member = must("container", "a Container message with an `id`");
const EXIT_CODE: Member = may(
    "exit_code",
    "the exit code of its process (a number; 0 if absent)",
);
const FINISHED_AT: Member = may("finished_at", "when it ended (nanoseconds since 1970)");
const REASON: Member = may("reason", "why, in one word (a text)");

/// All commands, in the order of a container's life.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "version",
        about: "Says what runs here: program, protocol level, and the socket for plugins.",
        members: &[],
        example: r#"{"cmd":"version"}"#,
        answers: "name, version, nri_version, socket?, enabled",
    },
    Spec {
        name: "add-pod",
        about: "Puts a pod where plugins find it when they are synchronised. No event.",
        members: &[POD],
        example: r#"{"cmd":"add-pod","pod":{"id":"p0","name":"old","namespace":"default"}}"#,
        answers: "",
    },
    Spec {
        name: "add-container",
        about: "Puts a container where plugins find it when they are synchronised, running unless it says otherwise. No event.",
        members: &[POD_ID, CONTAINER],
        example: r#"{"cmd":"add-container","pod_id":"p0","container":{"id":"c0","name":"web","state":"CONTAINER_RUNNING","pid":4711}}"#,
        answers: "",
    },
    Spec {
        name: "wait-plugins",
        about: "Waits until so many plugins are synchronised. Those that are part of this program do not count.",
        members: &[
            may("count", "how many plugins (a number; 1 if absent)"),
            may(
                "timeout_ms",
                "how long to wait in milliseconds (a number; 5000 if absent)",
            ),
        ],
        example: r#"{"cmd":"wait-plugins","count":2,"timeout_ms":5000}"#,
        answers: "plugins",
    },
    Spec {
        name: "plugins",
        about: "Lists the plugins that are connected or launched, in the order in which they are called, each with its state.",
        members: &[],
        example: r#"{"cmd":"plugins"}"#,
        answers: "plugins",
    },
    Spec {
        name: "run-pod",
        about: "RunPodSandbox. If a plugin refuses it, the pod is stopped and removed again. With --restartable also of a pod that is stopped.",
        members: &[POD],
        example: r#"{"cmd":"run-pod","pod":{"id":"p1","name":"web-1","namespace":"default","labels":{"app":"web"}}}"#,
        answers: "outcomes",
    },
    Spec {
        name: "update-pod",
        about: "UpdatePodSandbox. What no plugin refuses is in the pod from then on.",
        members: &[
            POD_ID,
            may("overhead", "a LinuxResources message"),
            may("resources", "a LinuxResources message"),
        ],
        example: r#"{"cmd":"update-pod","pod_id":"p1","overhead":{"memory":{"limit":{"value":"1048576"}}},"resources":{"cpu":{"shares":{"value":"512"}}}}"#,
        answers: "outcomes",
    },
    Spec {
        name: "post-update-pod",
        about: "PostUpdatePodSandbox.",
        members: &[POD_ID],
        example: r#"{"cmd":"post-update-pod","pod_id":"p1"}"#,
        answers: "outcomes",
    },
    Spec {
        name: "create-container",
        about: "CreateContainer. The container is kept as plugins adjust it; `abort-container` can still undo it.",
        members: &[POD_ID, CONTAINER],
        example: r#"{"cmd":"create-container","pod_id":"p1","container":{"id":"c1","name":"nginx","args":["nginx"],"env":["A=1"]}}"#,
        answers: "adjustment?, owners, updates, evictions, outcomes",
    },
    Spec {
        name: "abort-container",
        about: "Gives up a creation that has just been asked for: plugins that saw it hear of a stop and a removal.",
        members: &[CONTAINER_ID],
        example: r#"{"cmd":"abort-container","container_id":"c2"}"#,
        answers: "outcomes",
    },
    Spec {
        name: "post-create-container",
        about: "PostCreateContainer.",
        members: &[CONTAINER_ID],
        example: r#"{"cmd":"post-create-container","container_id":"c1"}"#,
        answers: "outcomes",
    },
    Spec {
        name: "start-container",
        about: "StartContainer; the container runs from then on, unless a plugin refuses it. With --restartable also of one that has ended.",
        members: &[
            CONTAINER_ID,
            may("pid", "its process (a number)"),
            may("started_at", "when it started (nanoseconds since 1970)"),
        ],
        example: r#"{"cmd":"start-container","container_id":"c1","pid":4712}"#,
        answers: "outcomes",
    },
    Spec {
        name: "post-start-container",
        about: "PostStartContainer.",
        members: &[CONTAINER_ID],
        example: r#"{"cmd":"post-start-container","container_id":"c1"}"#,
        answers: "outcomes",
    },
    Spec {
        name: "update-container",
        about: "UpdateContainer. What is asked for, or what plugins make of it, is in the container from then on.",
        members: &[CONTAINER_ID, may("resources", "a LinuxResources message")],
        example: r#"{"cmd":"update-container","container_id":"c1","resources":{"cpu":{"shares":{"value":"512"}}}}"#,
        answers: "resources?, updates, evictions, outcomes",
    },
    Spec {
        name: "post-update-container",
        about: "PostUpdateContainer.",
        members: &[CONTAINER_ID],
        example: r#"{"cmd":"post-update-container","container_id":"c1"}"#,
        answers: "outcomes",
    },
    Spec {
        name: "fail",
        about: "Makes the runtime refuse the next update or eviction of a container that a plugin asks for.",
        members: &[
            CONTAINER_ID,
            must("what", "`update` or `evict`"),
            may("reason", "what the refusal says (a text)"),
        ],
        example: r#"{"cmd":"fail","container_id":"c1","what":"update","reason":"no memory"}"#,
        answers: "",
    },
    Spec {
        name: "state",
        about: "Shows pods, containers as they are now, and every update and eviction that was applied, with the plugin that asked for it.",
        members: &[],
        example: r#"{"cmd":"state"}"#,
        answers: "pods, containers, updates, evictions, refused, forgotten?",
    },
    Spec {
        name: "stop-container",
        about: "Stops the container, then StopContainer. Of a container that has ended plugins do not hear again.",
        members: &[CONTAINER_ID, EXIT_CODE, FINISHED_AT, REASON],
        example: r#"{"cmd":"stop-container","container_id":"c1","exit_code":0}"#,
        answers: "updates, outcomes",
    },
    Spec {
        name: "container-exit",
        about: "The container's process ends by itself: StopContainer, with the exit code. Nothing, if it is stopped already.",
        members: &[CONTAINER_ID, EXIT_CODE, FINISHED_AT, REASON],
        example: r#"{"cmd":"container-exit","container_id":"c0","exit_code":7}"#,
        answers: "outcomes",
    },
    Spec {
        name: "remove-container",
        about: "RemoveContainer, after StopContainer if that is still due.",
        members: &[CONTAINER_ID],
        example: r#"{"cmd":"remove-container","container_id":"c1"}"#,
        answers: "outcomes",
    },
    Spec {
        name: "stop-pod",
        about: "Stops the pod's containers, then StopPodSandbox.",
        members: &[POD_ID],
        example: r#"{"cmd":"stop-pod","pod_id":"p1"}"#,
        answers: "outcomes",
    },
    Spec {
        name: "remove-pod",
        about: "Removes the pod's containers, then RemovePodSandbox, after StopPodSandbox if that is still due.",
        members: &[POD_ID],
        example: r#"{"cmd":"remove-pod","pod_id":"p1"}"#,
        answers: "outcomes",
    },
    Spec {
        name: "quit",
        about: "Waits for what is still under way, says good-bye to the plugins and ends. So does the end of the input.",
        members: &[],
        example: r#"{"cmd":"quit"}"#,
        answers: "",
    },
];

/// What `nri-sim serve --help` says about its input and output.
#[must_use]
pub fn manual() -> String {
    let mut text = String::from(
        "\
Input: one JSON object per line, with the member \"cmd\" and the members of that command. Messages of NRI (PodSandbox, Container,
LinuxResources) are proto3 JSON: 64-bit numbers may be texts, enums are names. With \"async\":true later commands need not wait for
this one. An \"id\" of any kind comes back with the result.

Output: one JSON object per line for each command, in the order of the commands; those with \"async\":true come when they are done.
{\"ok\":true,\"cmd\":...} with what the command answers, or {\"ok\":false,\"cmd\":...,\"error\":\"...\"}. A line that is not understood is answered
with an error, and the next one works. The end of the input, SIGTERM and SIGINT end the runtime cleanly.

The socket opens, and plugins are launched, with the first command that is not add-pod or add-container, or when none comes for a
moment. A plugin is any NRI plugin: start it and give it the socket's path, which `version` answers and the log says.

What a command answers: `outcomes` says what each plugin did (answered, failed, unsubscribed, late, gone, not-reached, abandoned;
unaware: it never knew what ends; down: it was launched, and is not there) and for how long, in errors too; `owners` which plugin
asked for what; `updates` and `evictions` what plugins asked for other containers.

Commands (what is answered with a ? is not always there):
",
    );
    for spec in COMMANDS {
        text.push_str(&format!("  {}\n      {}\n", spec.name, spec.about));
        for member in spec.members {
            let needed = if member.required { "" } else { " [optional]" };
            text.push_str(&format!(
                "        {}: {}{needed}\n",
                member.name, member.what
            ));
        }
        if !spec.answers.is_empty() {
            text.push_str(&format!("        answers {}\n", spec.answers));
        }
        text.push_str(&format!("      {}\n", spec.example));
    }
    text
}
