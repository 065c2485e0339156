package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
)

// runtime is the smallest runtime that can relay every event: what exists, and what plugins did to it.
type runtime struct {
	nri     *adaptation.Adaptation
	started bool

	mutex      sync.Mutex
	pods       []*api.PodSandbox
	containers []*api.Container
	// failing are the containers whose next update is refused.
	failing map[string]bool
	// updates are those that plugins asked for outside of requests, or when they were synchronised.
	updates []*api.ContainerUpdate
	plugins int
	changed chan struct{}
}

func newRuntime(o options) (*runtime, error) {
	r := &runtime{failing: map[string]bool{}, changed: make(chan struct{})}
	adaptation.SetPluginRequestTimeout(o.requestTimeout)
	nri, err := adaptation.New(o.name, o.version, r.synchronize, r.updateContainers,
		adaptation.WithSocketPath(o.socket),
		adaptation.WithPluginPath(o.plugins),
		adaptation.WithPluginConfigPath(o.pluginConfig),
	)
	r.nri = nri
	return r, err
}

// start launches plugins and listens, once; what was added before is what exists.
func (r *runtime) start() error {
	if r.started {
		return nil
	}
	r.started = true
	if err := r.nri.Start(); err != nil {
		return err
	}
	// What was synchronised up to here are launched plugins, all of them together.
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.plugins = 0
	return nil
}

func (r *runtime) stop() {
	if r.started {
		r.nri.Stop()
	}
}

// synchronize shows what exists to the plugins that have just come.
func (r *runtime) synchronize(ctx context.Context, show adaptation.SyncCB) error {
	r.mutex.Lock()
	pods, containers := slices.Clone(r.pods), slices.Clone(r.containers)
	r.mutex.Unlock()
	updates, err := show(ctx, pods, containers)
	if err != nil {
		return err
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.updates = append(r.updates, updates...)
	r.plugins++
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

// updateContainers takes what plugins ask for on their own accord.
func (r *runtime) updateContainers(_ context.Context, updates []*api.ContainerUpdate) ([]*api.ContainerUpdate, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var failed []*api.ContainerUpdate
	for _, update := range updates {
		if id := update.GetContainerId(); r.failing[id] {
			delete(r.failing, id)
			failed = append(failed, update)
			continue
		}
		r.updates = append(r.updates, update)
	}
	return failed, nil
}

// waitForPlugins waits until so many plugins that connected have been synchronised.
func (r *runtime) waitForPlugins(wanted int, limit time.Duration) error {
	deadline := time.After(limit)
	for {
		r.mutex.Lock()
		count, changed := r.plugins, r.changed
		r.mutex.Unlock()
		if count >= wanted {
			r.settled()
			return nil
		}
		select {
		case <-changed:
		case <-deadline:
			return fmt.Errorf("%d of %d plugins are synchronised after %s", count, wanted, limit)
		}
	}
}

func (r *runtime) fail(id string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.failing[id] = true
}

func (r *runtime) asked() []*api.ContainerUpdate {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return slices.Clone(r.updates)
}

func (r *runtime) addPod(text json.RawMessage) (*api.PodSandbox, error) {
	pod := &api.PodSandbox{}
	if err := read(text, pod); err != nil {
		return nil, err
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.pods = append(slices.DeleteFunc(r.pods, func(p *api.PodSandbox) bool { return p.GetId() == pod.GetId() }), pod)
	return pod, nil
}

func (r *runtime) addContainer(text json.RawMessage) (*api.Container, error) {
	container := &api.Container{}
	if err := read(text, container); err != nil {
		return nil, err
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	same := func(c *api.Container) bool { return c.GetId() == container.GetId() }
	r.containers = append(slices.DeleteFunc(r.containers, same), container)
	return container, nil
}

func (r *runtime) pod(id string) (*api.PodSandbox, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, pod := range r.pods {
		if pod.GetId() == id {
			return pod, nil
		}
	}
	return nil, fmt.Errorf("there is no pod %q", id)
}

func (r *runtime) container(id string) (*api.Container, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, container := range r.containers {
		if container.GetId() == id {
			return container, nil
		}
	}
	return nil, fmt.Errorf("there is no container %q", id)
}

func (r *runtime) forgetPod(id string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.pods = slices.DeleteFunc(r.pods, func(p *api.PodSandbox) bool { return p.GetId() == id })
}

func (r *runtime) forgetContainer(id string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.containers = slices.DeleteFunc(r.containers, func(c *api.Container) bool { return c.GetId() == id })
}
