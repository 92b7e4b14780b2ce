// SPDX-License-Identifier: Apache-2.0
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
)

// The front: HTTPS of this machine, in a process of its own. The attacker is any stranger on the network. What they can bring
// down is this process, which process 1 starts again; what they could take over has no file, no rights and the key for TLS of
// this boot alone. The sealing key and what was sealed to it are in process 1, which it can ask for evidence and nothing else.
//
// It inherits: 3, the socket that listens; 4, lines of settings, whose end is the end; 5, a socket for its questions.
const (
	frontWord      = "front"
	frontUid       = 64443
	frontListener  = 3
	frontSettings  = 4
	frontQuestions = 5
)

// settings is a line from process 1. The first has everything, later ones a new chain.
type settings struct {
	// PKCS #8 of the key for TLS.
	Key   []byte `json:"key,omitempty"`
	Chain string `json:"chain"`
	Facts *facts `json:"facts,omitempty"`
}

// facts are public.
type facts struct {
	Domains    []string `json:"domains"`
	Manifest   []byte   `json:"manifest"`
	SealingKey []byte   `json:"sealingKey"`
	Spki       []byte   `json:"spki"`
	// Where the public service is reached.
	Public string `json:"public"`
	// An empty folder that this process goes into; none if it is not root.
	Folder string `json:"folder"`
}

// runFront ends when process 1 or what it inherited does.
func runFront() error {
	lines := json.NewDecoder(os.NewFile(frontSettings, "settings"))
	var first settings
	if err := lines.Decode(&first); err != nil || first.Facts == nil {
		return fmt.Errorf("no settings: %w", err)
	}
	listener, err := net.FileListener(os.NewFile(frontListener, "listener"))
	if err != nil {
		return err
	}
	questions, err := net.FileConn(os.NewFile(frontQuestions, "questions"))
	if err != nil {
		return err
	}
	if err := confineFront(first.Facts.Folder); err != nil {
		return fmt.Errorf("confine: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(first.Key)
	if err != nil {
		return err
	}
	var served atomic.Pointer[tls.Certificate]
	serve := func(chain string) error {
		certificate, err := certificateOf(chain, key)
		if err == nil {
			served.Store(certificate)
		}
		return err
	}
	if err := serve(first.Chain); err != nil {
		return err
	}
	go func() {
		for {
			var next settings
			if err := lines.Decode(&next); err != nil || serve(next.Chain) != nil {
				os.Exit(0)
			}
		}
	}()
	server := newFrontServer(*first.Facts, newAsker(questions), &served)
	return server.ServeTLS(boundedListener(listener, connectionsMax), "", "")
}

// confineFront leaves nothing but what was inherited. Nobody reads this process's memory, the kernel ends it before any other
// when there is no more, and it gains no rights by what it would start: there is nothing in its root to start.
func confineFront(folder string) error {
	const setDumpable, setNoNewPrivileges = 4, 38
	debug.SetMemoryLimit(frontMemoryBytesSoft)
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		return err
	}
	for limit, value := range map[int]uint64{syscall.RLIMIT_NOFILE: frontFilesMax, syscall.RLIMIT_CORE: 0} {
		if err := syscall.Setrlimit(limit, &syscall.Rlimit{Cur: value, Max: value}); err != nil {
			return err
		}
	}
	if os.Getuid() == 0 {
		for _, step := range []func() error{
			func() error { return syscall.Chroot(folder) },
			func() error { return os.Chdir("/") },
			func() error { return syscall.Setgroups(nil) },
			func() error { return syscall.Setresgid(frontUid, frontUid, frontUid) },
			func() error { return syscall.Setresuid(frontUid, frontUid, frontUid) },
		} {
			if err := step(); err != nil {
				return err
			}
		}
	}
	for option, value := range map[uintptr]uintptr{setDumpable: 0, setNoNewPrivileges: 1} {
		if _, _, code := syscall.AllThreadsSyscall6(syscall.SYS_PRCTL, option, value, 0, 0, 0, 0); code != 0 {
			return code
		}
	}
	return nil
}

// certificateOf: process 1 has held the first to the key.
func certificateOf(chain string, key any) (*tls.Certificate, error) {
	certificate := &tls.Certificate{PrivateKey: key}
	for rest := []byte(chain); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certificate.Certificate = append(certificate.Certificate, block.Bytes)
	}
	if len(certificate.Certificate) == 0 {
		return nil, fmt.Errorf("no certificate")
	}
	return certificate, nil
}

func newFrontServer(known facts, asker *asker, served *atomic.Pointer[tls.Certificate]) *http.Server {
	return &http.Server{
		Handler: admission{
			facts:    known,
			attester: perConnection(attesterPerConnection, roomFor(attesterExchangesMax, newAttesterPages(known, asker))),
			workload: roomFor(exchangesMax, newWorkload(known.Public)),
			refusals: make(chan struct{}, refusalsMax),
		},
		ConnContext:       withConnection,
		ReadHeaderTimeout: handshakeLimit,
		IdleTimeout:       keepAliveLimit,
		MaxHeaderBytes:    headersBytesMax - 4096, // net/http lets 4096 bytes more pass
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: streamsPerConnection, WriteByteTimeout: clientStallLimit,
			SendPingTimeout: clientStallLimit, PingTimeout: keepAliveLimit,
			MaxReceiveBufferPerConnection: unreadBytesMax, MaxReceiveBufferPerStream: unreadBytesMax,
		},
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return served.Load(), nil },
		},
		// What strangers send is in its words: they would fill the console.
		ErrorLog: log.New(io.Discard, "", 0),
	}
}

// admission decides from a request's head alone whose it is.
type admission struct {
	facts    facts
	attester http.Handler
	workload http.Handler
	refusals chan struct{}
}

func (a admission) ServeHTTP(given http.ResponseWriter, r *http.Request) {
	w := holdExchange(given, r)
	ended := false
	defer func() {
		if !ended {
			w.cut()
		}
	}()
	a.serve(w, r)
	ended = true
	w.done(a.refusals)
}

func (a admission) serve(w *held, r *http.Request) {
	host := hostOf(r.Host)
	if r.Host == "" || r.TLS == nil {
		refuse(w, r, malformed)
		return
	}
	if r.Method == http.MethodConnect {
		refuse(w, r, methodRefused)
		return
	}
	// A client may use a connection again for any name that its certificate covers.
	if r.TLS.ServerName != "" && hostOf(r.TLS.ServerName) != host && !a.serves(host) {
		refuse(w, r, misdirected)
		return
	}
	if !a.serves(host) {
		refuse(w, r, unknownHost)
		return
	}
	target := r.RequestURI
	if !strings.HasPrefix(target, "/") {
		target = r.URL.RequestURI()
	}
	switch owner, path := ownerOf(target); owner {
	case ofAttester:
		r.URL.Path = path
		w.stall = attesterStallLimit
		a.attester.ServeHTTP(w, r)
	case ofVerifier:
		refuse(w, r, notFound)
	default:
		a.workload.ServeHTTP(w, r)
	}
}

func (a admission) serves(host string) bool {
	for _, domain := range a.facts.Domains {
		if domain == host {
			return true
		}
	}
	return false
}

// hostOf takes a port and the root's dot away.
func hostOf(name string) string {
	if at := strings.LastIndexByte(name, ':'); at >= 0 {
		name = name[:at]
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
