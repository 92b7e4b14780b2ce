// SPDX-License-Identifier: Apache-2.0
package main

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// imitatedTsm is what the kernel shows of a confidential processor, in an ordinary folder: there is no such processor here.
type imitatedTsm struct {
	Provider string `json:"provider"`
	// What comes before the bytes that are to be bound, and after them.
	Before    []byte `json:"before"`
	After     []byte `json:"after"`
	Auxiliary []byte `json:"auxiliary"`
	// How often somebody else writes in between.
	Overtaken int `json:"overtaken"`
}

func (t *imitatedTsm) make(folder string) error {
	if t == nil || t.Provider == "" {
		return syscall.ENXIO
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	write := func(name string, bytes []byte) error {
		return os.WriteFile(filepath.Join(folder, name), bytes, 0o600)
	}
	for name, bytes := range map[string][]byte{
		"provider": []byte(t.Provider + "\n"), "generation": []byte("0\n"), "inblob": nil, "auxblob": t.Auxiliary,
	} {
		if err := write(name, bytes); err != nil {
			return err
		}
	}
	// It is made when it is read, of what was written by then.
	out := filepath.Join(folder, "outblob")
	if err := syscall.Mkfifo(out, 0o600); err != nil {
		return err
	}
	writes := 1
	if t.Overtaken > 0 {
		t.Overtaken--
		writes++
	}
	go func() {
		reader, err := os.OpenFile(out, os.O_WRONLY, 0)
		if err != nil {
			panic(err)
		}
		defer reader.Close()
		bound, err := os.ReadFile(filepath.Join(folder, "inblob"))
		if err == nil {
			err = write("generation", []byte(strconv.Itoa(writes)))
		}
		if err != nil {
			panic(err)
		}
		_, _ = reader.Write(append(append(append([]byte{}, t.Before...), bound...), t.After...))
	}()
	return nil
}
