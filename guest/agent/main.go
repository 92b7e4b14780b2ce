// SPDX-License-Identifier: Apache-2.0

// The first and only process that Casemate adds to a virtual machine: it is /init of the measured initramfs, mounts the
// measured root, and goes on as process 1 and as the agent that the host speaks to. It starts itself once more as the front
// (front.go), which has no rights and speaks to strangers. Standard library only. The same program is the first process of a system
// container (container.go), of which nothing below holds.
//
// The attacker is the host's operator, who wrote the kernel command line, the disk and every byte on the port. So:
//
//	A. Nothing is mounted before the command line was read, and it must say the root hash, its size and the launch hash,
//	   each once. What else the operator writes there is not ours to refuse: it is measured with the rest.
//	B. Every byte of the root goes through dm-verity under that hash. A changed one is an I/O error, for ever.
//	C. Whatever fails before the agent is up powers the machine off. There is no shell and no other way in.
//	D. What comes over the port is read with bounds, and never by a program of the root.
//	E. Nothing that a stranger on the network sends is read by process 1: a fault in it is the end of the machine.
package main

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// version is that of the release, set by the build.
var version = "unset"

func main() {
	if len(os.Args) == 2 && os.Args[1] == frontWord {
		fmt.Fprintln(os.Stderr, runFront())
		os.Exit(1)
	}
	if len(os.Args) == 3 && os.Args[1] == containerWord {
		fmt.Fprintln(os.Stderr, runContainer(os.Args[2]))
		os.Exit(1)
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "this is the first process of a virtual machine")
		os.Exit(2)
	}
	launch, err := boot()
	if err != nil {
		logLine("refused: " + err.Error())
		powerOff()
	}
	processes := startReaper()
	agent, err := newAgent(launch, processes)
	if err != nil {
		logLine("refused: " + err.Error())
		powerOff()
	}
	agent.powerOffOnSignal()
	logLine("ready")
	err = agent.serve()
	logLine("the port is lost: " + err.Error())
	powerOff()
}

// boot turns the initramfs into the root that the command line names, and answers the launch hash.
func boot() (string, error) {
	if err := mountKernelFolders(); err != nil {
		return "", err
	}
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return "", err
	}
	line, err := parseCommandLine(string(text))
	if err != nil {
		return "", err
	}
	if err := loadModules("/modules"); err != nil {
		return "", err
	}
	if err := openVerity(rootDisk, line); err != nil {
		return "", err
	}
	if err := enterRoot(); err != nil {
		return "", err
	}
	return line.launchHash, nil
}

func logLine(text string) {
	if inContainer {
		logToHost(text)
		return
	}
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer console.Close()
	// One write: lines of the kernel do not come between.
	fmt.Fprintf(console, "casemate: %s\n", text)
}

func powerOff() {
	if inContainer {
		// With the first process all others end.
		os.Exit(0)
	}
	syscall.Sync()
	syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	// A kernel that cannot power off: nothing more runs here.
	for {
		time.Sleep(time.Hour)
	}
}
