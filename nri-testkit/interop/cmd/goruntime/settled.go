//go:build !nri_events11

package main

// settled waits until a plugin whose synchronisation is under way takes part.
func (r *runtime) settled() {
	r.nri.BlockPluginSync().Unblock()
}
