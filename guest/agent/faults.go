// SPDX-License-Identifier: Apache-2.0
package main

import (
	"errors"
	"fmt"
	"runtime"
)

// Process 1 outlives a fault of its own: its end is the kernel's, with everything of the workload. What a question or a workload
// brought is in somebody else's hands, and a line that we read wrongly must be no more than an answer that failed.

var errFault = errors.New("a fault of the agent")

// guarded answers what `do` does, or errFault.
func guarded(what string, do func() error) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			logFault(what, fault)
			err = errFault
		}
	}()
	return do()
}

// goGuarded is for what has nobody to answer to.
func goGuarded(what string, do func()) {
	go guarded(what, func() error { do(); return nil })
}

// logFault: the console is the host's, so no words but the runtime's own, which have numbers and names of types, and the place.
func logFault(what string, fault any) {
	words := "a fault"
	if known, is := fault.(runtime.Error); is {
		words = known.Error()
	}
	for depth := 2; depth < 8; depth++ {
		counter, _, line, known := runtime.Caller(depth)
		if called := runtime.FuncForPC(counter); known && called != nil {
			words += fmt.Sprintf(", %s:%d", called.Name(), line)
		}
	}
	logLine(what + ": " + words)
}
