// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// processes collects every child that ends, ours and those whose parent ended before them: nobody else does for process 1.
type processes struct {
	mutex sync.Mutex
	ours  map[int]chan syscall.WaitStatus
}

func startReaper() *processes {
	all := &processes{ours: map[int]chan syscall.WaitStatus{}}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	go func() {
		for range signals {
			all.reap()
		}
	}()
	return all
}

func (all *processes) reap() {
	all.mutex.Lock()
	defer all.mutex.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if ended, mine := all.ours[pid]; mine {
			delete(all.ours, pid)
			ended <- status
		}
	}
}

var environment = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root"}

// program is what is started, and with what.
type program struct {
	command string
	args    []string
	// Instead of the usual environment.
	environment []string
	// A folder of cgroup2 that it begins in, or none.
	cgroup string
	// What it sees as the root, and the folder of that it begins in.
	root, folder string
	// As whom; nil: as we are.
	as *syscall.Credential
}

// start answers the pid and a channel that says how it ended.
func (all *processes) start(output int, command string, args ...string) (int, <-chan syscall.WaitStatus, error) {
	return all.launch(program{command: command, args: args}, output, output)
}

// launch: an output below 0 is thrown away. The program leads a group of its own, so that it can be ended with its children.
func (all *processes) launch(wanted program, output, faults int) (int, <-chan syscall.WaitStatus, error) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	files := []uintptr{null.Fd(), null.Fd(), null.Fd()}
	for at, each := range []int{output, faults} {
		if each >= 0 {
			files[at+1] = uintptr(each)
		}
	}
	attributes := &syscall.SysProcAttr{Setsid: true, Credential: wanted.as, Chroot: wanted.root}
	if wanted.cgroup != "" {
		folder, err := os.Open(wanted.cgroup)
		if err != nil {
			return 0, nil, err
		}
		defer folder.Close()
		attributes.UseCgroupFD, attributes.CgroupFD = true, int(folder.Fd())
	}
	given := wanted.environment
	if given == nil {
		given = environment
	}
	// Under the lock, so that it cannot have ended before it is known as ours.
	all.mutex.Lock()
	defer all.mutex.Unlock()
	pid, err := syscall.ForkExec(wanted.command, append([]string{wanted.command}, wanted.args...), &syscall.ProcAttr{
		Dir: wanted.folder, Env: given, Files: files, Sys: attributes,
	})
	if err != nil {
		return 0, nil, fmt.Errorf("%s: %w", wanted.command, err)
	}
	ended := make(chan syscall.WaitStatus, 1)
	all.ours[pid] = ended
	return pid, ended, nil
}

// outputMax bounds what is kept of what a program said.
const outputMax = 4096

// run waits for a program that must end well and in time; the error has the last it said.
func (all *processes) run(limit time.Duration, command string, args ...string) error {
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reader.Close()
	pid, ended, err := all.start(int(writer.Fd()), command, args...)
	writer.Close()
	if err != nil {
		return err
	}
	said := make(chan []byte, 1)
	go func() {
		var kept []byte
		buffer := make([]byte, 1024)
		for {
			count, err := reader.Read(buffer)
			if kept = append(kept, buffer[:count]...); len(kept) > outputMax {
				kept = kept[len(kept)-outputMax:]
			}
			if err != nil {
				said <- bytes.TrimSpace(kept)
				return
			}
		}
	}()
	select {
	case status := <-ended:
		if status.ExitStatus() == 0 {
			return nil
		}
		select {
		case text := <-said:
			return fmt.Errorf("%s ended with %d: %s", command, status.ExitStatus(), text)
		case <-time.After(time.Second):
			return fmt.Errorf("%s ended with %d", command, status.ExitStatus())
		}
	case <-time.After(limit):
		syscall.Kill(pid, syscall.SIGKILL)
		return fmt.Errorf("%s did not end within %s", command, limit)
	}
}
