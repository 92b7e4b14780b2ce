// SPDX-License-Identifier: Apache-2.0
package main

import (
	"sync"
	"time"
)

// evidenceTurns: one question about this machine at a time goes to its TPM or its processor, which take a second for it. The attacker is
// any stranger who asks for reports as fast as they come, so that whoever is about to send secrets gets none.
//
//	A. The host's own question waits for the one that is being answered, and for no other.
//	B. After a stranger's, the next stranger's waits as long as that took: half of the time is nobody's.
type evidenceTurns struct {
	mutex sync.Mutex
	free  *sync.Cond
	taken bool
	own   int
	// When strangers may ask again.
	restUntil time.Time
	now       func() time.Time
	sleep     func(time.Duration)
}

// A question that hung is not to keep strangers away for as long again.
const strangerRestMax = 5 * time.Second

func newEvidenceTurns() *evidenceTurns {
	t := &evidenceTurns{now: time.Now, sleep: time.Sleep}
	t.free = sync.NewCond(&t.mutex)
	return t
}

func (t *evidenceTurns) forHost(ask func()) {
	t.mutex.Lock()
	t.own++
	for t.taken {
		t.free.Wait()
	}
	t.own--
	t.taken = true
	t.mutex.Unlock()
	defer t.give(time.Time{})
	ask()
}

func (t *evidenceTurns) forStranger(ask func()) {
	t.mutex.Lock()
	rest := t.restUntil.Sub(t.now())
	t.mutex.Unlock()
	if rest > 0 {
		t.sleep(rest)
	}
	t.mutex.Lock()
	for t.taken || t.own > 0 {
		t.free.Wait()
	}
	t.taken = true
	t.mutex.Unlock()
	defer t.give(t.now())
	ask()
}

// give: begun is zero for the host's.
func (t *evidenceTurns) give(begun time.Time) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if !begun.IsZero() {
		t.restUntil = t.now().Add(min(t.now().Sub(begun), strangerRestMax))
	}
	t.taken = false
	t.free.Broadcast()
}
