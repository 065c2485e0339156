package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"google.golang.org/protobuf/proto"

	"nri-rs/interop/internal/jsonline"
)

// runtime is the smallest runtime that can relay every event.
type runtime struct {
	nri       *adaptation.Adaptation
	lines     *jsonline.Writer
	plugins   *pluginCount
	stock     stock
	listening atomic.Bool
}

// synchronize shows what exists to the plugins that have just come.
func (r *runtime) synchronize(ctx context.Context, show adaptation.SyncCB) error {
	began := time.Now()
	updates, err := show(ctx, r.stock.pods, r.stock.containers)
	fields := jsonline.Fields{
		"pods":       len(r.stock.pods),
		"containers": len(r.stock.containers),
		"updates":    jsonline.Messages(updates),
		"launched":   !r.listening.Load(),
		"ms":         time.Since(began).Milliseconds(),
	}
	if err != nil {
		fields["error"] = err.Error()
	}
	if err := r.lines.Write("Synchronize", fields); err != nil {
		return err
	}
	return err
}

// updateContainers takes what plugins ask for on their own accord; nothing ever fails.
func (r *runtime) updateContainers(_ context.Context, updates []*api.ContainerUpdate) ([]*api.ContainerUpdate, error) {
	return nil, r.lines.Write("UpdateContainers", jsonline.Fields{"updates": jsonline.Messages(updates)})
}

// waitForPlugins waits until so many plugins are active.
func (r *runtime) waitForPlugins(wanted int, limit time.Duration) error {
	deadline := time.After(limit)
	for {
		count, changed := r.plugins.get()
		if count >= wanted {
			break
		}
		select {
		case <-changed:
		case <-deadline:
			return fmt.Errorf("%d of %d plugins are synchronised after %s", count, wanted, limit)
		}
	}
	// The last one may be counted a moment before its synchronisation is over, which this waits for.
	r.nri.BlockPluginSync().Unblock()
	return nil
}

// lifecycle relays every event of one pod with one container, in the usual order.
//
// Adjustments are reported and not applied: events after the creation show the container as it was asked for.
func (r *runtime) lifecycle(ctx context.Context, plugins, envBytes int) error {
	pod := newPod("pod-lifecycle")
	container := newContainer("container-lifecycle", pod, envBytes)
	podResources := &api.LinuxResources{Cpu: &api.LinuxCPU{Shares: api.UInt64(uint64(1024))}}
	resources := &api.LinuxResources{Memory: &api.LinuxMemory{Limit: api.Int64(int64(512 << 20))}}

	type fields = jsonline.Fields
	steps := []struct {
		event string
		relay func() (fields, error)
	}{
		{"RunPodSandbox", func() (fields, error) {
			return nil, r.nri.RunPodSandbox(ctx, &api.RunPodSandboxRequest{Pod: pod})
		}},
		{"UpdatePodSandbox", func() (fields, error) {
			_, err := r.nri.UpdatePodSandbox(ctx, &api.UpdatePodSandboxRequest{
				Pod:                    pod,
				OverheadLinuxResources: &api.LinuxResources{},
				LinuxResources:         podResources,
			})
			return nil, err
		}},
		{"PostUpdatePodSandbox", func() (fields, error) {
			pod.Linux.PodResources = podResources
			return nil, r.nri.PostUpdatePodSandbox(ctx, &api.PostUpdatePodSandboxRequest{Pod: pod})
		}},
		{"CreateContainer", func() (fields, error) {
			// The library writes adjustments into the container it is given.
			asked := proto.Clone(container).(*api.Container)
			answer, err := r.nri.CreateContainer(ctx, &api.CreateContainerRequest{Pod: pod, Container: asked})
			if err != nil {
				return nil, err
			}
			return fields{"adjust": answer.GetAdjust(), "updates": jsonline.Messages(answer.GetUpdate())}, nil
		}},
		{"PostCreateContainer", func() (fields, error) {
			container.State = api.ContainerState_CONTAINER_CREATED
			container.CreatedAt = time.Now().UnixNano()
			return nil, r.nri.PostCreateContainer(ctx, &api.PostCreateContainerRequest{Pod: pod, Container: container})
		}},
		{"StartContainer", func() (fields, error) {
			return nil, r.nri.StartContainer(ctx, &api.StartContainerRequest{Pod: pod, Container: container})
		}},
		{"PostStartContainer", func() (fields, error) {
			container.State = api.ContainerState_CONTAINER_RUNNING
			container.StartedAt = time.Now().UnixNano()
			container.Pid = uint32(os.Getpid())
			return nil, r.nri.PostStartContainer(ctx, &api.PostStartContainerRequest{Pod: pod, Container: container})
		}},
		{"UpdateContainer", func() (fields, error) {
			answer, err := r.nri.UpdateContainer(ctx, &api.UpdateContainerRequest{
				Pod: pod, Container: container, LinuxResources: resources,
			})
			if err != nil {
				return nil, err
			}
			return fields{"updates": jsonline.Messages(answer.GetUpdate())}, nil
		}},
		{"PostUpdateContainer", func() (fields, error) {
			container.Linux.Resources = resources
			return nil, r.nri.PostUpdateContainer(ctx, &api.PostUpdateContainerRequest{Pod: pod, Container: container})
		}},
		{"StopContainer", func() (fields, error) {
			container.State = api.ContainerState_CONTAINER_STOPPED
			container.FinishedAt = time.Now().UnixNano()
			container.ExitCode = 143
			answer, err := r.nri.StopContainer(ctx, &api.StopContainerRequest{Pod: pod, Container: container})
			if err != nil {
				return nil, err
			}
			return fields{"updates": jsonline.Messages(answer.GetUpdate())}, nil
		}},
		{"RemoveContainer", func() (fields, error) {
			return nil, r.nri.RemoveContainer(ctx, &api.RemoveContainerRequest{Pod: pod, Container: container})
		}},
		{"StopPodSandbox", func() (fields, error) {
			return nil, r.nri.StopPodSandbox(ctx, &api.StopPodSandboxRequest{Pod: pod})
		}},
		{"RemovePodSandbox", func() (fields, error) {
			return nil, r.nri.RemovePodSandbox(ctx, &api.RemovePodSandboxRequest{Pod: pod})
		}},
	}
	for _, step := range steps {
		began := time.Now()
		result, err := step.relay()
		if err != nil {
			return fmt.Errorf("%s: %w", step.event, err)
		}
		line := jsonline.Fields{"ms": time.Since(began).Milliseconds()}
		for name, value := range result {
			line[name] = value
		}
		if err := r.lines.Write(step.event, line); err != nil {
			return err
		}
		// The library goes on without a plugin that it had to drop; a test must not.
		if count, _ := r.plugins.get(); count < plugins {
			return fmt.Errorf("%s: %d of %d plugins are left", step.event, count, plugins)
		}
	}
	return nil
}

// pluginCount is how many plugins are active, as the library tells its metrics.
type pluginCount struct {
	mutex   sync.Mutex
	count   int
	changed chan struct{}
}

func newPluginCount() *pluginCount {
	return &pluginCount{changed: make(chan struct{})}
}

// get returns the number, and a channel that is closed when it changes.
func (c *pluginCount) get() (int, <-chan struct{}) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.count, c.changed
}

// UpdatePluginCount implements adaptation.Metrics.
func (c *pluginCount) UpdatePluginCount(count int) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.count = count
	close(c.changed)
	c.changed = make(chan struct{})
}

// RecordPluginInvocation implements adaptation.Metrics.
func (*pluginCount) RecordPluginInvocation(string, string, error) {}

// RecordPluginLatency implements adaptation.Metrics.
func (*pluginCount) RecordPluginLatency(string, string, time.Duration) {}

// RecordPluginAdjustments implements adaptation.Metrics.
func (*pluginCount) RecordPluginAdjustments(string, string, *adaptation.ContainerAdjustment, int, int) {
}
