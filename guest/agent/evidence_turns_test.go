// SPDX-License-Identifier: Apache-2.0
package main

import (
	"sync"
	"testing"
	"time"
)

func TestTheHostsQuestionGoesBeforeEveryStrangersThatWaits(t *testing.T) {
	turns := newEvidenceTurns()
	held, hold := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	var order []string
	ask := func(in func(func()), who string) {
		all.Add(1)
		go func() {
			defer all.Done()
			in(func() { order = append(order, who) })
		}()
	}
	go turns.forStranger(func() {
		close(held)
		<-hold
	})
	<-held
	for count := 0; count < 50; count++ {
		ask(turns.forStranger, "stranger")
	}
	ask(turns.forHost, "host")
	waits := func() bool {
		turns.mutex.Lock()
		defer turns.mutex.Unlock()
		return turns.own == 1
	}
	for !waits() {
		time.Sleep(time.Millisecond)
	}
	// Whoever came first is waiting by now; who comes later is later either way.
	time.Sleep(20 * time.Millisecond)
	turns.sleep = func(time.Duration) {}
	close(hold)
	all.Wait()
	if len(order) != 51 || order[0] != "host" {
		t.Fatalf("%d asked, and the first was the %s's", len(order), order[0])
	}
}

func TestHalfOfTheTimeNoStrangerAsks(t *testing.T) {
	turns := newEvidenceTurns()
	now, slept := time.Unix(1_000_000, 0), []time.Duration{}
	turns.now = func() time.Time { return now }
	turns.sleep = func(time time.Duration) {
		slept = append(slept, time)
		now = now.Add(time)
	}
	for _, takes := range []time.Duration{3 * time.Second, time.Minute, 0, 0} {
		turns.forStranger(func() { now = now.Add(takes) })
	}
	if len(slept) != 2 || slept[0] != 3*time.Second || slept[1] != strangerRestMax {
		t.Fatalf("strangers rested %v", slept)
	}
	turns.forStranger(func() { now = now.Add(time.Second) })
	turns.forHost(func() {})
	if len(slept) != 2 {
		t.Fatal("the host rested for a stranger's question")
	}
}
