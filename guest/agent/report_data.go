// SPDX-License-Identifier: Apache-2.0
package main

import (
	"crypto/sha256"
	"strings"
)

const (
	purposeReport = "report"
	purposeSeal   = "seal"
	purposeLogin  = "login"
	nonceBytesMin = 16
	nonceBytesMax = 64
)

// reportData is the 64 bytes that evidence binds (evidence/launch/report-data.ts); the first says which of four forms they have,
// so that evidence for one use is none for another. A nil nonce is only for reports.
func (i *identity) reportData(purpose string, nonce []byte) [64]byte {
	var data [64]byte
	served := sha256.Sum256(i.spki)
	copy(data[1:33], served[:])
	if nonce == nil {
		return data
	}
	data[0] = 1
	bound := append([]byte{}, nonce...)
	if purpose == purposeSeal {
		data[0] = 2
		bound = append(bound, i.sealing.PublicKey().Bytes()...)
	}
	fresh := sha256.Sum256(bound)
	copy(data[33:], fresh[:31])
	return data
}

// login is what one is told of a machine that people log in to: by which keys they know it, and whose it is.
type login struct {
	hostKeys                []string
	hostname, authorizedKey string
}

func (l login) reportData(nonce []byte) [64]byte {
	var data [64]byte
	data[0] = 3
	lines := func(texts ...string) [32]byte { return sha256.Sum256([]byte(strings.Join(append(texts, ""), "\n"))) }
	keys, claim := lines(l.hostKeys...), lines(l.hostname, l.authorizedKey)
	copy(data[1:33], keys[:])
	fresh := sha256.Sum256(append(append([]byte{}, nonce...), claim[:]...))
	copy(data[33:], fresh[:31])
	return data
}
