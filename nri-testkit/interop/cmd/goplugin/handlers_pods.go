//go:build !nri_events11

package main

import (
	"context"

	"github.com/containerd/nri/pkg/api"

	"nri-rs/interop/internal/jsonline"
)

// The handlers of the events that there are since v0.10.

func (p *plugin) UpdatePodSandbox(_ context.Context, pod *api.PodSandbox, overhead, resources *api.LinuxResources) error {
	_, err := p.called("UpdatePodSandbox", pod.GetId(), jsonline.Fields{"pod": pod, "overhead": overhead, "resources": resources})
	return err
}

func (p *plugin) PostUpdatePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.podEvent("PostUpdatePodSandbox", pod)
}

func (p *plugin) ValidateContainerAdjustment(_ context.Context, request *api.ValidateContainerAdjustmentRequest) error {
	_, err := p.called("ValidateContainerAdjustment", request.GetContainer().GetId(), jsonline.Fields{"request": request})
	return err
}
