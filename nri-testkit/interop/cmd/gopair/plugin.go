//go:build !nri_events11 && !nri_no_policy

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

// plugin adds so many annotations to every container.
type plugin struct {
	index string
	items int
	delay time.Duration
	begun time.Time
}

func (p *plugin) Configure(context.Context, string, string, string) (api.EventMask, error) {
	p.begun = time.Now()
	return 0, nil
}

func (p *plugin) Synchronize(_ context.Context, _ []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	fmt.Printf("{\"containers\":%d,\"ns\":%d}\n", len(containers), time.Since(p.begun).Nanoseconds())
	return nil, nil
}

func (p *plugin) RunPodSandbox(context.Context, *api.PodSandbox) error {
	return nil
}

func (p *plugin) CreateContainer(context.Context, *api.PodSandbox, *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	time.Sleep(p.delay)
	if p.items == 0 {
		return nil, nil, nil
	}
	adjust := &api.ContainerAdjustment{}
	for item := range p.items {
		adjust.AddAnnotation(fmt.Sprintf("pair.example/%s-%d", p.index, item), p.index)
	}
	return adjust, nil, nil
}

// join is a plugin until the runtime is gone.
func join(o options) error {
	closed := make(chan struct{}, 1)
	s, err := stub.New(&plugin{index: o.index, items: o.items, delay: time.Duration(o.delay) * time.Millisecond},
		stub.WithPluginName("pair"), stub.WithPluginIdx(o.index), stub.WithSocketPath(o.socket),
		stub.WithOnClose(func() {
			select {
			case closed <- struct{}{}:
			default:
			}
		}))
	if err != nil {
		return err
	}
	if err := s.Start(context.Background()); err != nil {
		return err
	}
	<-closed
	return nil
}
