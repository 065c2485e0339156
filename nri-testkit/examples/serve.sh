#!/bin/sh
# A plugin driven through nri-sim with ten lines of JSON, from a shell.
#
#   sh serve.sh path/to/nri-sim path/to/plugin [arguments of the plugin]
#
# The plugin may be written in any language; it is started with --socket PATH in front of its arguments. A plugin in Go with
# the reference's library that takes this is nri-testkit/interop/cmd/goplugin; in Rust, the examples of nri-plugin.
# Every command is printed with its result. The exit code is 0 if all results are good ones.
set -eu

if [ $# -lt 2 ]; then
    echo "usage: sh $0 path/to/nri-sim path/to/plugin [arguments of the plugin]" >&2
    exit 2
fi
sim=$1
plugin=$2
shift 2

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
mkfifo "$directory/commands" "$directory/results"
"$sim" serve --socket "$directory/nri.sock" --log warn <"$directory/commands" >"$directory/results" &
exec 3>"$directory/commands" 4<"$directory/results"

# Sends a command, prints it and its result, and ends the script if that is an error.
ask() {
    printf '%s\n' "$1" >&3
    if ! IFS= read -r result <&4; then
        echo "nri-sim has ended" >&2
        exit 1
    fi
    printf '> %s\n< %s\n' "$1" "$result"
    case $result in
    '{"ok":true'*) ;;
    *) exit 1 ;;
    esac
}

ask '{"cmd":"version"}' # once it is answered, the socket is there
"$plugin" --socket "$directory/nri.sock" "$@" >&2 3>&- 4<&- &
ask '{"cmd":"wait-plugins","count":1,"timeout_ms":10000}'
ask '{"cmd":"run-pod","pod":{"id":"p1","name":"web-1","namespace":"default"}}'
ask '{"cmd":"create-container","pod_id":"p1","container":{"id":"c1","name":"nginx","args":["nginx"],"env":["A=1"]}}'
ask '{"cmd":"start-container","container_id":"c1"}'
ask '{"cmd":"update-container","container_id":"c1","resources":{"cpu":{"shares":{"value":"512"}}}}'
ask '{"cmd":"stop-container","container_id":"c1"}'
ask '{"cmd":"remove-pod","pod_id":"p1"}'
ask '{"cmd":"state"}'
ask '{"cmd":"quit"}'
wait
