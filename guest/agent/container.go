// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// The agent as the first process of a system container: where no processor keeps a machine from its host, and none is emulated,
// it does the same work without a kernel of its own. There is no measured boot and no evidence, and nothing here says otherwise. The
// attacker is whoever has root inside: the host has made root, network and limits before, and gives rights to change none of them.
const (
	containerWord = "container"
	// Listening sockets of the host's, which it gave along (drivers/system-container/launch.pl).
	containerPort    = 3
	containerConsole = 4
	consoleLimit     = time.Second
	// The one right of those that a container begins with which its programs do not need.
	capSysAdmin = 21
)

var inContainer bool

// runContainer answers only when it could not begin.
func runContainer(launchHash string) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("this is the first process of a container")
	}
	if !isHash(launchHash) {
		return fmt.Errorf("a container is started with a launch hash")
	}
	inContainer = true
	for _, each := range []int{containerPort, containerConsole} {
		syscall.CloseOnExec(each)
	}
	openContainerConsole(containerConsole)
	places := machinePlaces
	places.settle = settleContainer
	a := &agent{
		port: &port{descriptor: -1, listener: containerPort}, processes: startReaper(), launchHash: launchHash,
		bootId: randomHex(), started: time.Now(), places: places,
	}
	logLine("ready")
	return a.serve()
}

// settleContainer: time, entropy and address are the host's, which share its kernel; only names are asked for from in here.
func settleContainer(_ claimArgs, _ []byte, network *network) error {
	if network == nil {
		return nil
	}
	return network.writeNameServers()
}

// containerLog is where the agent's own words go: to the host while it listens. There is no device that a program could write to, too.
var containerLog struct {
	mutex sync.Mutex
	host  net.Conn
}

func openContainerConsole(descriptor int) {
	file := os.NewFile(uintptr(descriptor), "console")
	listener, err := net.FileListener(file)
	if err != nil {
		return
	}
	goGuarded("console", func() {
		for {
			accepted, err := listener.Accept()
			if err != nil {
				return
			}
			containerLog.mutex.Lock()
			if containerLog.host != nil {
				containerLog.host.Close()
			}
			containerLog.host = accepted
			containerLog.mutex.Unlock()
		}
	})
}

func logToHost(text string) {
	containerLog.mutex.Lock()
	defer containerLog.mutex.Unlock()
	if containerLog.host == nil {
		return
	}
	// A host that does not read is not waited for.
	containerLog.host.SetWriteDeadline(time.Now().Add(consoleLimit))
	if _, err := fmt.Fprintf(containerLog.host, "casemate: %s\n", strings.ReplaceAll(text, "\n", " ")); err != nil {
		containerLog.host.Close()
		containerLog.host = nil
	}
}

// dropContainerRights is before anybody is let in: from here on no program of the container, however it is started, can have the
// right that the name of the machine was set with.
func dropContainerRights() error {
	if _, _, code := syscall.AllThreadsSyscall(syscall.SYS_PRCTL, syscall.PR_CAPBSET_DROP, capSysAdmin, 0); code != 0 {
		return code
	}
	header := struct {
		version uint32
		pid     int32
	}{0x20080522, 0}
	var rights [2]struct{ effective, permitted, inheritable uint32 }
	_, _, code := syscall.Syscall(syscall.SYS_CAPGET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&rights[0])), 0)
	if code != 0 {
		return code
	}
	for _, each := range []*uint32{&rights[0].effective, &rights[0].permitted, &rights[0].inheritable} {
		*each &^= 1 << capSysAdmin
	}
	_, _, code = syscall.AllThreadsSyscall(syscall.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&rights[0])), 0)
	if code != 0 {
		return code
	}
	return nil
}
