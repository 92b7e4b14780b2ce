// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// places is where the agent finds what it asks for evidence, and what it may change of the machine. The tests' driver has others:
// it runs beside other programs, with a TPM on a socket.
type places struct {
	settle    func(given claimArgs, entropy []byte, network *network) error
	tsmFolder string
	// The kernel fills a folder that is made there.
	makeReport func(folder string) error
	openTpm    func() (io.ReadWriteCloser, error)
	eventLog   string
	// Where strangers connect, where the front finds the public service, and the empty folder that it goes into.
	listen      func() (net.Listener, error)
	public      string
	frontFolder string
}

var machinePlaces = places{
	settle:      settle,
	tsmFolder:   "/sys/kernel/config/tsm/report",
	makeReport:  func(folder string) error { return os.Mkdir(folder, 0o700) },
	openTpm:     openTpmDevice,
	eventLog:    "/sys/kernel/security/tpm0/binary_bios_measurements",
	listen:      func() (net.Listener, error) { return net.Listen("tcp", ":443") },
	public:      fmt.Sprintf("127.0.0.1:%d", publicLoopbackPort),
	frontFolder: "/run/casemate-front",
}

// openTpmDevice opens it so that reading waits for the answer. A file that the runtime may poll does not wait: to the kernel, it asks
// whether there is an answer yet, and is told that there is none.
func openTpmDevice() (io.ReadWriteCloser, error) {
	const path = "/dev/tpmrm0"
	descriptor, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(descriptor), path), nil
}

func (p places) attester(keys *identity, endorsers []string) *attester {
	return &attester{
		identity: keys, endorsers: endorsers, eventLog: p.eventLog,
		tsm: &tsmReports{folder: p.tsmFolder, make: p.makeReport}, tpm: &tpm{open: p.openTpm}, turns: newEvidenceTurns(),
	}
}

// mountConfigfs: a kernel without it has no confidential processor either.
func mountConfigfs() {
	_ = syscall.Mount("configfs", "/sys/kernel/config", "configfs", plain, "")
}
