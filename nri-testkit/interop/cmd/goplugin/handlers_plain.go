//go:build nri_plain

package main

import (
	"github.com/containerd/nri/pkg/api"
)

// The handlers of the library up to v0.3: without contexts, and without the resources that are asked for.

func (p *plugin) Configure(config, runtime, version string) (api.EventMask, error) {
	return p.configured(config, runtime, version)
}

func (p *plugin) Synchronize(pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	return p.synchronized(pods, containers)
}

func (p *plugin) Shutdown(*api.ShutdownRequest) {
	p.ended()
}

func (p *plugin) CreateContainer(pod *api.PodSandbox, container *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	return p.created(pod, container)
}

func (p *plugin) UpdateContainer(pod *api.PodSandbox, container *api.Container) ([]*api.ContainerUpdate, error) {
	return p.updated(pod, container, nil)
}

func (p *plugin) StopContainer(pod *api.PodSandbox, container *api.Container) ([]*api.ContainerUpdate, error) {
	return p.stopped(pod, container)
}

func (p *plugin) RunPodSandbox(pod *api.PodSandbox) error {
	return p.podEvent("RunPodSandbox", pod)
}

func (p *plugin) StopPodSandbox(pod *api.PodSandbox) error {
	return p.podEvent("StopPodSandbox", pod)
}

func (p *plugin) RemovePodSandbox(pod *api.PodSandbox) error {
	return p.podEvent("RemovePodSandbox", pod)
}

func (p *plugin) PostCreateContainer(pod *api.PodSandbox, container *api.Container) error {
	return p.containerEvent("PostCreateContainer", pod, container)
}

func (p *plugin) StartContainer(pod *api.PodSandbox, container *api.Container) error {
	return p.containerEvent("StartContainer", pod, container)
}

func (p *plugin) PostStartContainer(pod *api.PodSandbox, container *api.Container) error {
	return p.containerEvent("PostStartContainer", pod, container)
}

func (p *plugin) PostUpdateContainer(pod *api.PodSandbox, container *api.Container) error {
	return p.containerEvent("PostUpdateContainer", pod, container)
}

func (p *plugin) RemoveContainer(pod *api.PodSandbox, container *api.Container) error {
	return p.containerEvent("RemoveContainer", pod, container)
}
