// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bufio"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// frontProcess is process 1's side of the front: it starts it, gives it the key and the chain, answers what it asks, and starts
// it again when it ends. The socket stays open meanwhile, so who connects then waits and is not turned away.
//
// The front may be in a stranger's hands. All that process 1 reads of it is its questions: bounded lines, read strictly.
type frontProcess struct {
	processes *processes
	attester  *attester
	facts     facts
	key       []byte
	listener  *os.File

	mutex sync.Mutex
	chain string
	// Of the one that runs; nil when none does.
	settings *os.File
	over     bool
}

const (
	frontPause   = 250 * time.Millisecond
	frontWordMax = 512
	// A new process reads at once, but a machine under emulation may be slow to make one.
	frontTellLimit = 30 * time.Second
)

func startFront(all *processes, at places, claimed *claimState, chain string) (*frontProcess, error) {
	if err := os.MkdirAll(at.frontFolder, 0o555); err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(claimed.keys.tls)
	if err != nil {
		return nil, err
	}
	listener, err := at.listen()
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return nil, err
	}
	started := &frontProcess{
		processes: all, attester: claimed.attester, key: key, listener: file, chain: chain,
		facts: facts{
			Domains: claimed.launch.manifest.Domains, Manifest: claimed.launch.bytes, Spki: claimed.keys.spki,
			SealingKey: claimed.keys.sealing.PublicKey().Bytes(), Public: at.public, Folder: at.frontFolder,
		},
	}
	ended, err := started.start()
	if err != nil {
		file.Close()
		return nil, err
	}
	go started.keep(ended)
	return started, nil
}

// replace gives the front another chain, now and whenever it is started again.
func (f *frontProcess) replace(chain string) error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.chain = chain
	if f.settings != nil {
		f.tell(settings{Chain: chain})
	}
	return nil
}

// end is before the machine's: what ends from here on is not started again.
func (f *frontProcess) end() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.over = true
}

func (f *frontProcess) keep(ended <-chan syscall.WaitStatus) {
	for {
		<-ended
		f.mutex.Lock()
		f.settings.Close()
		f.settings = nil
		over := f.over
		f.mutex.Unlock()
		if over {
			return
		}
		for {
			time.Sleep(frontPause)
			var err error
			if ended, err = f.start(); err == nil {
				break
			}
			logLine("the front cannot be started: " + err.Error())
		}
	}
}

func (f *frontProcess) start() (<-chan syscall.WaitStatus, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	questions, theirs := os.NewFile(uintptr(pair[0]), "questions"), os.NewFile(uintptr(pair[1]), "theirs")
	defer theirs.Close()
	settingsEnd, settingsStart, err := os.Pipe()
	if err != nil {
		questions.Close()
		return nil, err
	}
	defer settingsEnd.Close()
	said, saying, err := os.Pipe()
	if err != nil {
		questions.Close()
		settingsStart.Close()
		return nil, err
	}
	defer saying.Close()
	ended, err := f.spawn(saying, settingsEnd, theirs)
	if err == nil {
		f.mutex.Lock()
		defer f.mutex.Unlock()
		f.settings = settingsStart
		f.tell(settings{Key: f.key, Chain: f.chain, Facts: &f.facts})
		go f.answerAll(questions)
		go logFirst(said)
		return ended, nil
	}
	for _, each := range []*os.File{questions, settingsStart, said} {
		each.Close()
	}
	return nil, err
}

func (f *frontProcess) spawn(output, settings, questions *os.File) (<-chan syscall.WaitStatus, error) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	// Under the lock, so that it cannot have ended before it is known as ours.
	f.processes.mutex.Lock()
	defer f.processes.mutex.Unlock()
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"casemate", frontWord}, &syscall.ProcAttr{
		Env:   []string{},
		Files: []uintptr{null.Fd(), output.Fd(), output.Fd(), f.listener.Fd(), settings.Fd(), questions.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, err
	}
	ended := make(chan syscall.WaitStatus, 1)
	f.processes.ours[pid] = ended
	return ended, nil
}

// tell ends a front that does not take it whole: with the pipe closed, it ends, and is started again and told all.
func (f *frontProcess) tell(said settings) {
	line, err := json.Marshal(said)
	if err == nil {
		_ = f.settings.SetWriteDeadline(time.Now().Add(frontTellLimit))
		_, err = f.settings.Write(append(line, '\n'))
	}
	if err != nil {
		f.settings.Close()
	}
}

// answerAll ends with the front, or with the first line of it that is no question: then the front's side is closed and it ends.
// A line that is too long is passed over and answered: no stranger's question is to end the connections of all.
func (f *frontProcess) answerAll(questions *os.File) {
	defer questions.Close()
	// A fault of ours here must not be the end of the machine.
	defer func() {
		if fault := recover(); fault != nil {
			logLine("answering the front failed")
		}
	}()
	lines := bufio.NewReaderSize(questions, questionBytesMax)
	for {
		given, err := lines.ReadSlice('\n')
		answer := frontAnswer{Malformed: true}
		if err == bufio.ErrBufferFull {
			for err == bufio.ErrBufferFull {
				_, err = lines.ReadSlice('\n')
			}
		} else if err == nil {
			var asked frontQuestion
			if readStrictly(given, &asked) != nil || (asked.Report == nil) == (asked.Activate == nil) {
				return
			}
			answer = f.answer(asked)
		}
		if err != nil {
			return
		}
		line, err := json.Marshal(answer)
		if err != nil {
			return
		}
		if _, err := questions.Write(append(line, '\n')); err != nil {
			return
		}
	}
}

func (f *frontProcess) answer(asked frontQuestion) frontAnswer {
	var answer frontAnswer
	var err error
	f.attester.turns.forStranger(func() {
		if asked.Report != nil {
			var made evidence
			made, err = f.attester.make(purposeReport, asked.Report.Nonce)
			answer.Evidence = &made
		} else {
			answer.Secret, err = f.attester.activate(asked.Activate.Credential, asked.Activate.Secret)
		}
	})
	var known refusal
	if errors.As(err, &known) {
		return frontAnswer{Malformed: true}
	}
	if err != nil {
		return frontAnswer{Failed: true}
	}
	return answer
}

// logFirst: the first words of a fault, and nothing of what a stranger might have it say after.
func logFirst(said *os.File) {
	defer said.Close()
	buffer := make([]byte, frontWordMax)
	for first := true; ; first = false {
		count, err := said.Read(buffer)
		if err != nil {
			return
		}
		if first {
			line, _, _ := strings.Cut(string(buffer[:count]), "\n")
			logLine("front: " + strings.ToValidUTF8(line, "?"))
		}
	}
}
