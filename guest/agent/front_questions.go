// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// What the front asks process 1, one line at a time in either direction. It may ask for a report and for a credential to be
// opened, which any stranger may ask for; nothing else is to be had on this socket.
type frontQuestion struct {
	Report   *reportQuestion   `json:"report,omitempty"`
	Activate *activateQuestion `json:"activate,omitempty"`
}

type reportQuestion struct {
	Nonce *string `json:"nonce"`
}

type activateQuestion struct {
	Credential string `json:"credential"`
	Secret     string `json:"secret"`
}

type frontAnswer struct {
	Evidence *evidence `json:"evidence,omitempty"`
	Secret   string    `json:"secret,omitempty"`
	// Of a question that cannot be answered, and of one that is malformed.
	Failed    bool `json:"failed,omitempty"`
	Malformed bool `json:"malformed,omitempty"`
}

var errBusy = errors.New("too many wait")

// asker lets one question through at a time, and a few wait: strangers cannot wear out the TPM or fill the queue to it.
type asker struct {
	connection net.Conn
	answers    *json.Decoder
	turn       chan struct{}
	waiting    atomic.Int32
}

func newAsker(connection net.Conn) *asker {
	return &asker{connection: connection, answers: json.NewDecoder(connection), turn: make(chan struct{}, 1)}
}

func (a *asker) ask(ctx context.Context, question frontQuestion) (frontAnswer, error) {
	line, err := json.Marshal(question)
	if err != nil {
		return frontAnswer{}, err
	}
	// A character may take six in JSON.
	if len(line)+1 >= questionBytesMax {
		return frontAnswer{Malformed: true}, nil
	}
	if a.waiting.Add(1) > questionsWaitingMax {
		a.waiting.Add(-1)
		return frontAnswer{}, errBusy
	}
	defer a.waiting.Add(-1)
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return frontAnswer{}, ctx.Err()
	}
	var answer frontAnswer
	_ = a.connection.SetDeadline(time.Now().Add(questionLimit))
	if _, err = a.connection.Write(append(line, '\n')); err == nil {
		err = a.answers.Decode(&answer)
	}
	if err != nil {
		// What comes later would be taken for the answer to the next question.
		os.Exit(1)
	}
	return answer, nil
}
