package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/nri/pkg/api"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"nri-rs/interop/internal/jsonline"
)

// command is a line of stdin; its messages are proto3 JSON.
type command struct {
	Cmd         string          `json:"cmd"`
	ID          json.RawMessage `json:"id"`
	Pod         json.RawMessage `json:"pod"`
	PodID       string          `json:"pod_id"`
	Container   json.RawMessage `json:"container"`
	ContainerID string          `json:"container_id"`
	Resources   json.RawMessage `json:"resources"`
	Overhead    json.RawMessage `json:"overhead"`
	What        string          `json:"what"`
	Count       int             `json:"count"`
	TimeoutMs   int             `json:"timeout_ms"`
}

func read(text json.RawMessage, message proto.Message) error {
	if text == nil {
		return nil
	}
	return protojson.Unmarshal(text, message)
}

func (c *command) resources() (*api.LinuxResources, error) {
	if c.Resources == nil {
		return nil, nil
	}
	resources := &api.LinuxResources{}
	return resources, read(c.Resources, resources)
}

// serve carries out commands, one line of result for each, until it is told to quit or there are no more.
func serve(o options, in io.Reader, out *jsonline.Writer) error {
	r, err := newRuntime(o)
	if err != nil {
		return err
	}
	defer r.stop()
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var do command
		fields := jsonline.Fields{}
		if err = json.Unmarshal(line, &do); err == nil && do.Cmd != "quit" {
			fields, err = r.do(context.Background(), &do)
		}
		if fields == nil {
			fields = jsonline.Fields{}
		}
		fields["ok"], fields["cmd"] = err == nil, do.Cmd
		if err != nil {
			fields["error"] = err.Error()
		}
		if do.ID != nil {
			fields["id"] = do.ID
		}
		if err := out.Write(do.Cmd, fields); err != nil {
			return err
		}
		if do.Cmd == "quit" {
			return nil
		}
	}
}

// do carries out one command. The first one that does not add something starts the runtime.
func (r *runtime) do(ctx context.Context, do *command) (jsonline.Fields, error) {
	if do.Cmd != "add-pod" && do.Cmd != "add-container" {
		if err := r.start(); err != nil {
			return nil, err
		}
	}
	switch do.Cmd {
	case "version":
		return jsonline.Fields{"version": "goruntime"}, nil
	case "add-pod":
		_, err := r.addPod(do.Pod)
		return nil, err
	case "add-container":
		_, err := r.addContainer(do.Container)
		return nil, err
	case "wait-plugins":
		return nil, r.waitForPlugins(do.Count, time.Duration(do.TimeoutMs)*time.Millisecond)
	case "fail":
		r.fail(do.ContainerID)
		return nil, nil
	case "state":
		return jsonline.Fields{"updates": jsonline.Messages(r.asked())}, nil
	}
	if do.Pod != nil {
		pod, err := r.addPod(do.Pod)
		if err != nil {
			return nil, err
		}
		do.PodID = pod.GetId()
	}
	if relay, ok := podEvents[do.Cmd]; ok {
		pod, err := r.pod(do.PodID)
		if err != nil {
			return nil, err
		}
		return nil, relay(r, ctx, do, pod)
	}
	if do.Container != nil {
		container, err := r.addContainer(do.Container)
		if err != nil {
			return nil, err
		}
		do.ContainerID = container.GetId()
	}
	container, err := r.container(do.ContainerID)
	if err != nil {
		return nil, err
	}
	pod, err := r.pod(container.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	relay, ok := containerEvents[do.Cmd]
	if !ok {
		return nil, fmt.Errorf("no such command: %q", do.Cmd)
	}
	return relay(r, ctx, do, pod, container)
}
