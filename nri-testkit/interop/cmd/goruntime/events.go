package main

import (
	"context"

	"github.com/containerd/nri/pkg/api"
	"google.golang.org/protobuf/proto"

	"nri-rs/interop/internal/jsonline"
)

type podEvent func(*runtime, context.Context, *command, *api.PodSandbox) error

// podEvents are the commands about a pod.
var podEvents = map[string]podEvent{
	"run-pod": func(r *runtime, ctx context.Context, _ *command, pod *api.PodSandbox) error {
		return r.nri.RunPodSandbox(ctx, &api.RunPodSandboxRequest{Pod: pod})
	},
	"stop-pod": func(r *runtime, ctx context.Context, _ *command, pod *api.PodSandbox) error {
		return r.nri.StopPodSandbox(ctx, &api.StopPodSandboxRequest{Pod: pod})
	},
	"remove-pod": func(r *runtime, ctx context.Context, _ *command, pod *api.PodSandbox) error {
		err := r.nri.RemovePodSandbox(ctx, &api.RemovePodSandboxRequest{Pod: pod})
		r.forgetPod(pod.GetId())
		return err
	},
}

type containerEvent func(*runtime, context.Context, *command, *api.PodSandbox, *api.Container) (jsonline.Fields, error)

// containerEvents are the commands about a container.
//
// Adjustments are reported and not applied: events after the creation show the container as it was asked for.
var containerEvents = map[string]containerEvent{
	"create-container": func(r *runtime, ctx context.Context, _ *command, pod *api.PodSandbox, container *api.Container) (jsonline.Fields, error) {
		container.State = api.ContainerState_CONTAINER_CREATED
		// The library writes adjustments into the container it is given.
		asked := proto.Clone(container).(*api.Container)
		answer, err := r.nri.CreateContainer(ctx, &api.CreateContainerRequest{Pod: pod, Container: asked})
		if err != nil {
			return nil, err
		}
		fields := jsonline.Fields{"updates": jsonline.Messages(answer.GetUpdate())}
		if adjust := answer.GetAdjust(); adjust != nil {
			fields["adjustment"] = adjust
		}
		return fields, nil
	},
	"post-create-container": func(r *runtime, ctx context.Context, _ *command, pod *api.PodSandbox, container *api.Container) (jsonline.Fields, error) {
		return nil, r.nri.PostCreateContainer(ctx, &api.PostCreateContainerRequest{Pod: pod, Container: container})
	},
	"start-container": func(r *runtime, ctx context.Context, _ *command, pod *api.PodSandbox, container *api.Container) (jsonline.Fields, error) {
		err := r.nri.StartContainer(ctx, &api.StartContainerRequest{Pod: pod, Container: container})
		container.State = api.ContainerState_CONTAINER_RUNNING
		return nil, err
	},
	"post-start-container": func(r *runtime, ctx context.Context, _ *command, pod *api.PodSandbox, container *api.Container) (jsonline.Fields, error) {
		return nil, r.nri.PostStartContainer(ctx, &api.PostStartContainerRequest{Pod: pod, Container: container})
	},
	"update-container": func(r *runtime, ctx context.Context, do *command, pod *api.PodSandbox, container *api.Container) (jsonline.Fields, error) {
		resources, err := do.resources()
		if err != nil {
			return nil, err
		}
		answer, err := r.nri.UpdateContainer(ctx, &api.UpdateContainerRequest{Pod: pod, Container: container, LinuxResources: resources})
		if err != nil {
			return nil, err
		}
		// The last entry is that of the container in question, and nothing if nobody changed it.
		fields := jsonline.Fields{}
		updates := answer.GetUpdate()
		if last := len(updates) - 1; last >= 0 {
			if resources := updates[last].GetLinux().GetResources(); resources != nil {
				fields["resources"] = resources
			}
			updates = updates[:last]
		}
		fields["updates"] = jsonline.Messages(updates)
		return fields, nil
	},
	"post-update-container": func(r *runtime, ctx context.Context, _ *command, pod *api.PodSandbox, container *api.Container) (jsonline.Fields, error) {
		return nil, r.nri.PostUpdateContainer(ctx, &api.PostUpdateContainerRequest{Pod: pod, Container: container})
	},
	"stop-container": func(r *runtime, ctx context.Context, _ *command, pod *api.PodSandbox, container *api.Container) (jsonline.Fields, error) {
		container.State = api.ContainerState_CONTAINER_STOPPED
		answer, err := r.nri.StopContainer(ctx, &api.StopContainerRequest{Pod: pod, Container: container})
		if err != nil {
			return nil, err
		}
		return jsonline.Fields{"updates": jsonline.Messages(answer.GetUpdate())}, nil
	},
	"remove-container": func(r *runtime, ctx context.Context, _ *command, pod *api.PodSandbox, container *api.Container) (jsonline.Fields, error) {
		err := r.nri.RemoveContainer(ctx, &api.RemoveContainerRequest{Pod: pod, Container: container})
		r.forgetContainer(container.GetId())
		return nil, err
	},
}
