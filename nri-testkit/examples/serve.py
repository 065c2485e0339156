#!/usr/bin/env python3
"""A plugin driven through nri-sim from Python's standard library alone.

    python3 serve.py path/to/nri-sim path/to/plugin [arguments of the plugin]

The plugin may be written in any language; it is started with --socket PATH in front of its arguments.
"""

import json
import subprocess
import sys
import tempfile


class Sim:
    """`nri-sim serve`, with a method per command: sim.run_pod(pod={...})."""

    def __init__(self, program, socket):
        self.process = subprocess.Popen(
            [program, "serve", "--socket", socket, "--log", "warn"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )

    def __getattr__(self, name):
        def command(**members):
            line = json.dumps({"cmd": name.replace("_", "-"), **members})
            print(">", line)
            print(line, file=self.process.stdin, flush=True)
            result = json.loads(self.process.stdout.readline() or '{"ok":false,"error":"nri-sim has ended"}')
            print("<", json.dumps(result))
            if not result["ok"]:
                raise RuntimeError(result["error"])
            return result
        return command


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    program, *plugin = sys.argv[1:]
    with tempfile.TemporaryDirectory() as directory:
        sim = Sim(program, directory + "/nri.sock")
        socket = sim.version()["socket"]  # once it is answered, the socket is there
        plugin = subprocess.Popen([plugin[0], "--socket", socket, *plugin[1:]], stdout=sys.stderr)
        sim.wait_plugins(count=1, timeout_ms=10000)
        sim.run_pod(pod={"id": "p1", "name": "web-1", "namespace": "default"})
        created = sim.create_container(pod_id="p1", container={"id": "c1", "name": "nginx", "env": ["A=1"]})
        answered = [outcome["plugin"] for outcome in created["outcomes"] if outcome["outcome"] == "answered"]
        print("plugins that were asked about the container:", ", ".join(answered))
        sim.start_container(container_id="c1")
        sim.stop_container(container_id="c1")
        sim.remove_pod(pod_id="p1")
        assert sim.state()["containers"] == []
        sim.quit()
        plugin.wait(timeout=10)
    print("all went well")


main()
