// Package critest names what the tests of CRI need; cargo xtask e2e builds them.
package critest

import _ "sigs.k8s.io/cri-tools/pkg/validate"
