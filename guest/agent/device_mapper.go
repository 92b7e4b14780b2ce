// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"
)

const (
	diskWait    = 10 * time.Second
	sectorBytes = 512

	// From linux/dm-ioctl.h: _IOWR(0xfd, n, struct dm_ioctl) of 312 bytes.
	dmHeaderBytes = 312
	dmCreate      = 0xc138fd03
	dmRemove      = 0xc138fd04
	dmSuspend     = 0xc138fd06
	dmTableLoad   = 0xc138fd09
	dmReadOnly    = 1
	// The kernel overwrites what it copied of this request when it is done with it.
	dmSecure = 1 << 15
)

// mapping is one target over a whole device.
type mapping struct {
	name, kind string
	flags      uint32
	sectors    uint64
	// Of a target that has a key the key is in here, and is gone when mapDevice answers.
	parameters []byte
}

// mapDevice answers the path of the new device. There is no udev: the kernel itself names it by its number.
func mapDevice(wanted mapping) (string, error) {
	control, err := os.OpenFile("/dev/mapper/control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	defer clear(wanted.parameters)
	device, err := dmIoctl(control, dmCreate, 0, wanted.name, nil)
	if err != nil {
		return "", fmt.Errorf("dm-%s: %w", wanted.kind, err)
	}
	target := dmTarget(wanted)
	defer clear(target)
	if _, err = dmIoctl(control, dmTableLoad, wanted.flags, wanted.name, target); err == nil {
		// Without the flag of suspending it resumes.
		_, err = dmIoctl(control, dmSuspend, 0, wanted.name, nil)
	}
	if err != nil {
		dmIoctl(control, dmRemove, 0, wanted.name, nil)
		return "", fmt.Errorf("dm-%s: %w", wanted.kind, err)
	}
	path := fmt.Sprintf("/dev/dm-%d", device&0xff|device>>12&^0xff)
	return path, waitFor(path)
}

func unmapDevice(name string) error {
	control, err := os.OpenFile("/dev/mapper/control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	_, err = dmIoctl(control, dmRemove, 0, name, nil)
	return err
}

// dmIoctl answers the number of the device that was asked about.
func dmIoctl(control *os.File, request uintptr, flags uint32, name string, target []byte) (uint64, error) {
	buffer := make([]byte, dmHeaderBytes+len(target))
	defer clear(buffer)
	put := binary.LittleEndian.PutUint32
	put(buffer[0:], 4)                    // version major
	put(buffer[12:], uint32(len(buffer))) // data_size
	put(buffer[16:], dmHeaderBytes)       // data_start
	if target != nil {
		put(buffer[20:], 1) // target_count
	}
	put(buffer[28:], flags)
	copy(buffer[48:], name) // 128 bytes with its zero
	copy(buffer[dmHeaderBytes:], target)
	_, _, code := syscall.Syscall(syscall.SYS_IOCTL, control.Fd(), request, uintptr(unsafe.Pointer(&buffer[0])))
	if code != 0 {
		return 0, code
	}
	return binary.LittleEndian.Uint64(buffer[40:]), nil
}

// dmTarget is struct dm_target_spec and its parameters.
func dmTarget(wanted mapping) []byte {
	const headBytes = 40
	target := make([]byte, (headBytes+len(wanted.parameters)+1+7)&^7)
	binary.LittleEndian.PutUint64(target[8:], wanted.sectors)
	copy(target[24:], wanted.kind)
	copy(target[headBytes:], wanted.parameters)
	return target
}

// waitFor: devices come up beside us.
func waitFor(path string) error {
	for end := time.Now().Add(diskWait); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return nil
		} else if time.Now().After(end) {
			return err
		}
	}
}
