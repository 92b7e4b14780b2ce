// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	podmanProgram = "/usr/bin/podman"
	engineCgroup  = "/sys/fs/cgroup/casemate-engine"
	engineConf    = workFolder + "/containers.conf"
	// It makes its tables on a new disk, under emulation.
	engineReady = 3 * time.Minute
	enginePause = 500 * time.Millisecond
)

// engineSettings: beside what the image says of podman. What a layer is unpacked through lies on the disk, not in memory.
const engineSettings = `[engine]
image_copy_tmp_dir = "storage"
`

// engine is podman's service. It is started again when it ends: containers run on without it, each below a small
// process of its own. It has a cgroup beside those of the containers, so that what it takes is not taken for theirs.
type engine struct {
	processes *processes
	mutex     sync.Mutex
	pid       int
	over      bool
	ended     chan struct{}
}

func startEngine(all *processes) (*engine, error) {
	for _, folder := range []string{engineCgroup, "/run/podman"} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(engineConf, []byte(engineSettings), 0o644); err != nil {
		return nil, err
	}
	started := &engine{processes: all, ended: make(chan struct{})}
	go started.supervise()
	return started, nil
}

func (e *engine) supervise() {
	defer close(e.ended)
	for {
		e.mutex.Lock()
		if e.over {
			e.mutex.Unlock()
			return
		}
		os.Remove(engineSocket)
		pid, ended, err := e.processes.launch(program{
			command:     podmanProgram,
			args:        []string{"system", "service", "--time=0", "unix://" + engineSocket},
			environment: append([]string{"CONTAINERS_CONF_OVERRIDE=" + engineConf, "TMPDIR=/tmp"}, environment...),
			cgroup:      engineCgroup,
		}, -1, -1)
		e.pid = pid
		e.mutex.Unlock()
		if err == nil {
			<-ended
		}
		time.Sleep(enginePause)
	}
}

// waitReady answers when podman does.
func (e *engine) waitReady(ctx context.Context, api *engineApi) error {
	ctx, cancel := context.WithTimeout(ctx, engineReady)
	defer cancel()
	for {
		// Nobody listens at first: that is no answer yet.
		if _, err := os.Stat(engineSocket); err == nil {
			if err := api.ask(ctx, "GET", "/_ping", nil, nil); err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("podman does not answer")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// end answers whether it ended by itself within the limit.
func (e *engine) end(limit time.Duration) bool {
	e.mutex.Lock()
	e.over = true
	if e.pid > 0 {
		syscall.Kill(e.pid, syscall.SIGTERM)
	}
	pid := e.pid
	e.mutex.Unlock()
	select {
	case <-e.ended:
		return true
	case <-time.After(limit):
		if pid > 0 {
			syscall.Kill(-pid, syscall.SIGKILL)
		}
		return false
	}
}
