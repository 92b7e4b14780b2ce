// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// A door is a port of the guest's own loopback that leads to the same port of its gateway, where the host listens: a registry
// that everyone calls by one name is found under it in here, too. Only programs of this machine can knock.
const (
	doorsMax           = 8
	doorConnectionsMax = 64
	doorWait           = 10 * time.Second
)

func openDoors(ports []int, gateway [4]byte) error {
	for _, port := range ports {
		listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return err
		}
		go serveDoor(listener, netip.AddrPortFrom(netip.AddrFrom4(gateway), uint16(port)).String())
	}
	return nil
}

// serveDoor never ends: a door stands as long as its machine.
func serveDoor(listener net.Listener, target string) {
	room := make(chan struct{}, doorConnectionsMax)
	for {
		room <- struct{}{}
		inner, err := listener.Accept()
		if err != nil {
			// Too many files are open, as a rule.
			time.Sleep(100 * time.Millisecond)
			<-room
			continue
		}
		go func() {
			defer func() { <-room }()
			carry(inner, target)
		}()
	}
}

func carry(inner net.Conn, target string) {
	defer inner.Close()
	outer, err := net.DialTimeout("tcp4", target, doorWait)
	if err != nil {
		return
	}
	defer outer.Close()
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(outer, inner)
		_ = outer.(*net.TCPConn).CloseWrite()
		close(ended)
	}()
	_, _ = io.Copy(inner, outer)
	_ = inner.(*net.TCPConn).CloseWrite()
	// Whoever answered has said all; what the other still sends, nobody reads.
	select {
	case <-ended:
	case <-time.After(doorWait):
	}
}
