// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
)

// What the front says itself: the words and shapes of host/ingress/refusal.ts. Strangers read them.
type refusedWith struct {
	status  int
	name    string
	message string
}

var (
	malformed      = refusedWith{400, "malformed", "The request is malformed."}
	unknownHost    = refusedWith{404, "unknown-host", "Nothing is served under this name."}
	notFound       = refusedWith{404, "not-found", "There is nothing here."}
	methodRefused  = refusedWith{405, "method-refused", "This method is not served."}
	tooLarge       = refusedWith{413, "too-large", "The request is too large."}
	misdirected    = refusedWith{421, "misdirected", "This connection was made for another name."}
	attesterFailed = refusedWith{500, "attester-failed", "The report could not be made."}
	unreachable    = refusedWith{502, "unreachable", "The workload did not answer."}
	stopped        = refusedWith{503, "stopped", "The workload is not running."}
	busy           = refusedWith{503, "busy", "Too many requests for this workload are under way."}
	noAnswer       = refusedWith{504, "no-answer", "The workload took too long to answer."}
)

var jsonForm = regexp.MustCompile(`(?i)\bapplication/([\w.-]+\+)?json\b`)

func refuse(w http.ResponseWriter, r *http.Request, with refusedWith) {
	fields := w.Header()
	fields.Set("Content-Type", "text/plain; charset=utf-8")
	body := []byte(with.message + "\n")
	if jsonForm.MatchString(r.Header.Get("Accept")) {
		fields.Set("Content-Type", "application/json")
		body, _ = json.Marshal(map[string]any{"error": with.name, "status": with.status, "message": with.message})
		body = append(body, '\n')
	}
	fields.Set("Cache-Control", "no-store")
	fields.Set("X-Content-Type-Options", "nosniff")
	switch with.status {
	case http.StatusServiceUnavailable:
		fields.Set("Retry-After", "5")
	case http.StatusMethodNotAllowed:
		fields.Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
	case http.StatusBadRequest:
		// Where its body would begin or end is in doubt, and so is the next request.
		fields.Set("Connection", "close")
	}
	fields.Set("Content-Length", strconv.Itoa(len(body)))
	if exchange, is := w.(*held); is {
		exchange.stall = refusalStallLimit
	}
	w.WriteHeader(with.status)
	_, _ = w.Write(body)
}
