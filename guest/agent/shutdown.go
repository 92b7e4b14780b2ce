// SPDX-License-Identifier: Apache-2.0
package main

import (
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const programGrace = 3 * time.Second

// shutDown asks every program to end, and powers off when they did, or when they took too long.
func (a *agent) shutDown() {
	syscall.Kill(-1, syscall.SIGTERM)
	for end := time.Now().Add(programGrace); anyProgram() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		a.processes.reap()
	}
	powerOff()
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
