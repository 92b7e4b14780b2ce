// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

type endedProgram struct {
	status int
	// The last of what it said beside its output.
	words string
}

// capture answers a program's output when it ended, in time and not too loud; what it started goes with it.
func (all *processes) capture(ctx context.Context, limit time.Duration, bytesMax int, wanted program) ([]byte, endedProgram, error) {
	name := filepath.Base(wanted.command)
	output, outputWriter, err := os.Pipe()
	if err != nil {
		return nil, endedProgram{}, err
	}
	defer output.Close()
	faults, faultsWriter, err := os.Pipe()
	if err != nil {
		outputWriter.Close()
		return nil, endedProgram{}, err
	}
	defer faults.Close()
	pid, ended, err := all.launch(wanted, int(outputWriter.Fd()), int(faultsWriter.Fd()))
	outputWriter.Close()
	faultsWriter.Close()
	if err != nil {
		return nil, endedProgram{}, err
	}
	type read struct {
		bytes []byte
		full  bool
	}
	heard, said := make(chan read, 1), make(chan string, 1)
	go func() {
		kept, _ := io.ReadAll(io.LimitReader(output, int64(bytesMax)+1))
		heard <- read{kept, len(kept) > bytesMax}
		io.Copy(io.Discard, output)
	}()
	go func() { said <- lastOf(faults, outputMax) }()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case status := <-ended:
		// A child that it left behind may hold the pipes.
		syscall.Kill(-pid, syscall.SIGKILL)
		result := <-heard
		if result.full {
			return nil, endedProgram{}, fmt.Errorf("%s says too much", name)
		}
		code := status.ExitStatus()
		return result.bytes, endedProgram{code, <-said}, nil
	case <-ctx.Done():
		syscall.Kill(-pid, syscall.SIGKILL)
		<-ended
		if ctx.Err() == context.DeadlineExceeded {
			return nil, endedProgram{}, fmt.Errorf("%s did not end within %s", name, limit)
		}
		return nil, endedProgram{}, ctx.Err()
	}
}

func lastOf(reader io.Reader, bytesMax int) string {
	var kept []byte
	buffer := make([]byte, 4096)
	for {
		count, err := reader.Read(buffer)
		if kept = append(kept, buffer[:count]...); len(kept) > bytesMax {
			kept = append(kept[:0], kept[len(kept)-bytesMax:]...)
		}
		if err != nil {
			return string(kept)
		}
	}
}
