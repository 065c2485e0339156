// Command sleeper is what runs in the container: it prints its environment and ends on SIGTERM.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	for _, entry := range os.Environ() {
		fmt.Println(entry)
	}
	<-end
}
