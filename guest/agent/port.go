// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	portName      = "casemate.guest"
	frameBytesMax = 262144
	portWait      = 10 * time.Second
	// While no host has the other end open, reading answers at once that there is nothing.
	hostPause = 20 * time.Millisecond
)

// port is the virtio-serial port, read by lines. One host at a time has its other end.
type port struct {
	// Below 0 while nobody holds the other end of a container's.
	descriptor int
	// Of a container alone: where hosts connect, one after the other.
	listener int
	rest     []byte
	// The rest of a line that was too long is passed over.
	skipping bool
	// Somebody was heard since the last time that nobody held the other end.
	heard bool
}

func openPort() (*port, error) {
	for end := time.Now().Add(portWait); ; time.Sleep(5 * time.Millisecond) {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, path := range names {
			if name, err := os.ReadFile(path); err != nil || strings.TrimSpace(string(name)) != portName {
				continue
			}
			device := "/dev/" + filepath.Base(filepath.Dir(path))
			descriptor, err := syscall.Open(device, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
			if err == nil {
				return &port{descriptor: descriptor}, nil
			}
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("there is no port named %s", portName)
		}
	}
}

type incoming struct {
	line    []byte
	tooLong bool
	// Nobody holds the other end any more.
	gone bool
}

// next answers the next line that is not empty, or that the host went away.
func (from *port) next() (incoming, error) {
	buffer := make([]byte, 65536)
	for {
		if end := indexByte(from.rest, '\n'); end >= 0 {
			line := from.rest[:end]
			from.rest = from.rest[end+1:]
			if from.skipping {
				from.skipping = false
				return incoming{tooLong: true}, nil
			}
			if len(line) >= frameBytesMax {
				return incoming{tooLong: true}, nil
			}
			if len(line) > 0 {
				return incoming{line: line}, nil
			}
			continue
		}
		if len(from.rest) >= frameBytesMax {
			from.skipping = true
		}
		if from.skipping {
			from.rest = nil
		}
		if err := from.waitHost(); err != nil {
			return incoming{}, err
		}
		count, err := syscall.Read(from.descriptor, buffer)
		if from.listener > 0 && (count == 0 || err == syscall.ECONNRESET) {
			from.hangUp()
			count, err = 0, nil
		}
		switch {
		case err == syscall.EINTR || err == syscall.EAGAIN:
		case err != nil:
			return incoming{}, err
		case count == 0:
			time.Sleep(hostPause)
			if from.heard {
				from.rest, from.skipping, from.heard = nil, false, false
				return incoming{gone: true}, nil
			}
		default:
			from.heard = true
			from.rest = append(from.rest, buffer[:count]...)
		}
	}
}

// waitHost is for a container's port, which is a socket: each host that comes has a connection of its own.
func (from *port) waitHost() error {
	for from.listener > 0 && from.descriptor < 0 {
		descriptor, _, err := syscall.Accept4(from.listener, syscall.SOCK_CLOEXEC)
		if err == nil {
			from.descriptor = descriptor
		} else if err != syscall.EINTR && err != syscall.ECONNABORTED {
			return err
		}
	}
	return nil
}

func (from *port) hangUp() {
	syscall.Close(from.descriptor)
	from.descriptor = -1
}

// write waits while nobody holds the other end: what is left of an answer then meets a host that throws it away.
func (to *port) write(bytes []byte) error {
	for len(bytes) > 0 && to.descriptor >= 0 {
		count, err := syscall.Write(to.descriptor, bytes)
		if err == syscall.EINTR || err == syscall.EAGAIN {
			continue
		}
		if to.listener > 0 && (err == syscall.EPIPE || err == syscall.ECONNRESET) {
			// It is met again by who reads next.
			return nil
		}
		if err != nil {
			return err
		}
		bytes = bytes[count:]
	}
	return nil
}

func indexByte(bytes []byte, wanted byte) int {
	for at, each := range bytes {
		if each == wanted {
			return at
		}
	}
	return -1
}
