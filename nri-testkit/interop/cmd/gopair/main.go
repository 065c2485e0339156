//go:build !nri_events11 && !nri_no_policy

// Command gopair is what the reference's time is measured with: a runtime and a plugin on its libraries that do no more than is
// measured. Its arguments, commands and answers are those of the benchmark `pair` of nri-testkit, so that one driver drives both.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gopair:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("say runtime or plugin")
	}
	var o options
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&o.socket, "socket", "", "path of the runtime's socket")
	flags.StringVar(&o.request, "request", "", "file with the creation that is asked for, in base64")
	flags.IntVar(&o.containers, "containers", 0, "how many containers the runtime has")
	flags.StringVar(&o.index, "index", "10", "index to register, two digits")
	flags.IntVar(&o.items, "items", 0, "how many annotations the plugin adds")
	flags.IntVar(&o.delay, "delay", 0, "how many milliseconds the plugin takes for a creation")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "runtime":
		return serve(o)
	case "plugin":
		return join(o)
	}
	return fmt.Errorf("say runtime or plugin, not %q", args[0])
}

type options struct {
	socket     string
	request    string
	containers int
	index      string
	items      int
	delay      int
}
