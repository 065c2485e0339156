// Command cri leads one pod with one container through its life on a CRI runtime: cri SOCKET IMAGE LOG-DIRECTORY CGROUP-PARENT.
// The pod uses the host's network, so that none is needed.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: cri SOCKET IMAGE LOG-DIRECTORY CGROUP-PARENT")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "cri:", err)
		os.Exit(1)
	}
}

func run(socket, image, logs, cgroups string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	connection, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	runtime := cri.NewRuntimeServiceClient(connection)

	namespaces := &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER}
	pod := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: "pod", Uid: "pod-uid", Namespace: "interop"},
		Labels:       map[string]string{"app": "interop"},
		LogDirectory: logs,
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    cgroups,
			SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: namespaces},
		},
	}
	container := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "container"},
		Image:    &cri.ImageSpec{Image: image},
		LogPath:  "container.log",
		Linux: &cri.LinuxContainerConfig{
			Resources:       &cri.LinuxContainerResources{CpuShares: 512},
			SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: namespaces},
		},
	}
	started, err := runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: pod})
	if err != nil {
		return fmt.Errorf("run pod: %w", err)
	}
	podID := started.GetPodSandboxId()
	created, err := runtime.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: podID, Config: container, SandboxConfig: pod})
	if err != nil {
		return fmt.Errorf("create container: %w", err)
	}
	id := created.GetContainerId()
	steps := []struct {
		name string
		do   func() error
	}{
		{"start container", func() error {
			_, err := runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: id})
			return err
		}},
		{"update container", func() error {
			resources := &cri.LinuxContainerResources{CpuShares: 256}
			_, err := runtime.UpdateContainerResources(ctx, &cri.UpdateContainerResourcesRequest{ContainerId: id, Linux: resources})
			return err
		}},
		{"stop container", func() error {
			_, err := runtime.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: id, Timeout: 10})
			return err
		}},
		{"remove container", func() error {
			_, err := runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: id})
			return err
		}},
		{"stop pod", func() error {
			_, err := runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: podID})
			return err
		}},
		{"remove pod", func() error {
			_, err := runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: podID})
			return err
		}},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}
