// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// What is written to a TPM and read from it (TPM 2.0 Library, parts 1 to 3): numbers most significant byte first, buffers
// with their size before them. The TPM of a virtual machine is a program of its host, so what it answers is the host's word:
// read with bounds, never believed here. Whoever judges a quote knows what it is worth.
const (
	tpmResponseMax = 4096
	tpmTries       = 100
	tpmPause       = 20 * time.Millisecond

	tpmNoSessions = 0x8001
	tpmSessions   = 0x8002

	tpmNull        = 0x40000007
	tpmPassword    = 0x40000009
	tpmEndorsement = 0x4000000b

	tpmCreatePrimary      = 0x131
	tpmActivateCredential = 0x147
	tpmNvRead             = 0x14e
	tpmPolicySecret       = 0x151
	tpmQuote              = 0x158
	tpmFlushContext       = 0x165
	tpmNvReadPublic       = 0x169
	tpmStartAuthSession   = 0x176
)

type tpmMessage struct{ bytes []byte }

func (m *tpmMessage) u8(value uint8)   { m.bytes = append(m.bytes, value) }
func (m *tpmMessage) u16(value uint16) { m.bytes = binary.BigEndian.AppendUint16(m.bytes, value) }
func (m *tpmMessage) u32(value uint32) { m.bytes = binary.BigEndian.AppendUint32(m.bytes, value) }
func (m *tpmMessage) raw(value []byte) { m.bytes = append(m.bytes, value...) }
func (m *tpmMessage) sized(value []byte) {
	m.u16(uint16(len(value)))
	m.raw(value)
}

// tpmAnswer is read in order; after a failed read every other one fails, and err says so once.
type tpmAnswer struct {
	bytes []byte
	err   error
}

func (a *tpmAnswer) raw(count int) []byte {
	if a.err != nil || count > len(a.bytes) {
		a.err = fmt.Errorf("the TPM's answer is cut off")
		return make([]byte, count)
	}
	taken := a.bytes[:count]
	a.bytes = a.bytes[count:]
	return taken
}

func (a *tpmAnswer) u16() int    { return int(binary.BigEndian.Uint16(a.raw(2))) }
func (a *tpmAnswer) u32() uint32 { return binary.BigEndian.Uint32(a.raw(4)) }
func (a *tpmAnswer) sized() []byte {
	return a.raw(a.u16())
}

// tpmRefusal is a response code: what the TPM did not want.
type tpmRefusal uint32

func (r tpmRefusal) Error() string { return fmt.Sprintf("the TPM refuses with 0x%x", uint32(r)) }

// passes: TPM_RC_RETRY, TPM_RC_TESTING and TPM_RC_YIELDED say that it was busy with itself.
func (r tpmRefusal) passes() bool { return r == 0x922 || r == 0x90a || r == 0x908 }

// tpmAsk sends one command: handles, then a password session without a password or another for each that authorises, then the
// parameters. Of the answer it leaves the handles and the parameters.
type tpmAsk struct {
	code       uint32
	handles    []uint32
	sessions   []uint32
	parameters []byte
	// How many handles the answer begins with.
	answers int
}

func (ask tpmAsk) on(device io.ReadWriter) (handles []uint32, answer *tpmAnswer, err error) {
	var body tpmMessage
	for _, handle := range ask.handles {
		body.u32(handle)
	}
	tag := uint16(tpmNoSessions)
	if len(ask.sessions) > 0 {
		tag = tpmSessions
		var area tpmMessage
		for _, session := range ask.sessions {
			area.u32(session)
			area.sized(nil) // nonce
			area.u8(1)      // continueSession; what is a session is flushed by who began it
			area.sized(nil) // of a password: the empty one
		}
		body.u32(uint32(len(area.bytes)))
		body.raw(area.bytes)
	}
	body.raw(ask.parameters)
	var whole tpmMessage
	whole.u16(tag)
	whole.u32(uint32(10 + len(body.bytes)))
	whole.u32(ask.code)
	whole.raw(body.bytes)
	for try := 0; ; try++ {
		// One write: to the kernel, a command is what is written at once.
		if _, err := device.Write(whole.bytes); err != nil {
			return nil, nil, err
		}
		if answer, err = readTpmAnswer(device); err == nil {
			break
		}
		if refused, is := err.(tpmRefusal); !is || !refused.passes() || try == tpmTries {
			return nil, nil, err
		}
		time.Sleep(tpmPause)
	}
	for count := 0; count < ask.answers; count++ {
		handles = append(handles, answer.u32())
	}
	if len(ask.sessions) > 0 {
		size := int(answer.u32())
		if size > len(answer.bytes) {
			return nil, nil, fmt.Errorf("the TPM's answer is cut off")
		}
		answer.bytes = answer.bytes[:size]
	}
	return handles, answer, answer.err
}

// readTpmAnswer: the kernel answers whole, a socket in pieces.
func readTpmAnswer(device io.Reader) (*tpmAnswer, error) {
	buffer := make([]byte, tpmResponseMax)
	count, size := 0, 10
	for count < size {
		got, err := device.Read(buffer[count:])
		count += got
		if err != nil {
			return nil, fmt.Errorf("the TPM does not answer: %w", err)
		}
		if count >= 10 {
			if size = int(binary.BigEndian.Uint32(buffer[2:])); size < 10 || size > len(buffer) {
				return nil, fmt.Errorf("the TPM's answer has no size")
			}
		}
	}
	if code := binary.BigEndian.Uint32(buffer[6:]); code != 0 {
		return nil, tpmRefusal(code)
	}
	return &tpmAnswer{bytes: buffer[10:size]}, nil
}
