// SPDX-License-Identifier: Apache-2.0
package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const programGrace = 3 * time.Second

// shutDown takes the workload down, asks every program to end, gives the disk back when they did, or when they took too
// long, and powers off.
func (a *agent) shutDown() {
	if os.Getpid() != 1 {
		// Every program would be asked to end, of whatever this runs on.
		os.Exit(0)
	}
	if a.claim != nil && a.claim.front != nil {
		a.claim.front.end()
	}
	orderly := a.theWorkload().end()
	syscall.Kill(-1, syscall.SIGTERM)
	a.waitPrograms()
	syscall.Kill(-1, syscall.SIGKILL)
	a.waitPrograms()
	if err := closeStore(orderly); err != nil {
		logLine("the disk is not given back in order: " + err.Error())
	}
	powerOff()
}

// powerOffOnSignal: there is no service manager in here, so people ask the first process. From then on it answers nobody else.
func (a *agent) powerOffOnSignal() {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR2, syscall.SIGPWR)
	go func() {
		<-asked
		a.shutDown()
	}()
}

func (a *agent) waitPrograms() {
	for end := time.Now().Add(programGrace); anyProgram() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		a.processes.reap()
	}
}

// anyProgram: besides us. Threads of the kernel are processes, too, and have no file that they run.
func anyProgram() bool {
	files, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, file := range files {
		if _, err := os.Readlink(file); err == nil && file != "/proc/1/exe" {
			return true
		}
	}
	return false
}
