//go:build !nri_events11

package main

import (
	"context"

	"github.com/containerd/nri/pkg/api"
)

// The events of pods that there are since v0.10.
func init() {
	podEvents["update-pod"] = func(r *runtime, ctx context.Context, do *command, pod *api.PodSandbox) error {
		resources, err := do.resources()
		if err != nil {
			return err
		}
		request := &api.UpdatePodSandboxRequest{Pod: pod, LinuxResources: resources}
		if do.Overhead != nil {
			request.OverheadLinuxResources = &api.LinuxResources{}
			if err := read(do.Overhead, request.OverheadLinuxResources); err != nil {
				return err
			}
		}
		_, err = r.nri.UpdatePodSandbox(ctx, request)
		return err
	}
	podEvents["post-update-pod"] = func(r *runtime, ctx context.Context, _ *command, pod *api.PodSandbox) error {
		return r.nri.PostUpdatePodSandbox(ctx, &api.PostUpdatePodSandboxRequest{Pod: pod})
	}
}
