//go:build !nri_events11 && !nri_no_policy

package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"google.golang.org/protobuf/proto"

	"nri-rs/interop/internal/jsonline"
)

// runtime relays one and the same request again and again.
type runtime struct {
	nri     *adaptation.Adaptation
	request *api.CreateContainerRequest
	synced  chan struct{}
	// How often it was measured: ids are those of one measurement.
	measured int
}

// command is a line of stdin.
type command struct {
	Cmd     string `json:"cmd"`
	Plugins int    `json:"plugins"`
	What    string `json:"what"`
	Callers int    `json:"callers"`
	Calls   int    `json:"calls"`
}

func serve(o options) error {
	text, err := os.ReadFile(o.request)
	if err != nil {
		return err
	}
	bytes, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		return err
	}
	r := &runtime{request: &api.CreateContainerRequest{}, synced: make(chan struct{}, 1000)}
	if err := proto.Unmarshal(bytes, r.request); err != nil {
		return err
	}
	var pods []*api.PodSandbox
	var containers []*api.Container
	for number := range o.containers {
		pod := proto.Clone(r.request.GetPod()).(*api.PodSandbox)
		pod.Id = fmt.Sprintf("existing-pod-%d", number)
		pods = append(pods, pod)
		container := proto.Clone(r.request.GetContainer()).(*api.Container)
		container.Id, container.PodSandboxId = fmt.Sprintf("existing-%d", number), pod.Id
		containers = append(containers, container)
	}
	synchronize := func(ctx context.Context, show adaptation.SyncCB) error {
		_, err := show(ctx, pods, containers)
		r.synced <- struct{}{}
		return err
	}
	update := func(context.Context, []*api.ContainerUpdate) ([]*api.ContainerUpdate, error) { return nil, nil }
	adaptation.SetPluginRequestTimeout(20 * time.Second)
	r.nri, err = adaptation.New("pair", "1.0", synchronize, update,
		adaptation.WithSocketPath(o.socket), adaptation.WithPluginPath(""))
	if err != nil {
		return err
	}
	if err := r.nri.Start(); err != nil {
		return err
	}
	defer r.nri.Stop()
	// The start synchronises those that it launched, and there are none.
	for len(r.synced) > 0 {
		<-r.synced
	}
	out := jsonline.New(os.Stdout)
	if err := out.Write("listening", nil); err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var do command
		if err := json.Unmarshal(lines.Bytes(), &do); err != nil {
			return err
		}
		fields := jsonline.Fields{}
		switch do.Cmd {
		case "wait":
			for range do.Plugins {
				<-r.synced
			}
			r.nri.BlockPluginSync().Unblock()
		case "measure":
			if fields, err = r.measure(do); err != nil {
				return err
			}
		default:
			return fmt.Errorf("no such command: %q", do.Cmd)
		}
		if err := out.Write(do.Cmd, fields); err != nil {
			return err
		}
	}
	return lines.Err()
}

// measure lets so many callers make so many calls together, each with a pod of its own.
func (r *runtime) measure(do command) (jsonline.Fields, error) {
	var group sync.WaitGroup
	took := make([][]time.Duration, do.Callers)
	failed := make([]error, do.Callers)
	r.measured++
	begun := time.Now()
	for caller := range do.Callers {
		group.Add(1)
		go func() {
			defer group.Done()
			took[caller], failed[caller] = r.call(do.What, caller, do.Calls/do.Callers)
		}()
	}
	group.Wait()
	elapsed := time.Since(begun)
	for _, err := range failed {
		if err != nil {
			return nil, err
		}
	}
	all := slices.Concat(took...)
	slices.Sort(all)
	return jsonline.Fields{
		"calls": len(all), "elapsed": elapsed.Nanoseconds(),
		"p50": all[(len(all)-1)/2].Nanoseconds(), "p99": all[(len(all)-1)*99/100].Nanoseconds(),
	}, nil
}

func (r *runtime) call(what string, caller, calls int) ([]time.Duration, error) {
	ctx := context.Background()
	took := make([]time.Duration, 0, calls)
	for number := range calls {
		// The library writes adjustments into the container it is given.
		request := proto.Clone(r.request).(*api.CreateContainerRequest)
		pod := request.GetPod()
		pod.Id = fmt.Sprintf("pod-%d", caller)
		if what == "run" {
			pod.Id = fmt.Sprintf("pod-%d-%d-%d", r.measured, caller, number)
		}
		request.Container.PodSandboxId = pod.Id
		request.Container.Id = fmt.Sprintf("container-%d-%d-%d", r.measured, caller, number)
		var err error
		begun := time.Now()
		switch what {
		case "create":
			_, err = r.nri.CreateContainer(ctx, request)
		case "run":
			err = r.nri.RunPodSandbox(ctx, &api.RunPodSandboxRequest{Pod: pod})
		case "unheard":
			_, err = r.nri.UpdatePodSandbox(ctx, &api.UpdatePodSandboxRequest{Pod: pod})
		default:
			err = fmt.Errorf("no such call: %q", what)
		}
		if err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
	}
	return took, nil
}
