package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/containerd/nri/pkg/api"

	"nri-rs/interop/internal/jsonline"
)

// What -adjust sets and removes.
const (
	annotation  = "interop.example/plugin"
	variable    = "NRI_INTEROP_PLUGIN"
	mountPoint  = "/nri-interop"
	argsPrefix  = "/nri-interop/init"
	unwanted    = "interop.example/remove"
	unwantedVar = "NRI_INTEROP_REMOVE"
)

// events are the names that reports and -exit-after use.
var events = map[string]bool{
	"Configure": true, "Synchronize": true, "Shutdown": true,
	"RunPodSandbox": true, "UpdatePodSandbox": true, "PostUpdatePodSandbox": true,
	"StopPodSandbox": true, "RemovePodSandbox": true,
	"CreateContainer": true, "PostCreateContainer": true,
	"StartContainer": true, "PostStartContainer": true,
	"UpdateContainer": true, "PostUpdateContainer": true,
	"StopContainer": true, "RemoveContainer": true,
	"ValidateContainerAdjustment": true,
}

// plugin reports every event, and adjusts containers if asked to.
type plugin struct {
	id        string
	adjust    bool
	exitAfter string
	lines     *jsonline.Writer
	shutdown  chan struct{}

	mutex  sync.Mutex
	errors []error
}

// report writes the event's line; a failure to do so is what the program ends with.
func (p *plugin) report(event string, fields jsonline.Fields) {
	if err := p.lines.Write(event, fields); err != nil {
		p.mutex.Lock()
		p.errors = append(p.errors, err)
		p.mutex.Unlock()
	}
	if event == p.exitAfter {
		os.Exit(3)
	}
}

func (p *plugin) failures() []error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.errors
}

// podEvent reports an event of a pod.
func (p *plugin) podEvent(event string, pod *api.PodSandbox) error {
	p.report(event, jsonline.Fields{"pod": pod.GetId()})
	return nil
}

// containerFields are what is reported of a container.
func containerFields(pod *api.PodSandbox, container *api.Container) jsonline.Fields {
	return jsonline.Fields{
		"pod":         pod.GetId(),
		"container":   container.GetId(),
		"state":       container.GetState().String(),
		"env_count":   len(container.GetEnv()),
		"env_bytes":   envBytes(container),
		"args":        container.GetArgs(),
		"annotations": container.GetAnnotations(),
		"mounts":      len(container.GetMounts()),
	}
}

// containerEvent reports an event of a container.
func (p *plugin) containerEvent(event string, pod *api.PodSandbox, container *api.Container) error {
	p.report(event, containerFields(pod, container))
	return nil
}

func envBytes(containers ...*api.Container) int {
	total := 0
	for _, container := range containers {
		for _, entry := range container.GetEnv() {
			total += len(entry)
		}
	}
	return total
}

func (p *plugin) Configure(_ context.Context, config, runtime, version string) (api.EventMask, error) {
	p.report("Configure", jsonline.Fields{"config": config, "runtime": runtime, "version": version})
	return 0, nil // Everything that there is a handler for.
}

func (p *plugin) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	p.report("Synchronize", jsonline.Fields{
		"pods":       len(pods),
		"containers": len(containers),
		"env_bytes":  envBytes(containers...),
	})
	fmt.Println("ready")
	return nil, nil
}

func (p *plugin) Shutdown(context.Context) {
	p.report("Shutdown", nil)
	select {
	case p.shutdown <- struct{}{}:
	default:
	}
}

func (p *plugin) RunPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.podEvent("RunPodSandbox", pod)
}

func (p *plugin) UpdatePodSandbox(_ context.Context, pod *api.PodSandbox, overhead, resources *api.LinuxResources) error {
	p.report("UpdatePodSandbox", jsonline.Fields{"pod": pod.GetId(), "overhead": overhead, "resources": resources})
	return nil
}

func (p *plugin) PostUpdatePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.podEvent("PostUpdatePodSandbox", pod)
}

func (p *plugin) StopPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.podEvent("StopPodSandbox", pod)
}

func (p *plugin) RemovePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.podEvent("RemovePodSandbox", pod)
}

func (p *plugin) CreateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	p.report("CreateContainer", containerFields(pod, container))
	if !p.adjust {
		return nil, nil, nil
	}
	return p.adjustment(container), nil, nil
}

// adjustment is what -adjust asks for: one thing of each kind, with every form of removal that applies.
func (p *plugin) adjustment(container *api.Container) *api.ContainerAdjustment {
	adjust := &api.ContainerAdjustment{}
	adjust.AddAnnotation(annotation, p.id)
	adjust.AddEnv(variable, p.id)
	adjust.AddMount(&api.Mount{
		Destination: mountPoint,
		Type:        "tmpfs",
		Source:      "tmpfs",
		Options:     []string{"nosuid", "nodev", "size=64k"},
	})
	adjust.UpdateArgs(append([]string{argsPrefix, "--"}, container.GetArgs()...))
	if _, there := container.GetAnnotations()[unwanted]; there {
		adjust.RemoveAnnotation(unwanted)
	}
	for _, entry := range container.GetEnv() {
		if strings.HasPrefix(entry, unwantedVar+"=") {
			adjust.RemoveEnv(unwantedVar)
			break
		}
	}
	return adjust
}

func (p *plugin) PostCreateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	return p.containerEvent("PostCreateContainer", pod, container)
}

func (p *plugin) StartContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	return p.containerEvent("StartContainer", pod, container)
}

func (p *plugin) PostStartContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	return p.containerEvent("PostStartContainer", pod, container)
}

func (p *plugin) UpdateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container, resources *api.LinuxResources) ([]*api.ContainerUpdate, error) {
	fields := containerFields(pod, container)
	fields["resources"] = resources
	p.report("UpdateContainer", fields)
	return nil, nil
}

func (p *plugin) PostUpdateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	return p.containerEvent("PostUpdateContainer", pod, container)
}

func (p *plugin) StopContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) ([]*api.ContainerUpdate, error) {
	return nil, p.containerEvent("StopContainer", pod, container)
}

func (p *plugin) RemoveContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	return p.containerEvent("RemoveContainer", pod, container)
}

func (p *plugin) ValidateContainerAdjustment(_ context.Context, request *api.ValidateContainerAdjustmentRequest) error {
	fields := containerFields(request.GetPod(), request.GetContainer())
	fields["adjust"] = request.GetAdjust()
	fields["owners"] = request.GetOwners()
	fields["plugins"] = jsonline.Messages(request.GetPlugins())
	p.report("ValidateContainerAdjustment", fields)
	return nil
}
