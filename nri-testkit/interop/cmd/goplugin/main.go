// Command goplugin is an NRI plugin on the Go plugin library that does what it is told. See README.md.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"nri-rs/interop/internal/jsonline"
)

type options struct {
	socket   string
	name     string
	index    string
	report   string
	script   string
	commands bool
	describe bool
	full     string
	policy   string
}

func main() {
	var o options
	flag.StringVar(&o.socket, "socket", "", "path of the runtime's socket (default: the usual one)")
	flag.StringVar(&o.name, "name", "", "name to register; a runtime that launches us says it itself")
	flag.StringVar(&o.index, "idx", "", "index to register, two digits")
	flag.StringVar(&o.report, "report", "", "file to append one JSON line per received event to")
	flag.StringVar(&o.script, "script", "", "file with the rules by which events are answered")
	flag.StringVar(&o.policy, "failure-policy", "", "what to say of requests that are not answered: fail_request, keep_connected, none")
	flag.BoolVar(&o.commands, "commands", false, "take commands from stdin, and end with it")
	flag.BoolVar(&o.describe, "describe", false, "print the fields of every message, and end")
	flag.StringVar(&o.full, "full", "", "print this message with every field set, and end")
	flag.Parse()

	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "goplugin:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	switch {
	case flag.NArg() != 0:
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case o.describe:
		return describe(os.Stdout)
	case o.full != "":
		return printFull(os.Stdout, o.full)
	}
	var report io.Writer
	if o.report != "" {
		file, err := os.OpenFile(o.report, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		defer file.Close()
		report = file
	}
	p := newPlugin(jsonline.New(report))
	if o.script != "" {
		text, err := os.ReadFile(o.script)
		if err != nil {
			return err
		}
		if err := p.load(text); err != nil {
			return fmt.Errorf("%s: %w", o.script, err)
		}
	}
	if o.commands {
		return obey(p, o, os.Stdin, jsonline.New(os.Stdout))
	}

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	c, err := connect(p, o)
	if err != nil {
		return err
	}
	select {
	case <-signals:
	case <-c.closed:
	case <-p.shutdown:
	}
	c.stub.Stop()
	return nil
}
