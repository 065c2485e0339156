//go:build !nri_no_policy

package main

import (
	"fmt"
	"strings"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

// wish is what the plugin says of requests that it does not answer: any of fail_request and keep_connected, separated by commas.
// Without a text it says nothing.
func wish(text string) ([]stub.Option, error) {
	if text == "" {
		return nil, nil
	}
	policy := &api.FailurePolicy{}
	for _, word := range strings.Split(text, ",") {
		switch word {
		case "fail_request":
			policy.FailRequest = true
		case "keep_connected":
			policy.KeepConnected = true
		case "none":
		default:
			return nil, fmt.Errorf("no part of a failure policy: %q", word)
		}
	}
	return []stub.Option{stub.WithFailurePolicy(policy)}, nil
}
