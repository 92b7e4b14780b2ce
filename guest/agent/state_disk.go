// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Where everything lies that a workload keeps or that takes room: an encrypted disk that outlives a start, an encrypted disk that
// does not, or memory. The host has the disks: what it reads there is noise, and what it writes there is not found out
// block by block, since nothing here authenticates blocks (docs/threat-model.md).
//
//	A. A state disk is made a file system on only while its first MiB is zeros. That MiB is written last, with a mark
//	   that only the key makes, so half a making is made again, and nothing else ever is.
//	B. A disk whose mark is not of this key is not written to and not mapped.
//	C. The key is in the kernel and nowhere else once this has answered: not in a program's arguments, not in a file.
//	D. Of a start that did not end in order only the volumes are kept: podman does not write its own files so that they
//	   outlive a loss of power, and images can be had again.
const (
	storeFolder   = "/var/lib/containers"
	storeName     = "casemate-store"
	headBytes     = 1 << 20
	stateKeyBytes = 64
	cryptSector   = 4096
	// As long as a disk of some hundred GiB may take under emulation.
	formatLimit = 5 * time.Minute
	// Room for a file system, and more than its head.
	stateBytesMin = headBytes + 8<<20

	podmanFolder  = storeFolder + "/storage"
	volumesFolder = "volumes"
	// There while the disk was given back in order.
	orderlyMark = storeFolder + "/.casemate-orderly"
)

type stateDisk struct {
	device string
	bytes  uint64
	// Nothing was written to it yet.
	fresh bool
}

// findDisk answers a device by what its virtio disk is called by the host.
func findDisk(serial string) string {
	files, _ := filepath.Glob("/sys/block/vd*/serial")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(text)) == serial {
			return "/dev/" + filepath.Base(filepath.Dir(file))
		}
	}
	return ""
}

// judgeStateDisk reads and writes nothing. B.
func judgeStateDisk(device string, key []byte) (stateDisk, error) {
	unreadable := func(words string) (stateDisk, error) { return stateDisk{}, refusal{"state-unreadable", words} }
	if device == "" {
		return unreadable("the machine has no state disk")
	}
	file, err := os.Open(device)
	if err != nil {
		return unreadable("the state disk cannot be read")
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil || size < stateBytesMin {
		return unreadable("the state disk is too small")
	}
	head := make([]byte, headBytes)
	if _, err := file.ReadAt(head, 0); err != nil {
		return unreadable("the state disk cannot be read")
	}
	found := stateDisk{device: device, bytes: uint64(size)}
	mark := stateMark(key)
	switch {
	case len(bytes.Trim(head, "\x00")) == 0:
		found.fresh = true
	case !hmac.Equal(head[:len(mark)], mark):
		return unreadable("the state disk is not one that this key opens")
	}
	return found, nil
}

// stateMark begins a disk that a key has made. Whoever has not the 64 random bytes learns nothing of them by it.
func stateMark(key []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("casemate state disk v1"))
	return append([]byte("casemate state\x00\x01"), mac.Sum(nil)...)
}

// open mounts it; the key is wiped.
func (d stateDisk) open(all *processes, key []byte) error {
	mark := stateMark(key)
	device, err := mapCrypt(d.device, headBytes, d.bytes-headBytes, key)
	if err != nil {
		return err
	}
	if d.fresh {
		if err := makeFileSystem(all, device); err != nil {
			return err
		}
		// A: what was made is on the disk before the mark says so.
		syscall.Sync()
		if err := writeAt(d.device, mark); err != nil {
			return err
		}
	}
	if err := mountStore(device); err != nil {
		return err
	}
	if err := growFileSystem(all, device); err != nil {
		return err
	}
	return keepWhole()
}

// keepWhole removes what cannot be relied on. D
func keepWhole() error {
	if err := os.Remove(orderlyMark); err == nil {
		// Gone on the disk, too, before anything is begun.
		syscall.Sync()
		return nil
	} else if !os.IsNotExist(err) {
		return err
	}
	entries, err := os.ReadDir(podmanFolder)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, each := range entries {
		if each.Name() == volumesFolder {
			continue
		}
		if err := os.RemoveAll(filepath.Join(podmanFolder, each.Name())); err != nil {
			return err
		}
	}
	return nil
}

// openScratch: what is written there can be read by nobody after this start.
func openScratch(all *processes, device string) error {
	key := make([]byte, stateKeyBytes)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	file, err := os.Open(device)
	if err != nil {
		return err
	}
	size, err := file.Seek(0, io.SeekEnd)
	file.Close()
	if err != nil {
		return err
	}
	mapped, err := mapCrypt(device, 0, uint64(size), key)
	if err != nil {
		return err
	}
	if err := makeFileSystem(all, mapped); err != nil {
		return err
	}
	return mountStore(mapped)
}

func openMemory() error {
	return mountAll([]mount{{"tmpfs", storeFolder, "tmpfs", syscall.MS_NODEV, "mode=0755"}})
}

// mapCrypt wipes the key. C.
func mapCrypt(device string, from, bytes_ uint64, key []byte) (string, error) {
	defer clear(key)
	parameters := make([]byte, 0, 512)
	parameters = append(parameters, "aes-xts-plain64 "...)
	parameters = hex.AppendEncode(parameters, key)
	parameters = fmt.Appendf(parameters, " 0 %s %d 1 sector_size:%d", device, from/sectorBytes, cryptSector)
	return mapDevice(mapping{
		name: storeName, kind: "crypt", flags: dmSecure,
		sectors: bytes_ / cryptSector * (cryptSector / sectorBytes), parameters: parameters,
	})
}

func makeFileSystem(all *processes, device string) error {
	// The zeros of its tables are written later, beside the workload, and not at all where nothing was discarded.
	return all.run(formatLimit, "/usr/sbin/mkfs.ext4", "-q", "-F", "-m", "1",
		"-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", device)
}

func mountStore(device string) error {
	return mountAll([]mount{{device, storeFolder, "ext4", syscall.MS_NODEV | syscall.MS_NOATIME, ""}})
}

// growFileSystem: the host may have given the machine a larger disk since.
func growFileSystem(all *processes, device string) error {
	made, err := fileSystemBytes(device)
	if err != nil {
		return err
	}
	text, err := os.ReadFile("/sys/class/block/" + filepath.Base(device) + "/size")
	if err != nil {
		return err
	}
	sectors, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || sectors*sectorBytes < made+cryptSector {
		return err
	}
	return all.run(formatLimit, "/usr/sbin/resize2fs", device)
}

// fileSystemBytes is what the file system says of itself, in its superblock.
func fileSystemBytes(device string) (uint64, error) {
	file, err := os.Open(device)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	block := make([]byte, 1024)
	if _, err := file.ReadAt(block, 1024); err != nil {
		return 0, err
	}
	get := binary.LittleEndian.Uint32
	blocks := uint64(get(block[0x150:]))<<32 | uint64(get(block[4:]))
	return blocks << (10 + get(block[0x18:])&0xf), nil
}

func writeAt(device string, bytes_ []byte) error {
	file, err := os.OpenFile(device, os.O_WRONLY|os.O_SYNC, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(bytes_, 0)
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

// closeStore answers when nothing of it is mounted, or at once what keeps it. orderly: whatever wrote to it has ended.
func closeStore(orderly bool) error {
	if _, err := os.Stat(podmanFolder); orderly && err == nil {
		if err := os.WriteFile(orderlyMark, nil, 0o600); err != nil {
			return err
		}
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	mounted := []string{}
	for _, line := range strings.Split(string(table), "\n") {
		words := strings.Fields(line)
		if len(words) > 4 && (words[4] == storeFolder || strings.HasPrefix(words[4], storeFolder+"/")) {
			mounted = append(mounted, words[4])
		}
	}
	// What was mounted last lies on what was before.
	for at := len(mounted) - 1; at >= 0; at-- {
		if err := syscall.Unmount(mounted[at], 0); err != nil && err != syscall.EINVAL {
			return fmt.Errorf("unmount %s: %w", mounted[at], err)
		}
	}
	if _, err := os.Stat("/sys/block/dm-1"); err == nil {
		return unmapDevice(storeName)
	}
	return nil
}
