// SPDX-License-Identifier: Apache-2.0
package main

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Whose a path is: `/nilcc` is the attester's, as host/ingress/paths.ts reads it. What a verifier reads there must never come from
// the workload that it is about. The attacker owns a workload and a link that somebody else follows, spelt so that it is passed
// on and the workload answers as the attester would. So a path is read as the most forgiving server would read it: percent-encoding
// undone as often as it was applied, backslashes as slashes, empty segments, dots and `;parameters` gone.
const decodedTimesMax = 4

type pathOwner int

const (
	ofWorkload pathOwner = iota
	ofAttester
	// Who verifies that a name is somebody's calls here: no workload may have a certificate signed for its name.
	ofVerifier
)

var (
	percentForm  = regexp.MustCompile(`%[0-7][0-9a-fA-F]`)
	verifierPath = []string{".well-known", "acme-challenge"}
)

// ownerOf answers for the attester also the path as it is meant, without what comes after a question mark.
func ownerOf(target string) (owner pathOwner, path string) {
	if end := strings.IndexAny(target, "?#"); end >= 0 {
		target = target[:end]
	}
	text := target
	for times := 0; times < decodedTimesMax; times++ {
		next := percentForm.ReplaceAllStringFunc(text, func(code string) string {
			value, _ := strconv.ParseUint(code[1:], 16, 8)
			return string([]byte{byte(value)})
		})
		if next == text {
			break
		}
		text = next
	}
	var segments, resolved []string
	for _, segment := range strings.Split(strings.ReplaceAll(text, `\`, "/"), "/") {
		segment, _, _ = strings.Cut(segment, ";")
		if segment == "" || segment == "." {
			continue
		}
		segments = append(segments, segment)
		if segment != ".." {
			resolved = append(resolved, segment)
		} else if len(resolved) > 0 {
			resolved = resolved[:len(resolved)-1]
		}
	}
	begins := func(with ...string) bool {
		return len(segments) >= len(with) && slices.Equal(segments[:len(with)], with) ||
			len(resolved) >= len(with) && slices.Equal(resolved[:len(with)], with)
	}
	if begins("nilcc") {
		for at := range resolved {
			resolved[at] = url.PathEscape(resolved[at])
		}
		return ofAttester, "/" + strings.Join(resolved, "/")
	}
	if begins(verifierPath...) {
		return ofVerifier, ""
	}
	return ofWorkload, ""
}
