// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// loadUnit is what the kernel counts a load of one as.
const loadUnit = 1 << 16

// health says what the kernel says; nothing in it is made up when it cannot be had.
func (a *agent) health() (any, error) {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return nil, err
	}
	available, err := availableKiB()
	if err != nil {
		return nil, err
	}
	ssh := "off"
	if a.claim != nil {
		ssh = a.claim.server.state()
	}
	if a.instance != nil {
		ssh = a.instance.sshState()
	}
	return map[string]any{
		"claimed":   a.claim.done(),
		"uptimeMs":  info.Uptime * 1000,
		"timeMs":    time.Now().UnixMilli(),
		"memory":    map[string]any{"totalKiB": info.Totalram * uint64(info.Unit) / 1024, "availableKiB": available},
		"load100":   info.Loads[0] * 100 / loadUnit,
		"processes": info.Procs,
		"ssh":       ssh,
	}, nil
}

// availableKiB is what programs could still have, which is more than what is free.
func availableKiB() (uint64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "MemAvailable:" {
			return strconv.ParseUint(words[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/meminfo does not say what is available")
}
