// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

const (
	// The first virtio disk holds the root and behind it the tree of its hashes.
	rootDisk     = "/dev/vda"
	verityName   = "casemate-root"
	verityDevice = "/dev/dm-0"
	diskWait     = 10 * time.Second

	// From linux/dm-ioctl.h: _IOWR(0xfd, n, struct dm_ioctl) of 312 bytes.
	dmHeaderBytes = 312
	dmCreate      = 0xc138fd03
	dmSuspend     = 0xc138fd06
	dmTableLoad   = 0xc138fd09
	dmReadOnly    = 1
	sectorBytes   = 512
)

// openVerity makes /dev/dm-0 of the disk: reading from it answers what the root hash vouches for, or EIO.
func openVerity(disk string, line commandLine) error {
	if err := waitFor(disk); err != nil {
		return err
	}
	control, err := os.OpenFile("/dev/mapper/control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	// version, data, tree, block sizes, data blocks, where the tree starts, algorithm, hash, salt. The salt is fixed: it
	// would guard against tables of hashes made ahead, of which there is no use against one image that everybody has.
	parameters := fmt.Sprintf("1 %s %s %d %d %d %d sha256 %s %s", disk, disk, blockBytes, blockBytes,
		line.rootBlocks, line.rootBlocks, line.rootHash, strings.Repeat("0", 64))
	sectors := line.rootBlocks * blockBytes / sectorBytes
	for _, step := range []struct {
		request uintptr
		flags   uint32
		target  []byte
	}{
		{dmCreate, 0, nil},
		{dmTableLoad, dmReadOnly, dmTarget(sectors, "verity", parameters)},
		{dmSuspend, 0, nil}, // without the flag of suspending it resumes
	} {
		if err := dmIoctl(control, step.request, step.flags, step.target); err != nil {
			return fmt.Errorf("dm-verity: %w", err)
		}
	}
	return waitFor(verityDevice)
}

func dmIoctl(control *os.File, request uintptr, flags uint32, target []byte) error {
	buffer := make([]byte, dmHeaderBytes+len(target))
	put := binary.LittleEndian.PutUint32
	put(buffer[0:], 4)                    // version major
	put(buffer[12:], uint32(len(buffer))) // data_size
	put(buffer[16:], dmHeaderBytes)       // data_start
	if target != nil {
		put(buffer[20:], 1) // target_count
	}
	put(buffer[28:], flags)
	copy(buffer[48:], verityName) // name, 128 bytes with its zero
	copy(buffer[dmHeaderBytes:], target)
	_, _, code := syscall.Syscall(syscall.SYS_IOCTL, control.Fd(), request, uintptr(unsafe.Pointer(&buffer[0])))
	if code != 0 {
		return code
	}
	return nil
}

// dmTarget is struct dm_target_spec and its parameters.
func dmTarget(sectors uint64, kind, parameters string) []byte {
	const headBytes = 40
	target := make([]byte, (headBytes+len(parameters)+1+7)&^7)
	binary.LittleEndian.PutUint64(target[8:], sectors)
	copy(target[24:], kind)
	copy(target[headBytes:], parameters)
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
