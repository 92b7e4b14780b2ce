// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
)

// launchManifest is what this machine was started to run (evidence/launch/manifest.ts): its SHA-256 is on the measured command
// line. A verifier reads the same bytes with another reader, so what two could read in two ways is refused: a member twice,
// one in other letters, one that is missing.
type launchManifest struct {
	V             int               `json:"v"`
	Compose       string            `json:"compose"`
	Files         map[string]string `json:"files"`
	Domains       []string          `json:"domains"`
	PublicService string            `json:"publicService"`
	PublicPort    int               `json:"publicPort"`
	Images        map[string]string `json:"images"`
	StateDisk     bool              `json:"stateDisk"`
	// "instance": one that somebody logs in to, which has Agent and StateDisk alone; "" for a workload.
	Kind  string `json:"kind"`
	Agent string `json:"agent"`
}

const (
	kindInstance     = "instance"
	manifestBytesMax = 131072
	domainsMax       = 32
	jsonDepthMax     = 32
)

var agentForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

var domainForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

func parseManifest(text []byte) (*launchManifest, error) {
	wrong := func(words string) error { return refusal{"malformed", "the launch manifest " + words} }
	if len(text) > manifestBytesMax {
		return nil, wrong("is too large")
	}
	var parsed launchManifest
	if readExactly(text, &parsed, "v", "kind", "agent", "stateDisk") == nil {
		if parsed.V != 1 || parsed.Kind != kindInstance || !agentForm.MatchString(parsed.Agent) {
			return nil, wrong("is of another version or kind")
		}
		return &parsed, nil
	}
	parsed = launchManifest{}
	names := []string{"v", "compose", "files", "domains", "publicService", "publicPort", "images", "stateDisk"}
	if err := readExactly(text, &parsed, names...); err != nil {
		return nil, wrong("has not exactly its members, each once")
	}
	if parsed.V != 1 || parsed.Files == nil || parsed.Domains == nil || parsed.Images == nil {
		return nil, wrong("is of another version, or a member is null")
	}
	if !isHash(parsed.Compose) || parsed.PublicService == "" || parsed.PublicPort < 1 || parsed.PublicPort > 65535 {
		return nil, wrong("has a member of another form")
	}
	for _, hash := range parsed.Files {
		if !isHash(hash) {
			return nil, wrong("has a file without a hash")
		}
	}
	if len(parsed.Domains) > domainsMax {
		return nil, wrong("has too many domains")
	}
	for _, domain := range parsed.Domains {
		if len(domain) > 253 || !domainForm.MatchString(domain) {
			return nil, wrong("has a domain that is none")
		}
	}
	return &parsed, nil
}

// readExactly reads an object that has these members and no others, written like this, and nowhere in it a name twice.
func readExactly(text []byte, into any, names ...string) error {
	if err := refuseTwice(text); err != nil {
		return err
	}
	var members map[string]json.RawMessage
	if err := readStrictly(text, &members); err != nil {
		return err
	}
	if len(members) != len(names) {
		return refusal{"malformed", "a member is missing or unknown"}
	}
	for _, name := range names {
		if value, has := members[name]; !has || string(value) == "null" {
			return refusal{"malformed", "a member is missing or null"}
		}
	}
	return readStrictly(text, into)
}

// refuseTwice: of two members of one name, readers take the first or the last.
func refuseTwice(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	var open []map[string]bool // of each object or array that is open; nil for an array
	isName := false
	for {
		token, err := decoder.Token()
		if err != nil {
			return refusal{"malformed", "it is no JSON"}
		}
		switch token {
		case json.Delim('{'):
			open = append(open, map[string]bool{})
		case json.Delim('['):
			open = append(open, nil)
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		default:
			if name, text := token.(string); text && isName {
				if open[len(open)-1][name] {
					return refusal{"malformed", "a member is said twice"}
				}
				open[len(open)-1][name] = true
				isName = false
				continue
			}
		}
		if len(open) == 0 {
			return nil
		}
		if len(open) > jsonDepthMax {
			return refusal{"malformed", fmt.Sprintf("it is deeper than %d", jsonDepthMax)}
		}
		// In an object, a name comes after what opened it and after each value.
		isName = open[len(open)-1] != nil
	}
}
