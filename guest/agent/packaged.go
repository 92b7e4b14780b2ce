// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// packagedAgent is what the image says of the agent that is baked into it (images/agents): how it is started, as whom, with which
// settings, and where it answers that it is well. It is measured with the image. The program is a stranger's work: it runs as a user of
// its own, and what it says is lines of a log that are bounded.
//
//	A. Settings come of the image's text and of the claim, and are written before each start of the machine, for its user alone.
//	B. The word that its own API asks for is made in here and known to nobody outside.
//	C. It is started again when it ends, later each time, until it has run for a while.
type packagedAgent struct {
	V    int    `json:"v"`
	Name string `json:"name"`
	User struct {
		Name string `json:"name"`
		Id   uint32 `json:"id"`
		Home string `json:"home"`
	} `json:"user"`
	Command     []string          `json:"command"`
	Environment map[string]string `json:"environment"`
	Health      struct {
		Port int    `json:"port"`
		Path string `json:"path"`
	} `json:"health"`
	Config struct {
		Path       string         `json:"path"`
		Content    map[string]any `json:"content"`
		WithModels map[string]any `json:"withModels"`
	} `json:"config"`
	// Where people log in, and where it runs with them; empty: the machine's own.
	root string
}

const (
	packagedFile  = "/etc/casemate-agent.json"
	noAgent       = "none"
	packagedBytes = 1 << 20
	// Many seconds where a processor runs it, and minutes where one is emulated.
	packagedLimit    = 15 * time.Minute
	packagedTriesMax = 5
	packagedPause    = time.Second
	packagedPauseMax = time.Minute
	packagedCalm     = time.Minute
	packagedLook     = time.Second
	packagedLogMax   = 4 << 20
	packagedLineMax  = 4096
)

// readPackaged answers nil for a machine without an agent.
func readPackaged(file, wanted string) (*packagedAgent, error) {
	if wanted == noAgent {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil || len(text) > packagedBytes {
		return nil, fmt.Errorf("the image has no agent %s", wanted)
	}
	var read packagedAgent
	if err := readStrictly(text, &read); err != nil {
		return nil, fmt.Errorf("what the image says of its agent cannot be read")
	}
	if read.V != 1 || read.Name != wanted || len(read.Command) == 0 || read.User.Id == 0 || !filepath.IsAbs(read.User.Home) {
		return nil, fmt.Errorf("the agent of the image is not %s", wanted)
	}
	return &read, nil
}

// settings: A. Without models to ask it is one that can be given some later.
func (p *packagedAgent) settings(models *inferenceAccess, secret string) ([]byte, error) {
	words := []string{"<secret>", secret}
	all := map[string]any{}
	for name, value := range p.Config.Content {
		all[name] = value
	}
	if models != nil {
		words = append(words, "<baseUrl>", models.BaseUrl, "<token>", models.Token, "<model>", models.Model)
		for name, value := range p.Config.WithModels {
			all[name] = value
		}
	}
	return json.MarshalIndent(replaced(all, strings.NewReplacer(words...)), "", "  ")
}

func replaced(value any, words *strings.Replacer) any {
	switch known := value.(type) {
	case string:
		return words.Replace(known)
	case []any:
		for at := range known {
			known[at] = replaced(known[at], words)
		}
	case map[string]any:
		for name := range known {
			known[name] = replaced(known[name], words)
		}
	}
	return value
}

// prepare makes its home and writes its settings. What people have put in their root is not followed out of it.
func (p *packagedAgent) prepare(models *inferenceAccess) error {
	text, err := p.settings(models, randomHex()+randomHex())
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(filepath.Join("/", p.root))
	if err != nil {
		return err
	}
	defer root.Close()
	home := strings.TrimPrefix(p.User.Home, "/")
	file := filepath.Join(home, p.Config.Path)
	for _, folder := range []string{home, filepath.Dir(file)} {
		if err := root.Mkdir(folder, 0o700); err != nil && !os.IsExist(err) {
			return err
		}
		if err := p.own(root, folder, os.O_RDONLY, nil); err != nil {
			return err
		}
	}
	if err := root.Remove(file); err != nil && !os.IsNotExist(err) {
		return err
	}
	return p.own(root, file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, text)
}

// own gives a file or a folder to the agent's user.
func (p *packagedAgent) own(root *os.Root, path string, flags int, text []byte) error {
	file, err := root.OpenFile(path, flags, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if len(text) > 0 {
		if _, err := file.Write(text); err != nil {
			return err
		}
	}
	return file.Chown(int(p.User.Id), int(p.User.Id))
}

// keep starts it, answers once when it is well or will not be, and keeps it running after that.
func (p *packagedAgent) keep(all *processes) error {
	log := &packagedLog{root: filepath.Join("/", p.root), path: "var/log/" + p.Name + ".log"}
	healthy := make(chan struct{})
	failed := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), packagedLimit)
	defer cancel()
	goGuarded("the agent's health", func() {
		if p.waitWell(ctx) {
			close(healthy)
		}
	})
	goGuarded("the agent", func() { p.supervise(all, log, healthy, failed) })
	select {
	case <-healthy:
		return nil
	case err := <-failed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("it does not answer after %s: %s", packagedLimit, log.lastLine())
	}
}

func (p *packagedAgent) supervise(all *processes, log *packagedLog, healthy <-chan struct{}, failed chan<- error) {
	pause := packagedPause
	for tries := 1; ; tries++ {
		begun := time.Now()
		words := "could not be started"
		if ended, err := p.start(all, log); err != nil {
			words = err.Error()
		} else {
			status := <-ended
			words = "ended with " + strconv.Itoa(status.ExitStatus())
		}
		log.write("the agent " + words)
		if isOpen(healthy) && tries >= packagedTriesMax {
			failed <- fmt.Errorf("it %s, again and again: %s", words, log.lastLine())
			return
		}
		if time.Since(begun) > packagedCalm {
			pause = packagedPause
		}
		time.Sleep(pause)
		pause = min(pause*2, packagedPauseMax)
	}
}

func isOpen(done <-chan struct{}) bool {
	select {
	case <-done:
		return false
	default:
		return true
	}
}

func (p *packagedAgent) start(all *processes, log *packagedLog) (<-chan syscall.WaitStatus, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	given := []string{
		"PATH=" + filepath.Dir(p.Command[0]) + ":/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8",
		"HOME=" + p.User.Home, "USER=" + p.User.Name, "LOGNAME=" + p.User.Name,
	}
	for name, value := range p.Environment {
		given = append(given, name+"="+value)
	}
	_, ended, err := all.launch(program{
		command: p.Command[0], args: p.Command[1:], environment: given, folder: p.User.Home,
		as: &syscall.Credential{Uid: p.User.Id, Gid: p.User.Id}, root: p.root,
	}, int(writer.Fd()), int(writer.Fd()))
	writer.Close()
	if err != nil {
		reader.Close()
		return nil, err
	}
	goGuarded("the agent's log", func() {
		defer reader.Close()
		log.copy(reader)
	})
	return ended, nil
}

// waitWell answers whether it said that it is well before the context was over.
func (p *packagedAgent) waitWell(ctx context.Context) bool {
	client := &http.Client{Timeout: 20 * time.Second}
	url := fmt.Sprintf("http://%s%s", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Health.Port)), p.Health.Path)
	for ctx.Err() == nil {
		if answer, err := client.Get(url); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return true
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(packagedLook):
		}
	}
	return false
}

// packagedLog begins anew when it is full, so that no program fills what the machine writes to. Whoever logs in reads it.
type packagedLog struct {
	root, path string
	mutex      sync.Mutex
	last       string
}

func (l *packagedLog) copy(from io.Reader) {
	lines := bufio.NewReaderSize(from, packagedLineMax)
	for {
		text, _, err := lines.ReadLine()
		if len(text) > 0 {
			l.line(string(text))
		}
		if err != nil {
			return
		}
	}
}

// line is the program's own.
func (l *packagedLog) line(text string) {
	l.mutex.Lock()
	l.last = shortened(printable(text))
	l.mutex.Unlock()
	l.write(text)
}

func (l *packagedLog) write(text string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	root, err := os.OpenRoot(l.root)
	if err != nil {
		return
	}
	defer root.Close()
	if info, err := root.Lstat(l.path); err == nil && (info.Size() > packagedLogMax || !info.Mode().IsRegular()) {
		root.Remove(l.path)
	}
	file, err := root.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return
	}
	defer file.Close()
	fmt.Fprintf(file, "%s %s\n", time.Now().UTC().Format(time.RFC3339), text)
}

func (l *packagedLog) lastLine() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.last
}
