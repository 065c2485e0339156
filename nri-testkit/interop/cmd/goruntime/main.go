// Command goruntime is an NRI runtime on the Go adaptation library, for tests of plugins. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/containerd/nri/pkg/adaptation"

	"nri-rs/interop/internal/jsonline"
)

type options struct {
	directory      string
	containers     int
	envBytes       int
	createEnvBytes int
	plugins        int
	wait           time.Duration
	timeout        time.Duration
	requestTimeout time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.directory, "dir", "", "directory for nri.sock, plugins and conf.d")
	flag.IntVar(&o.containers, "containers", 0, "how many containers exist at the start, each in a pod of its own")
	flag.IntVar(&o.envBytes, "env-bytes", 20<<10, "environment of each of them, in bytes")
	flag.IntVar(&o.createEnvBytes, "create-env-bytes", 100<<10, "environment of the container that is created, in bytes")
	flag.IntVar(&o.plugins, "plugins", 1, "how many plugins to wait for, launched ones included")
	flag.DurationVar(&o.wait, "wait", 30*time.Second, "how long to wait for them")
	flag.DurationVar(&o.timeout, "timeout", 2*time.Minute, "how long the whole run may take")
	flag.DurationVar(&o.requestTimeout, "request-timeout", 10*time.Second, "what a plugin gets for one request; the library's default is 2s")
	flag.Parse()

	lines := jsonline.New(os.Stdout)
	fail := func(err error) {
		// The line is for the driver, the text for humans; if the line cannot be written, the text is all there is.
		_ = lines.Write("error", jsonline.Fields{"message": err.Error()})
		fmt.Fprintln(os.Stderr, "goruntime:", err)
		os.Exit(1)
	}
	// A plugin that stops reading can block the library for good, so the end must not depend on it.
	time.AfterFunc(o.timeout, func() { fail(fmt.Errorf("not done after %s", o.timeout)) })

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() { fail(fmt.Errorf("ended by signal: %s", <-signals)) }()

	if err := run(o, lines); err != nil {
		fail(err)
	}
}

func run(o options, lines *jsonline.Writer) error {
	switch {
	case o.directory == "":
		return errors.New("-dir is missing")
	case flag.NArg() != 0:
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case o.containers < 0 || o.envBytes < 0 || o.createEnvBytes < 0 || o.plugins < 1:
		return errors.New("-containers, -env-bytes and -create-env-bytes must not be negative, -plugins must be positive")
	}

	r := &runtime{
		lines:   lines,
		plugins: newPluginCount(),
		stock:   newStock(o.containers, o.envBytes),
	}
	socket := filepath.Join(o.directory, "nri.sock")
	adaptation.SetPluginRequestTimeout(o.requestTimeout)
	nri, err := adaptation.New("goruntime", "1.0.0", r.synchronize, r.updateContainers,
		adaptation.WithSocketPath(socket),
		adaptation.WithPluginPath(filepath.Join(o.directory, "plugins")),
		adaptation.WithPluginConfigPath(filepath.Join(o.directory, "conf.d")),
		adaptation.WithMetrics(r.plugins),
	)
	if err != nil {
		return err
	}
	r.nri = nri
	if err := nri.Start(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer nri.Stop()
	r.listening.Store(true)
	if err := lines.Write("listening", jsonline.Fields{"socket": socket}); err != nil {
		return err
	}

	if err := r.waitForPlugins(o.plugins, o.wait); err != nil {
		return err
	}
	if err := lines.Write("ready", jsonline.Fields{"plugins": o.plugins}); err != nil {
		return err
	}
	if err := r.lifecycle(context.Background(), o.plugins, o.createEnvBytes); err != nil {
		return err
	}
	return lines.Write("done", nil)
}
