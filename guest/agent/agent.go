// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

const protocolVersion = 1

// agent answers one question after the other: the order of answers is the order of questions, and nothing is shared.
type agent struct {
	port       *port
	processes  *processes
	launchHash string
	bootId     string
	started    time.Time
	greeted    bool
	claim      *claimState
	workload   *workload
	// Of a machine that is one; nil before its box was opened.
	instance *instance
	places   places
}

// refusal is an answer that the host reads by its code.
type refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (r refusal) Error() string { return r.Message }

type question struct {
	Id   *int64          `json:"id"`
	Op   string          `json:"op"`
	Args json.RawMessage `json:"args"`
}

type greeting struct {
	Hello *struct {
		Protocols []int  `json:"protocols"`
		Session   string `json:"session"`
	} `json:"hello"`
}

func newAgent(launchHash string, all *processes) (*agent, error) {
	opened, err := openPort()
	if err != nil {
		return nil, err
	}
	return &agent{port: opened, processes: all, launchHash: launchHash, bootId: randomHex(), started: time.Now(), places: machinePlaces}, nil
}

// serve answers when the port is lost.
func (a *agent) serve() error {
	for {
		given, err := a.port.next()
		if err != nil {
			return err
		}
		var said any
		var after func()
		switch {
		case given.gone:
			a.greeted = false
			continue
		case given.tooLong:
			said = failure(nil, refusal{"too-large", fmt.Sprintf("a line is %d bytes at most", frameBytesMax)})
		default:
			said, after = a.answer(given.line)
		}
		if err := a.say(said); err != nil {
			return err
		}
		if after != nil {
			after()
		}
	}
}

func (a *agent) say(value any) error {
	line, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if _, welcome := value.(map[string]any)["welcome"]; welcome {
		line = append([]byte("\n"), line...)
	}
	return a.port.write(append(line, '\n'))
}

func (a *agent) answer(line []byte) (any, func()) {
	if hello := (greeting{}); readStrictly(line, &hello) == nil && hello.Hello != nil {
		return a.welcome(hello.Hello.Session, hello.Hello.Protocols), nil
	}
	if !a.greeted {
		return failure(nil, refusal{"no-session", "a conversation begins with hello"}), nil
	}
	var asked question
	if err := readStrictly(line, &asked); err != nil {
		return failure(nil, refusal{"malformed", "a question is one object with id, op and args"}), nil
	}
	if asked.Id == nil || *asked.Id < 1 || *asked.Id >= 1<<53 {
		return failure(nil, refusal{"malformed", "id is an integer from 1"}), nil
	}
	ok, after, err := a.do(asked)
	if err != nil {
		return failure(asked.Id, err), nil
	}
	return map[string]any{"id": *asked.Id, "ok": ok}, after
}

func (a *agent) welcome(session string, protocols []int) any {
	var chosen any
	a.greeted = false
	for _, each := range protocols {
		if each == protocolVersion {
			chosen, a.greeted = protocolVersion, true
		}
	}
	return map[string]any{"welcome": map[string]any{
		"session": session, "protocol": chosen, "agent": version, "bootId": a.bootId, "claimed": a.claim.done(),
	}}
}

func (a *agent) do(asked question) (ok any, after func(), err error) {
	known, exists := operations[asked.Op]
	if !exists {
		return nil, nil, refusal{"unknown-operation", "there is no such operation"}
	}
	if !known.beforeClaim && !a.claim.done() {
		return nil, nil, refusal{"not-claimed", "this machine was not claimed yet"}
	}
	err = guarded(asked.Op, func() (err error) {
		ok, after, err = known.do(a, asked.Args)
		return err
	})
	return ok, after, err
}

func failure(id *int64, err error) map[string]any {
	var known refusal
	if !errors.As(err, &known) {
		known = refusal{"failed", err.Error()}
	}
	return map[string]any{"id": id, "error": known}
}

// readStrictly refuses unknown members and whatever follows the value.
func readStrictly(bytes_ []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(bytes_))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return refusal{"malformed", "a member is missing, unknown, or of another kind"}
	}
	if _, err := decoder.Token(); err != io.EOF {
		return refusal{"malformed", "more than one value on a line"}
	}
	return nil
}

func randomHex() string {
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		panic(err)
	}
	return hex.EncodeToString(random)
}
