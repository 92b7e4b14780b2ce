// SPDX-License-Identifier: Apache-2.0
package main

import (
	"net/http"
	"regexp"
	"strings"
)

// Header fields on their way to the workload. What says who the client is, is ours to say (host/ingress/fields.ts, B): the
// attacker sends its own to pass a workload's allow list. Names with `_` for `-` count, since gateways that make variables of
// fields cannot tell the two apart; `Proxy` becomes HTTP_PROXY there.
var oursToSay = regexp.MustCompile(`^(x-forwarded-.*|x-casemate-.*|forwarded|x-real-ip|proxy)$`)

func removeOurs(fields http.Header) {
	for name := range fields {
		if oursToSay.MatchString(strings.ReplaceAll(strings.ToLower(name), "_", "-")) {
			delete(fields, name)
		}
	}
}

var (
	upgradeForm  = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~/-]+$")
	otherHttp    = regexp.MustCompile(`(?i)^(h2c|h2|http|tls)(/|$)`)
	upgradeToken = "Upgrade"
)

// keepUpgrade: to one protocol, and not to another HTTP. In a tunnel of that, the attacker would ask for paths where nobody looks
// any more. Without it, what asks for an upgrade is an ordinary request.
func keepUpgrade(r *http.Request) bool {
	asked := r.Header.Values(upgradeToken)
	return len(asked) == 1 && r.Method == http.MethodGet && r.ProtoMajor == 1 && r.ProtoMinor == 1 &&
		r.ContentLength == 0 && upgradeForm.MatchString(asked[0]) && !otherHttp.MatchString(asked[0])
}
