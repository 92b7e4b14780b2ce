// SPDX-License-Identifier: Apache-2.0
package main

// The agent as an ordinary program, for tests of its other side (guest/*.test.ts): what it says over a socket is the real
// agent's, and what it would change of a machine is left alone. No part of an image: agents are compiled without this file.

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

type driven struct {
	Port       string `json:"port"`
	LaunchHash string `json:"launchHash"`
	// A socket that takes a TPM's commands; none if empty.
	Tpm       string `json:"tpm"`
	EventLog  string `json:"eventLog"`
	TsmFolder string `json:"tsmFolder"`
	// What the imitated kernel answers there.
	Tsm *imitatedTsm `json:"tsm"`
	// Addresses of loopback: where the front listens, where it finds the public service.
	Front       string `json:"front"`
	Public      string `json:"public"`
	FrontFolder string `json:"frontFolder"`
}

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == frontWord {
		main()
	}
	if len(os.Args) == 3 && os.Args[1] == "driven" {
		fmt.Fprintln(os.Stderr, drive(os.Args[2]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func drive(settings string) error {
	var given driven
	if err := readStrictly([]byte(settings), &given); err != nil {
		return err
	}
	listener, err := net.Listen("unix", given.Port)
	if err != nil {
		return err
	}
	// Whoever started this holds the other end of its input, and nothing outlives them.
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	accepted, err := listener.Accept()
	if err != nil {
		return err
	}
	file, err := accepted.(*net.UnixConn).File()
	if err != nil {
		return err
	}
	// One that nobody closes when it collects what is no longer used.
	descriptor, err := syscall.Dup(int(file.Fd()))
	if err == nil {
		err = syscall.SetNonblock(descriptor, false)
	}
	if err != nil {
		return err
	}
	a := &agent{
		port: &port{descriptor: descriptor}, processes: startReaper(), launchHash: given.LaunchHash,
		bootId: randomHex(), started: time.Now(), places: given.places(),
	}
	return a.serve()
}

func (d driven) places() places {
	return places{
		settle:      func(claimArgs, []byte, *network) error { return nil },
		tsmFolder:   d.TsmFolder,
		makeReport:  d.Tsm.make,
		eventLog:    d.EventLog,
		listen:      func() (net.Listener, error) { return net.Listen("tcp", d.Front) },
		public:      d.Public,
		frontFolder: d.FrontFolder,
		openTpm: func() (io.ReadWriteCloser, error) {
			if d.Tpm == "" {
				return nil, os.ErrNotExist
			}
			// A TPM on a socket takes one conversation at a time.
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				connection, err := net.Dial("unix", d.Tpm)
				if err == nil || time.Now().After(end) {
					return connection, err
				}
			}
		},
	}
}

func init() {
	operations["test-open-box"] = operation{do: reads(func(a *agent, asked struct {
		Kind string `json:"kind"`
		Box  []byte `json:"box"`
	}) (any, error) {
		opened, err := a.claim.keys.openBox(asked.Kind, a.claim.launch.sha256, asked.Box)
		return map[string]any{"plain": append([]byte{}, opened...)}, err
	})}
}
