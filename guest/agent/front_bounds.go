// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// bounded takes as many connections as there is room for; the next is closed at once, and its sender tries again.
type bounded struct {
	net.Listener
	room chan struct{}
}

func boundedListener(inner net.Listener, max int) net.Listener {
	return bounded{inner, make(chan struct{}, max)}
}

func (b bounded) Accept() (net.Conn, error) {
	for {
		connection, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case b.room <- struct{}{}:
			return &counted{Conn: connection, leave: func() { <-b.room }}, nil
		default:
			connection.Close()
		}
	}
}

// roomFor counts what is under way, whatever its connection: a client of HTTP/2 has many on one. Each owner has a room of its own,
// so that a crowd before the workload does not hide what the machine is, nor one before its pages the workload.
func roomFor(max int, inner http.Handler) http.Handler {
	room := make(chan struct{}, max)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case room <- struct{}{}:
			defer func() { <-room }()
			inner.ServeHTTP(w, r)
			if exchange, is := w.(*held); is {
				exchange.rest()
			}
		default:
			refuse(w, r, busy)
		}
	})
}

type counted struct {
	net.Conn
	left  atomic.Bool
	leave func()
}

func (c *counted) Close() error {
	err := c.Conn.Close()
	if !c.left.Swap(true) {
		c.leave()
	}
	return err
}

// held bounds what a client may hold of an exchange: the next byte of its body, or the answer that it does not read, come within
// clientStallLimit, also when the handler is done and the server takes what is left of the body or gives what is left of the
// answer. Between two reads or writes nobody owes anything: an answer may be long in the making.
//
// In HTTP/1.1 deadlines are the connection's. The server looks ahead on it once a body has ended, and a deadline that is met
// then ends the request: so it is lifted at that end, and at no other; the server takes what is left of a body under it. In HTTP/2 they are the stream's, a met one
// ends that part of it for good, and nothing is read after the handler: so it is lifted after each.
type held struct {
	http.ResponseWriter
	control *http.ResponseController
	ofHttp1 bool
	// When all of its body is to be here; zero: when it comes.
	bodyBy time.Time
	stall  time.Duration
	rested bool
}

func holdExchange(w http.ResponseWriter, r *http.Request) *held {
	h := &held{
		ResponseWriter: w, control: http.NewResponseController(w), ofHttp1: r.ProtoMajor == 1, stall: clientStallLimit,
	}
	if h.ofHttp1 && r.ContentLength != 0 {
		_ = h.control.SetReadDeadline(time.Now().Add(clientStallLimit))
	}
	r.Body = heldBody{r.Body, h}
	return h
}

// rest is after the handler's last word, and before its room is another's. In HTTP/2 what a client does not take stays with its
// stream when the handler is gone, and it may have a hundred on each connection: so here that is waited for.
func (h *held) rest() {
	h.rested = true
	limit := h.stall
	if h.ofHttp1 {
		// The connection's, which later requests have, too.
		limit = clientStallLimit
	}
	_ = h.control.SetWriteDeadline(time.Now().Add(limit))
	if !h.ofHttp1 {
		_ = h.control.Flush()
	}
}

// done is after what was in no room, as a refusal: it has one of its own, and where that is full the stream is reset.
func (h *held) done(refusals chan struct{}) {
	if h.rested || h.ofHttp1 {
		h.rest()
		return
	}
	select {
	case refusals <- struct{}{}:
		defer func() { <-refusals }()
		h.rest()
	default:
		panic(http.ErrAbortHandler)
	}
}

// cut is before an exchange that was given up is closed: nothing more is owed of it but the bytes under way.
func (h *held) cut() {
	_ = h.control.SetWriteDeadline(time.Now().Add(clientStallLimit))
}

// connection is what is counted of one.
type connection struct{ attester atomic.Int32 }

type connectionKey struct{}

func withConnection(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, &connection{})
}

// perConnection is roomFor of one client.
func perConnection(max int32, inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted, is := r.Context().Value(connectionKey{}).(*connection)
		if !is || counted.attester.Add(1) > max {
			if is {
				counted.attester.Add(-1)
			}
			refuse(w, r, busy)
			return
		}
		defer counted.attester.Add(-1)
		inner.ServeHTTP(w, r)
	})
}

func (h *held) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func (h *held) Write(bytes []byte) (int, error) {
	_ = h.control.SetWriteDeadline(time.Now().Add(h.stall))
	count, err := h.ResponseWriter.Write(bytes)
	_ = h.control.SetWriteDeadline(time.Time{})
	return count, err
}

func (h *held) FlushError() error {
	_ = h.control.SetWriteDeadline(time.Now().Add(h.stall))
	err := h.control.Flush()
	_ = h.control.SetWriteDeadline(time.Time{})
	return err
}

// wholeBodyWithin ends a body that drips: one that is held in memory, and not given on, may not take its time.
func wholeBodyWithin(limit time.Duration, r *http.Request) {
	if body, is := r.Body.(heldBody); is {
		body.exchange.bodyBy = time.Now().Add(limit)
	}
}

type heldBody struct {
	io.ReadCloser
	exchange *held
}

func (b heldBody) Read(into []byte) (int, error) {
	by := time.Now().Add(clientStallLimit)
	if last := b.exchange.bodyBy; !last.IsZero() && last.Before(by) {
		by = last
	}
	_ = b.exchange.control.SetReadDeadline(by)
	count, err := b.ReadCloser.Read(into)
	if err == io.EOF || !b.exchange.ofHttp1 {
		_ = b.exchange.control.SetReadDeadline(time.Time{})
	}
	return count, err
}
