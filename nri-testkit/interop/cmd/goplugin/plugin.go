package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/nri/pkg/api"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"nri-rs/interop/internal/jsonline"
)

// rule says how an event is answered. Without one the answer is empty.
type rule struct {
	// On is the event's name.
	On string `json:"on"`
	// ID is that of the container, or of the pod for events of pods; empty for any.
	ID string `json:"id"`
	// Answer is the response message.
	Answer json.RawMessage `json:"answer"`
	// Pad is how many bytes of environment are added to the answer to a creation.
	Pad int `json:"pad"`
	// Error fails the request; a validator rejects with it.
	Error string `json:"error"`
	// Sleep answers so many milliseconds later.
	Sleep int `json:"sleep"`
	// Hang does not answer until the connection is closed.
	Hang bool `json:"hang"`
	// Kill dies by SIGKILL instead of an answer.
	Kill bool `json:"kill"`
	// Keep leaves the rule for further events; others are used once.
	Keep bool `json:"keep"`
	// Events is what Configure subscribes to; empty for all that there are handlers for.
	Events string `json:"events"`
}

// plugin reports every event, and answers by its rules.
type plugin struct {
	lines    *jsonline.Writer
	shutdown chan struct{}

	mutex sync.Mutex
	rules []rule
	now   *connection
}

func newPlugin(lines *jsonline.Writer) *plugin {
	return &plugin{lines: lines, shutdown: make(chan struct{}, 1)}
}

// load reads rules.
func (p *plugin) load(text []byte) error {
	var rules []rule
	if err := json.Unmarshal(text, &rules); err != nil {
		return err
	}
	p.replace(rules)
	return nil
}

// replace forgets the rules that there were.
func (p *plugin) replace(rules []rule) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.rules = rules
}

func (p *plugin) connected(c *connection) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.now = c
}

// take returns the first rule for an event, and drops it unless it is to be kept.
func (p *plugin) take(event, id string) rule {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for i, r := range p.rules {
		if r.On == event && (r.ID == "" || r.ID == id) {
			if !r.Keep {
				p.rules = append(p.rules[:i:i], p.rules[i+1:]...)
			}
			return r
		}
	}
	return rule{}
}

// called reports an event and returns the rule for it, or the error that the rule says.
func (p *plugin) called(event, id string, fields jsonline.Fields) (rule, error) {
	r := p.take(event, id)
	if err := p.lines.Write(event, fields); err != nil {
		return r, err
	}
	time.Sleep(time.Duration(r.Sleep) * time.Millisecond)
	switch {
	case r.Kill:
		return r, syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case r.Hang:
		p.mutex.Lock()
		c := p.now
		p.mutex.Unlock()
		if c != nil {
			<-c.closed
		}
		return r, errors.New("the connection is closed")
	case r.Error != "":
		return r, errors.New(r.Error)
	}
	return r, nil
}

// respond reads the answer of the rule into response.
func (r rule) respond(response proto.Message) error {
	if r.Answer == nil {
		return nil
	}
	if err := protojson.Unmarshal(r.Answer, response); err != nil {
		return fmt.Errorf("answer to %s: %w", r.On, err)
	}
	return nil
}

func (p *plugin) configured(config, runtime, version string) (api.EventMask, error) {
	r, err := p.called("Configure", "", jsonline.Fields{"config": config, "runtime": runtime, "version": version})
	if err != nil || r.Events == "" {
		return 0, err
	}
	return api.ParseEventMask(strings.Split(r.Events, ",")...)
}

func (p *plugin) synchronized(pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	r, err := p.called("Synchronize", "", jsonline.Fields{
		"pods": jsonline.Messages(pods), "containers": jsonline.Messages(containers),
	})
	p.mutex.Lock()
	if c := p.now; c != nil {
		c.once.Do(func() { close(c.synchronized) })
	}
	p.mutex.Unlock()
	response := &api.SynchronizeResponse{}
	if err == nil {
		err = r.respond(response)
	}
	return response.GetUpdate(), err
}

func (p *plugin) ended() {
	_ = p.lines.Write("Shutdown", nil)
	select {
	case p.shutdown <- struct{}{}:
	default:
	}
}

func (p *plugin) podEvent(event string, pod *api.PodSandbox) error {
	_, err := p.called(event, pod.GetId(), jsonline.Fields{"pod": pod})
	return err
}

func (p *plugin) containerEvent(event string, pod *api.PodSandbox, container *api.Container) error {
	_, err := p.called(event, container.GetId(), jsonline.Fields{"pod": pod, "container": container})
	return err
}

func (p *plugin) created(pod *api.PodSandbox, container *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	r, err := p.called("CreateContainer", container.GetId(), jsonline.Fields{"pod": pod, "container": container})
	response := &api.CreateContainerResponse{}
	if err == nil {
		err = r.respond(response)
	}
	if r.Pad > 0 {
		if response.Adjust == nil {
			response.Adjust = &api.ContainerAdjustment{}
		}
		response.Adjust.AddEnv("PAD", strings.Repeat("x", r.Pad))
	}
	return response.GetAdjust(), response.GetUpdate(), err
}

func (p *plugin) updated(pod *api.PodSandbox, container *api.Container, resources *api.LinuxResources) ([]*api.ContainerUpdate, error) {
	fields := jsonline.Fields{"pod": pod, "container": container}
	if resources != nil {
		fields["resources"] = resources
	}
	r, err := p.called("UpdateContainer", container.GetId(), fields)
	response := &api.UpdateContainerResponse{}
	if err == nil {
		err = r.respond(response)
	}
	return response.GetUpdate(), err
}

func (p *plugin) stopped(pod *api.PodSandbox, container *api.Container) ([]*api.ContainerUpdate, error) {
	r, err := p.called("StopContainer", container.GetId(), jsonline.Fields{"pod": pod, "container": container})
	response := &api.StopContainerResponse{}
	if err == nil {
		err = r.respond(response)
	}
	return response.GetUpdate(), err
}
