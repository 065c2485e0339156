// Command goplugin is an NRI plugin on the Go plugin library, for tests of runtimes. See README.md.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/containerd/nri/pkg/stub"

	"nri-rs/interop/internal/jsonline"
)

type options struct {
	socket    string
	name      string
	index     string
	report    string
	adjust    bool
	exitAfter string
}

func main() {
	var o options
	flag.StringVar(&o.socket, "socket", "", "path of the runtime's socket (default: the usual one)")
	flag.StringVar(&o.name, "name", "", "name to register (default goplugin)")
	flag.StringVar(&o.index, "idx", "", "index to register, two digits (default 10)")
	flag.StringVar(&o.report, "report", "", "file to append one JSON line per received event to")
	flag.BoolVar(&o.adjust, "adjust", false, "adjust every container that is created")
	flag.StringVar(&o.exitAfter, "exit-after", "", "crash (exit code 3, no answer) when this event was reported, such as CreateContainer")
	flag.Parse()

	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "goplugin:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	if flag.NArg() != 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if o.exitAfter != "" && !events[o.exitAfter] {
		return fmt.Errorf("-exit-after: no such event: %s", o.exitAfter)
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

	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	// The library may report the end of a connection more than once.
	closed, closing := make(chan struct{}), sync.Once{}

	id, settings, err := identity(o)
	if err != nil {
		return err
	}
	p := &plugin{
		id:        id,
		adjust:    o.adjust,
		exitAfter: o.exitAfter,
		lines:     jsonline.New(report),
		shutdown:  make(chan struct{}, 1),
	}
	settings = append(settings, stub.WithOnClose(func() { closing.Do(func() { close(closed) }) }))
	s, err := stub.New(p, settings...)
	if err != nil {
		return err
	}
	if err := s.Start(ctx); err != nil {
		return fmt.Errorf("registration as %s failed: %w", p.id, err)
	}

	var reason string
	select {
	case <-ctx.Done():
		reason = "signal"
	case <-p.shutdown:
		reason = "shutdown"
	case <-closed:
		reason = "connection closed"
	}
	s.Stop()
	p.report("Exit", jsonline.Fields{"reason": reason})
	return errors.Join(p.failures()...)
}

// identity is who we are, and what to tell the library about it. A plugin that its runtime launched is told by that
// runtime, and the library then refuses another index.
func identity(o options) (string, []stub.Option, error) {
	name, index := os.Getenv("NRI_PLUGIN_NAME"), os.Getenv("NRI_PLUGIN_IDX")
	if name != "" && index != "" {
		if o.socket != "" || o.name != "" || o.index != "" {
			return "", nil, errors.New("launched by a runtime, which also says what -socket, -name and -idx would say")
		}
		return index + "-" + name, nil, nil
	}
	name, index = cmp.Or(o.name, "goplugin"), cmp.Or(o.index, "10")
	settings := []stub.Option{stub.WithPluginName(name), stub.WithPluginIdx(index)}
	if o.socket != "" {
		settings = append(settings, stub.WithSocketPath(o.socket))
	}
	return index + "-" + name, settings, nil
}
