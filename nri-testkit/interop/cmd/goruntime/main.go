// Command goruntime is an NRI runtime on the Go adaptation library that does what it is told. See README.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"nri-rs/interop/internal/jsonline"
)

type options struct {
	socket         string
	plugins        string
	pluginConfig   string
	requestTimeout time.Duration
	name           string
	version        string
}

func main() {
	var o options
	flag.StringVar(&o.socket, "socket", "", "path of the socket to listen on")
	flag.StringVar(&o.plugins, "plugins", "", "directory of plugins to launch")
	flag.StringVar(&o.pluginConfig, "plugin-config", "", "directory of their configuration")
	flag.DurationVar(&o.requestTimeout, "request-timeout", 10*time.Second, "what a plugin gets for one request; the library's default is 2s")
	flag.StringVar(&o.name, "runtime-name", "goruntime", "name that plugins are told")
	flag.StringVar(&o.version, "runtime-version", "1.0.0", "version that plugins are told")
	flag.Parse()

	err := fmt.Errorf("unexpected argument %q", flag.Arg(0))
	if flag.NArg() == 0 {
		err = serve(o, os.Stdin, jsonline.New(os.Stdout))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "goruntime:", err)
		os.Exit(1)
	}
}
