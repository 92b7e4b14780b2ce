// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Looking after containers. Podman itself starts again what compose says is to be; where it did not for a while, as after it was
// killed itself, that is done here. Checks of health are done here alone: podman leaves them to systemd.
const (
	restartAfter   = 20 * time.Second
	silentMax      = 10
	healthEvery    = 30 * time.Second
	healthEveryMin = time.Second
)

// endedPublic is the end of the workload.
type endedPublic struct{ words string }

func (e endedPublic) Error() string { return e.words }

// watch answers when the public service ended for good, or is not wanted any more.
func (w *workload) watch(ctx context.Context, document composeDocument, public string) error {
	checks := newHealthChecks(w.api)
	since := map[string]time.Time{}
	for failures := 0; ; {
		all, err := w.api.containers(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			// Podman is being started again, as a rule.
			if failures++; failures > silentMax {
				return fmt.Errorf("podman does not answer")
			}
		} else {
			failures = 0
			w.saw(all)
			if ended := w.judge(ctx, document, all, public, since); ended != nil {
				return *ended
			}
			checks.run(ctx, all)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

func (w *workload) judge(ctx context.Context, document composeDocument, all []engineContainer, public string,
	since map[string]time.Time) *endedPublic {
	alive, lastCode := false, 0
	for _, each := range all {
		if each.State != "exited" {
			delete(since, each.Id)
			alive = alive || each.service() == public
			continue
		}
		if each.service() == public {
			lastCode = each.ExitCode
		}
		policy := policyOf(document.Services[each.service()])
		if !policy.again(each.ExitCode, each.Restarts) {
			continue
		}
		alive = alive || each.service() == public
		if since[each.Id].IsZero() {
			since[each.Id] = time.Now()
		} else if time.Since(since[each.Id]) > restartAfter {
			delete(since, each.Id)
			w.api.startContainer(ctx, each.Id)
		}
	}
	if alive {
		return nil
	}
	return &endedPublic{fmt.Sprintf("service %s ended with %d", public, lastCode)}
}

// restartPolicy of compose: whether, after which end, and how often (0: for ever).
type restartPolicy struct {
	kind     string
	timesMax int
}

func policyOf(service composeService) restartPolicy {
	if service.Restart != "" {
		kind, times, _ := strings.Cut(service.Restart, ":")
		count, _ := strconv.Atoi(times)
		return restartPolicy{kind, count}
	}
	if service.Deploy != nil && service.Deploy.RestartPolicy != nil {
		policy := service.Deploy.RestartPolicy
		kind := map[string]string{"none": "no", "on-failure": "on-failure", "any": "always", "": "always"}[policy.Condition]
		return restartPolicy{kind, policy.MaxAttempts}
	}
	return restartPolicy{kind: "no"}
}

func (p restartPolicy) again(exitCode, times int) bool {
	switch p.kind {
	case "always", "unless-stopped":
		return true
	case "on-failure":
		return exitCode != 0 && (p.timesMax == 0 || times < p.timesMax)
	}
	return false
}

// lookAfter is the part of watching that a start needs.
func (w *workload) lookAfter(ctx context.Context, checks *healthChecks) {
	for ctx.Err() == nil {
		if all, err := w.api.containers(ctx); err == nil {
			w.saw(all)
			checks.run(ctx, all)
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
}

// healthChecks runs each container's own check when it is due, and not while the one before is under way. One takes as long as
// it takes: those of different containers do not wait for each other.
type healthChecks struct {
	api  *engineApi
	each map[string]*healthCheck
}

type healthCheck struct {
	// 0 where there is nothing to check.
	every time.Duration
	next  time.Time
	busy  atomic.Bool
}

func newHealthChecks(api *engineApi) *healthChecks {
	return &healthChecks{api, map[string]*healthCheck{}}
}

func (h *healthChecks) run(ctx context.Context, all []engineContainer) {
	known := map[string]bool{}
	for _, each := range all {
		known[each.Id] = true
		if each.State != "running" {
			continue
		}
		check, looked := h.each[each.Id]
		if !looked {
			check = &healthCheck{every: h.intervalOf(ctx, each.Id)}
			h.each[each.Id] = check
		}
		if check.every == 0 || time.Now().Before(check.next) || check.busy.Swap(true) {
			continue
		}
		check.next = time.Now().Add(check.every)
		goGuarded("health", func() {
			defer check.busy.Store(false)
			h.api.ask(ctx, "GET", "/containers/"+each.Id+"/healthcheck", url.Values{}, nil)
		})
	}
	for id := range h.each {
		if !known[id] {
			delete(h.each, id)
		}
	}
}

// intervalOf is 0 where there is nothing to check.
func (h *healthChecks) intervalOf(ctx context.Context, id string) time.Duration {
	var facts struct {
		Config struct {
			Healthcheck *struct {
				Test     []string
				Interval time.Duration
			}
		}
	}
	if err := h.api.ask(ctx, "GET", "/containers/"+id+"/json", url.Values{}, &facts); err != nil {
		return 0
	}
	check := facts.Config.Healthcheck
	if check == nil || len(check.Test) == 0 || check.Test[0] == "NONE" {
		return 0
	}
	if check.Interval <= 0 {
		return healthEvery
	}
	return max(check.Interval, healthEveryMin)
}
