// SPDX-License-Identifier: Apache-2.0
package main

import "time"

// What a stranger may hold of the front, and for how long; the numbers of host/ingress/limits.ts where they mean the same.
// Everyone comes through the host's ingress and has its address, so nothing is counted by address here: the ingress does.
const (
	handshakeLimit   = 10 * time.Second // also of a request's head: slowloris
	keepAliveLimit   = 15 * time.Second
	clientStallLimit = 60 * time.Second
	// Of answers that the front gives itself, which are short: a client of HTTP/2 can have many on one connection, and take none.
	refusalStallLimit    = 5 * time.Second
	attesterStallLimit   = 15 * time.Second
	connectLimit         = 5 * time.Second
	answerSilenceLimit   = 600 * time.Second
	tunnelSilenceLimit   = 3600 * time.Second
	poolIdleLimit        = 4 * time.Second
	headersBytesMax      = 16 * 1024
	answerHeadersMax     = 64 * 1024
	connectionsMax       = 1024
	exchangesMax         = 1024 // of the workload's
	attesterExchangesMax = 64
	// Of one connection's: one client is not to be all who ask.
	attesterPerConnection = 8
	// Refusals that were not taken yet; what is beyond is reset.
	refusalsMax          = 256
	streamsPerConnection = 100
	// What a connection of HTTP/2 may send that nobody took yet.
	unreadBytesMax       = 256 * 1024
	poolMax              = 32
	frontMemoryBytesSoft = 128 << 20
	frontFilesMax        = 4096

	// Evidence is made one at a time; a TPM takes a second for it.
	questionsWaitingMax = 8
	questionLimit       = 60 * time.Second
	questionBytesMax    = 16 * 1024
	activateBodyMax     = 8 * 1024
	activateBodyLimit   = 10 * time.Second
	// What binds no nonce says the same for as long as the keys live.
	plainReportAge = 60 * time.Second
)
