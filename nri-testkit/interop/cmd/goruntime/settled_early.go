//go:build nri_events11

package main

// settled has nothing to wait for: the library holds the lock of requests from a plugin's synchronisation until it takes part.
func (*runtime) settled() {}
