// SPDX-License-Identifier: Apache-2.0
package main

import "encoding/base64"

const (
	partBytesMax = 131072
	boxBytesMax  = 33554432
	partsMax     = boxBytesMax / partBytesMax
)

type partArgs struct {
	Part  *int    `json:"part"`
	Of    *int    `json:"of"`
	Bytes *string `json:"bytes"`
}

// payloadParts is a sealed box that comes in pieces: one box at a time, in order, and part 0 begins anew.
type payloadParts struct {
	of, next int
	bytes    []byte
}

// take forgets all that came when a part does not follow the one before.
func (p *payloadParts) take(given partArgs) error {
	wrong := func(words string) error {
		*p = payloadParts{}
		return refusal{"malformed", words}
	}
	if given.Part == nil || given.Of == nil || given.Bytes == nil {
		return wrong("a part has part, of and bytes")
	}
	part, of := *given.Part, *given.Of
	if of < 1 || of > partsMax || part < 0 || part >= of {
		return wrong("part is below of, and of is 256 at most")
	}
	if part == 0 {
		*p = payloadParts{of: of}
	}
	if p.of != of || p.next != part {
		return wrong("parts come in order, from 0")
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(*given.Bytes)
	if err != nil || len(decoded) == 0 || len(decoded) > partBytesMax {
		return wrong("bytes is base64 of 1 to 131072 bytes")
	}
	p.bytes = append(p.bytes, decoded...)
	p.next++
	return nil
}

// whole answers the box and forgets it.
func (p *payloadParts) whole() ([]byte, error) {
	if p.of == 0 || p.next != p.of {
		return nil, refusal{"failed", "the payload is not all here"}
	}
	box := p.bytes
	*p = payloadParts{}
	return box, nil
}
