// SPDX-License-Identifier: Apache-2.0
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

// finit_module; the standard library has no constant of it.
var finitModule = map[string]uintptr{"amd64": 313, "arm64": 273}[architecture]

// loadModules loads what the image's builder put in, in the order of their names: what depends comes later.
func loadModules(folder string) error {
	files, err := filepath.Glob(folder + "/*.ko")
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := loadModule(file); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(file), err)
		}
	}
	return os.RemoveAll(folder)
}

func loadModule(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	none := [1]byte{}
	_, _, code := syscall.Syscall(finitModule, file.Fd(), uintptr(unsafe.Pointer(&none[0])), 0)
	// ENODEV: a driver for a processor or a device that is not here; what needs it will say so.
	if code != 0 && code != syscall.EEXIST && code != syscall.ENODEV {
		return code
	}
	return nil
}
