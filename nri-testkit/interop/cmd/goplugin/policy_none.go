//go:build nri_no_policy

package main

import (
	"errors"

	"github.com/containerd/nri/pkg/stub"
)

// wish is for releases since v0.12.4.
func wish(text string) ([]stub.Option, error) {
	if text != "" {
		return nil, errors.New("this release has no failure policy")
	}
	return nil, nil
}
