// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// What a machine is there for, from the sealed box to its end:
//
//	idle ─▶ preparing ─▶ pulling ─▶ starting ─▶ running ─▶ ended
//	             └──────────┴──────────┴─────▶ failed
//
//	A. `up` reads, judges and answers; everything that takes time goes on beside the conversation, which answers `health`
//	   meanwhile. It is done once in a machine's life: a failed one is thrown away.
//	B. What `status` says is public. What podman and compose said goes through a redactor first (words.go).
//	C. Nothing is taken back half: what fails or is called off ends with every container stopped.
//	D. Every wait has an end.
type workload struct {
	processes *processes
	api       *engineApi
	parts     payloadParts

	mutex  sync.Mutex
	phase  string
	detail string
	images []resolvedImage
	seen   []engineContainer
	cancel context.CancelFunc
	done   chan struct{}
	cpus   cpuTimes
	// nil before there is a secret.
	redactor *redactor

	// Of the one bringing-up; read by it alone.
	engine *engine
	// Every container of it has ended.
	stopped bool
	// Which service is the public one; "" before it is known.
	public string
}

type resolvedImage struct {
	Service   string `json:"service"`
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
}

const (
	// Of the public service, until it can be reached.
	listenWait = 2 * time.Minute
	lookEvery  = 2 * time.Second
	stopGrace  = 10 * time.Second
	engineEnd  = 5 * time.Second
	// All of a `down`, whatever hangs.
	downLimit = 40 * time.Second
)

func makeWorkload(all *processes) *workload {
	return &workload{processes: all, api: newEngineApi(), phase: "idle"}
}

func (w *workload) say(phase, detail string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.phase, w.detail = phase, shortened(printable(detail))
}

// begin answers at once. A
func (w *workload) begin(launch *launch, secrets *workloadSecrets, disk *stateDisk, doors map[string]bool) error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.phase != "idle" || w.done != nil {
		return refusal{"failed", "the workload was brought up before"}
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.phase, w.detail, w.public = "preparing", "the payload is accepted", launch.manifest.PublicService
	w.cancel, w.done = cancel, make(chan struct{})
	goGuarded("workload", func() { w.live(ctx, launch.manifest, secrets, disk, doors) })
	return nil
}

func (w *workload) live(ctx context.Context, manifest *launchManifest, secrets *workloadSecrets, disk *stateDisk, doors map[string]bool) {
	defer close(w.done)
	redactor := newRedactor(secrets)
	w.mutex.Lock()
	w.redactor = redactor
	w.mutex.Unlock()
	err := guarded("workload", func() error {
		document, err := w.bringUp(ctx, manifest, secrets, disk, doors, redactor)
		if err != nil {
			return err
		}
		w.say("running", "every service was started")
		return w.watch(ctx, document, manifest.PublicService)
	})
	phase, words := "failed", ""
	switch {
	case ctx.Err() != nil:
		phase, words = "idle", "taken down"
	case errors.As(err, &endedPublic{}):
		phase, words = "ended", err.Error()
	default:
		words = redactor.public(err.Error())
	}
	// C: it is told when it is so.
	w.stopped = w.stopAll()
	w.say(phase, words)
}

func (w *workload) bringUp(ctx context.Context, manifest *launchManifest, secrets *workloadSecrets, disk *stateDisk,
	doors map[string]bool, redactor *redactor) (composeDocument, error) {
	compose := &compose{w.processes, redactor}
	none := composeDocument{}
	if err := compose.write(secrets); err != nil {
		return none, fmt.Errorf("the workload's files cannot be written: %w", err)
	}
	w.say("preparing", "opening the disk")
	if err := w.openStore(disk, secrets); err != nil {
		return none, err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return none, err
	}
	w.say("preparing", "starting podman")
	engine, err := startEngine(w.processes)
	if err != nil {
		return none, err
	}
	w.engine = engine
	// Compose reads its file while podman begins.
	type read struct {
		document composeDocument
		err      error
	}
	reading := make(chan read, 1)
	go func() {
		var document composeDocument
		err := guarded("compose", func() (err error) {
			document, err = compose.read(ctx, manifest)
			return err
		})
		reading <- read{document, err}
	}()
	err = engine.waitReady(ctx, w.api)
	result := <-reading
	if err == nil {
		err = result.err
	}
	if err == nil {
		err = w.removeLeft(ctx)
	}
	if err != nil {
		return none, err
	}
	pulling := &pulling{workload: w, manifest: manifest, compose: secrets.compose, logins: secrets.logins, doors: doors, redactor: redactor}
	homeless, err := pulling.all(ctx, result.document)
	if err != nil {
		return none, err
	}
	if err := compose.writeOverride(overrideOf(result.document, manifest, homeless)); err != nil {
		return none, err
	}
	w.say("starting", "starting the services")
	looking, stop := context.WithCancel(ctx)
	defer stop()
	// Services wait for the health of others, which nobody looks at but us.
	goGuarded("looking", func() { w.lookAfter(looking, newHealthChecks(w.api)) })
	if err := compose.up(ctx); err != nil {
		return none, err
	}
	return result.document, w.waitPublic(ctx, manifest.PublicService)
}

func (w *workload) openStore(disk *stateDisk, secrets *workloadSecrets) error {
	if disk != nil {
		if err := disk.open(w.processes, secrets.stateKey); err != nil {
			return fmt.Errorf("the state disk: %w", err)
		}
		return nil
	}
	if device := findDisk("scratch"); device != "" {
		if err := openScratch(w.processes, device); err != nil {
			return fmt.Errorf("the scratch disk: %w", err)
		}
		return nil
	}
	return openMemory()
}

// removeLeft: containers of an earlier start, with what they wrote beside their volumes. Named volumes stay.
func (w *workload) removeLeft(ctx context.Context) error {
	left, err := w.api.containers(ctx)
	if err != nil {
		return err
	}
	for _, each := range left {
		if err := w.api.removeContainer(ctx, each.Id); err != nil {
			return err
		}
	}
	return nil
}

// waitPublic: a start has succeeded when somebody who is let in now would be answered.
func (w *workload) waitPublic(ctx context.Context, public string) error {
	address := fmt.Sprintf("127.0.0.1:%d", publicLoopbackPort)
	w.say("starting", "waiting for the public service to listen")
	for end := time.Now().Add(listenWait); ; {
		all, err := w.api.containers(ctx)
		if err != nil {
			return err
		}
		w.saw(all)
		if stateOf(all, public) == "" {
			return fmt.Errorf("service %s ended as soon as it was started", public)
		}
		connection, err := net.DialTimeout("tcp4", address, time.Second)
		if err == nil {
			connection.Close()
			return nil
		}
		// Some listen much later, and some at no time; they run.
		if time.Now().After(end) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// stateOf: `running` when a container of the service runs, another state when one may still, "" when none does or will.
func stateOf(all []engineContainer, service string) string {
	state := ""
	for _, each := range all {
		if each.service() != service {
			continue
		}
		if each.runs() {
			return "running"
		}
		if each.State != "exited" && each.State != "dead" {
			state = each.State
		}
	}
	return state
}

// takeDown answers at once; status says when it is done.
func (w *workload) takeDown() {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.cancel != nil {
		w.cancel()
	}
}

// end takes it down within a limit, and answers whether that was done in order.
func (w *workload) end() bool {
	w.takeDown()
	w.mutex.Lock()
	done := w.done
	w.mutex.Unlock()
	if done == nil {
		return true
	}
	select {
	case <-done:
	case <-time.After(downLimit):
		return false
	}
	return w.stopped && (w.engine == nil || w.engine.end(engineEnd))
}

// stopAll: all at once, each with the time that it asked for as far as a machine has it. Answers whether none runs.
func (w *workload) stopAll() bool {
	if w.engine == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), downLimit-5*time.Second)
	defer cancel()
	all, err := w.api.containers(ctx)
	if err != nil {
		return false
	}
	var stopping sync.WaitGroup
	for _, each := range all {
		stopping.Add(1)
		goGuarded("stopping", func() {
			defer stopping.Done()
			w.api.stopContainer(ctx, each.Id, stopGrace)
		})
	}
	stopping.Wait()
	if all, err = w.api.containers(ctx); err != nil {
		return false
	}
	w.saw(all)
	for _, each := range all {
		if each.runs() {
			return false
		}
	}
	return true
}

func (w *workload) saw(all []engineContainer) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.seen = all
}
