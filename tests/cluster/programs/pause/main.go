// Pause holds a pod's namespaces open: it sleeps until it is asked to stop,
// and reaps the processes which its pod's containers leave behind.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		reap()
	}
}

// reap collects every child which has already ended, without waiting for the others.
func reap() {
	for {
		process, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if process <= 0 || (err != nil && err != syscall.EINTR) {
			return
		}
	}
}
