package main

import (
	"fmt"
	"strings"

	"github.com/containerd/nri/pkg/api"
)

// stock is what exists at the start.
type stock struct {
	pods       []*api.PodSandbox
	containers []*api.Container
}

// newStock makes count containers with an environment of envBytes each.
//
// Each is in a pod of its own: the library that splits a large synchronisation over several messages does not get along
// with one pod that has many large containers.
func newStock(count, envBytes int) stock {
	var s stock
	for i := range count {
		pod := newPod(fmt.Sprintf("pod-%04d", i))
		container := newContainer(fmt.Sprintf("container-%04d", i), pod, envBytes)
		container.State = api.ContainerState_CONTAINER_RUNNING
		s.pods = append(s.pods, pod)
		s.containers = append(s.containers, container)
	}
	return s
}

func newPod(id string) *api.PodSandbox {
	return &api.PodSandbox{
		Id:             id,
		Name:           id + "-name",
		Uid:            id + "-uid",
		Namespace:      "interop",
		Labels:         map[string]string{"app": "interop"},
		Annotations:    map[string]string{"interop.example/kind": "pod"},
		RuntimeHandler: "runc",
		Ips:            []string{"192.0.2.1", "2001:db8::1"},
		Linux: &api.LinuxPodSandbox{
			CgroupParent: "/interop.slice",
			Namespaces:   []*api.LinuxNamespace{{Type: "network", Path: "/var/run/netns/" + id}},
		},
	}
}

func newContainer(id string, pod *api.PodSandbox, envBytes int) *api.Container {
	return &api.Container{
		Id:           id,
		PodSandboxId: pod.GetId(),
		Name:         id + "-name",
		State:        api.ContainerState_CONTAINER_UNKNOWN,
		Labels:       map[string]string{"app": "interop"},
		Annotations: map[string]string{
			"interop.example/kind":   "container",
			"interop.example/remove": "a plugin may remove this",
		},
		Args: []string{"/bin/sleep", "infinity"},
		Env:  environment(envBytes),
		Mounts: []*api.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/etc/hosts", Type: "bind", Source: "/etc/hosts", Options: []string{"rbind", "ro"}},
		},
		Linux: &api.LinuxContainer{
			Namespaces:  []*api.LinuxNamespace{{Type: "pid"}, {Type: "mount"}},
			CgroupsPath: "/interop.slice/" + id,
			Resources: &api.LinuxResources{
				Memory: &api.LinuxMemory{Limit: api.Int64(int64(256 << 20))},
				Cpu:    &api.LinuxCPU{Shares: api.UInt64(uint64(512)), Cpus: "0-1"},
			},
		},
		User: &api.User{Uid: 1000, Gid: 1000, AdditionalGids: []uint32{10, 20}},
	}
}

// environment is a list of variables of size bytes in all, give or take a few.
func environment(size int) []string {
	env := []string{"PATH=/usr/bin:/bin", "NRI_INTEROP_REMOVE=a plugin may remove this"}
	for _, entry := range env {
		size -= len(entry)
	}
	const width = 1024
	for i := 0; size > 0; i++ {
		name := fmt.Sprintf("FILL_%05d=", i)
		entry := name + strings.Repeat("x", max(0, min(size, width)-len(name)))
		env = append(env, entry)
		size -= len(entry)
	}
	return env
}
