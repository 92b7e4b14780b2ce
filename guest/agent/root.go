// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"os"
	"syscall"
)

type mount struct {
	source, target, kind string
	flags                uintptr
	options              string
}

const plain = syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC

func mountAll(mounts []mount) error {
	for _, each := range mounts {
		if err := os.MkdirAll(each.target, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(each.source, each.target, each.kind, each.flags, each.options); err != nil {
			return fmt.Errorf("mount %s on %s: %w", each.kind, each.target, err)
		}
	}
	return nil
}

func mountKernelFolders() error {
	return mountAll([]mount{
		{"proc", "/proc", "proc", plain, ""},
		{"sysfs", "/sys", "sysfs", plain, ""},
		{"devtmpfs", "/dev", "devtmpfs", syscall.MS_NOSUID, "mode=0755"},
	})
}

// enterRoot: the root as it was measured, read-only, and over it memory that takes what is written. Written files are gone
// with the machine; what must stay goes to a disk of its own.
func enterRoot() error {
	if err := mountAll([]mount{
		{verityDevice, "/measured", "erofs", syscall.MS_RDONLY | syscall.MS_NODEV, ""},
		{"tmpfs", "/written", "tmpfs", syscall.MS_NODEV, "mode=0755"},
	}); err != nil {
		return err
	}
	for _, folder := range []string{"/written/upper", "/written/work", "/root"} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	if err := mountAll([]mount{{"overlay", "/root", "overlay", syscall.MS_NODEV,
		"lowerdir=/measured,upperdir=/written/upper,workdir=/written/work"}}); err != nil {
		return err
	}
	for _, folder := range []string{"/proc", "/sys", "/dev"} {
		if err := syscall.Mount(folder, "/root"+folder, "", syscall.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", folder, err)
		}
	}
	// What is in memory of the initramfs is not needed again; we are running.
	if err := os.Remove("/init"); err != nil {
		return err
	}
	if err := os.Chdir("/root"); err != nil {
		return err
	}
	if err := syscall.Mount(".", "/", "", syscall.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := syscall.Chroot("."); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return mountAll([]mount{
		{"tmpfs", "/run", "tmpfs", syscall.MS_NOSUID | syscall.MS_NODEV, "mode=0755"},
		{"tmpfs", "/tmp", "tmpfs", syscall.MS_NOSUID | syscall.MS_NODEV, "mode=1777"},
		{"devpts", "/dev/pts", "devpts", syscall.MS_NOSUID | syscall.MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666"},
		{"tmpfs", "/dev/shm", "tmpfs", syscall.MS_NOSUID | syscall.MS_NODEV, "mode=1777"},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", plain, ""},
		{"securityfs", "/sys/kernel/security", "securityfs", plain, ""},
	})
}
