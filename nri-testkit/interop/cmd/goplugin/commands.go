package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"google.golang.org/protobuf/encoding/protojson"

	"nri-rs/interop/internal/jsonline"
)

// connection is one life of the plugin at a runtime.
type connection struct {
	stub   stub.Stub
	closed chan struct{}
	// synchronized is closed when the runtime has shown what exists.
	synchronized chan struct{}
	once         sync.Once
}

// connect makes one attempt.
func connect(p *plugin, o options) (*connection, error) {
	c := &connection{closed: make(chan struct{}), synchronized: make(chan struct{})}
	// It may be synchronised before Start returns.
	p.connected(c)
	// The library may report the end of a connection more than once.
	var closing sync.Once
	settings := []stub.Option{stub.WithOnClose(func() { closing.Do(func() { close(c.closed) }) })}
	if o.name != "" {
		settings = append(settings, stub.WithPluginName(o.name))
	}
	if o.index != "" {
		settings = append(settings, stub.WithPluginIdx(o.index))
	}
	if o.socket != "" {
		settings = append(settings, stub.WithSocketPath(o.socket))
	}
	wished, err := wish(o.policy)
	if err != nil {
		return nil, err
	}
	settings = append(settings, wished...)
	s, err := stub.New(p, settings...)
	if err != nil {
		return nil, err
	}
	c.stub = s
	if err := s.Start(context.Background()); err != nil {
		return nil, fmt.Errorf("registration failed: %w", err)
	}
	return c, nil
}

// command is a line of stdin.
type command struct {
	Cmd    string            `json:"cmd"`
	Rules  []rule            `json:"rules"`
	Update []json.RawMessage `json:"update"`
}

// obey carries out commands, one line of result for each, until there are no more.
func obey(p *plugin, o options, in io.Reader, out *jsonline.Writer) error {
	var c *connection
	needed := func() error {
		if c == nil {
			return errors.New("not connected")
		}
		return nil
	}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if c != nil {
				c.stub.Stop()
			}
			return nil
		}
		if err != nil {
			return err
		}
		var do command
		fields := jsonline.Fields{}
		err = json.Unmarshal(line, &do)
		if err == nil {
			switch do.Cmd {
			case "connect":
				c, err = connect(p, o)
			case "script":
				p.replace(do.Rules)
			case "update":
				if err = needed(); err == nil {
					fields, err = update(c, do.Update)
				}
			case "closed":
				if err = needed(); err == nil {
					<-c.closed
				}
			case "synchronized":
				if err = needed(); err == nil {
					select {
					case <-c.synchronized:
					case <-c.closed:
						err = errors.New("the connection is closed")
					}
				}
			case "stop":
				if err = needed(); err == nil {
					c.stub.Stop()
				}
			default:
				err = fmt.Errorf("no such command: %q", do.Cmd)
			}
		}
		fields["ok"] = err == nil
		if err != nil {
			fields["error"] = err.Error()
		}
		if err := out.Write(do.Cmd, fields); err != nil {
			return err
		}
	}
}

// update asks for updates on our own accord.
func update(c *connection, asked []json.RawMessage) (jsonline.Fields, error) {
	var updates []*api.ContainerUpdate
	for _, text := range asked {
		update := &api.ContainerUpdate{}
		if err := protojson.Unmarshal(text, update); err != nil {
			return jsonline.Fields{}, err
		}
		updates = append(updates, update)
	}
	failed, err := c.stub.UpdateContainers(updates)
	return jsonline.Fields{"failed": jsonline.Messages(failed)}, err
}
