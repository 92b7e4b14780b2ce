// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// Lines of a container, from the file that its conmon writes: `time SP stream SP F|P SP text`, P for what goes on. The file is
// read here and not by podman: a question must not wait for one that hangs. What is in it is the container's.
const (
	// An answer is one line of the port with its escapes, and there is a little around it.
	logAnswerMax = 240_000
	logLineMax   = 64 * 1024
	logLinesMax  = 10_000
	// The newest lines are at the end, as a rule.
	logTailBytes = 1 << 20
	// Of one question. Files are kept shorter than this, unless a client says otherwise of his own.
	logScanMax = 48 << 20
	logTime    = "2006-01-02T15:04:05.000000000"
)

var (
	containerForm = regexp.MustCompile(`^[a-zA-Z0-9/][a-zA-Z0-9._-]{0,254}$`)
	cursorForm    = regexp.MustCompile(`^([0-9]{1,20})-([0-9]{1,15})$`)
)

type logsArgs struct {
	Container  *string `json:"container"`
	Stream     *string `json:"stream"`
	Tail       *bool   `json:"tail"`
	LinesMax   *int    `json:"linesMax"`
	Since      *string `json:"since"`
	Timestamps *bool   `json:"timestamps"`
	After      *string `json:"after"`
}

// logsAsk is the same, judged.
type logsAsk struct {
	container, stream string
	tail, timestamps  bool
	linesMax          int
	// As the file has times; "" for all.
	since string
	// Where to go on, in which file; none: 0, 0.
	inode uint64
	from  int64
}

func (given logsArgs) judge() (logsAsk, error) {
	wrong := func(words string) (logsAsk, error) { return logsAsk{}, refusal{"malformed", words} }
	if given.Container == nil || given.Stream == nil || given.Tail == nil || given.LinesMax == nil || given.Timestamps == nil {
		return wrong("container, stream, tail, linesMax and timestamps are needed")
	}
	ask := logsAsk{
		container: strings.TrimPrefix(*given.Container, "/"), stream: *given.Stream, tail: *given.Tail,
		timestamps: *given.Timestamps, linesMax: min(*given.LinesMax, logLinesMax),
	}
	if !containerForm.MatchString(ask.container) || ask.linesMax < 1 {
		return wrong("container is a name, and linesMax 1 at least")
	}
	if ask.stream != "stdout" && ask.stream != "stderr" && ask.stream != "both" {
		return wrong("stream is stdout, stderr or both")
	}
	if given.Since != nil {
		since, err := time.Parse(time.RFC3339Nano, *given.Since)
		if err != nil {
			return wrong("since is a time of ISO 8601")
		}
		ask.since = since.UTC().Format(logTime)
	}
	if given.After != nil {
		parts := cursorForm.FindStringSubmatch(*given.After)
		if parts == nil {
			return wrong("after is what an answer had as next")
		}
		ask.inode, _ = strconv.ParseUint(parts[1], 10, 64)
		ask.from, _ = strconv.ParseInt(parts[2], 10, 64)
	}
	return ask, nil
}

type logsAnswer struct {
	Lines []string `json:"lines"`
	Next  string   `json:"next"`
}

func logFile(id string) string {
	return filepath.Join(storeFolder, "storage/overlay-containers", id, "userdata/ctr.log")
}

// readLogs does not wait for who writes, should the file be a pipe. A file that was begun anew, as it is when it is full or its container is another one, is read from its beginning.
func readLogs(path string, ask logsAsk) (logsAnswer, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if os.IsNotExist(err) {
		return logsAnswer{[]string{}, "0-0"}, nil
	}
	if err != nil {
		return logsAnswer{}, fmt.Errorf("the log cannot be read")
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return logsAnswer{}, fmt.Errorf("the log cannot be read")
	}
	inode, from := info.Sys().(*syscall.Stat_t).Ino, int64(0)
	if ask.inode == inode && ask.from <= info.Size() {
		from = ask.from
	}
	var kept *keptLines
	var end int64
	if ask.tail {
		from = max(from, info.Size()-logScanMax)
		kept, end, err = newest(file, ask, from, info.Size())
	} else {
		kept = &keptLines{ask: ask}
		end, err = kept.scan(file, from, min(info.Size(), from+logScanMax))
	}
	if err != nil {
		return logsAnswer{}, fmt.Errorf("the log cannot be read")
	}
	return logsAnswer{kept.lines, fmt.Sprintf("%d-%d", inode, end)}, nil
}

// newest looks at the end first, and at all of it only when there is too little of what is wanted.
func newest(file io.ReaderAt, ask logsAsk, from, size int64) (*keptLines, int64, error) {
	for _, start := range []int64{max(from, size-logTailBytes), from} {
		kept := &keptLines{ask: ask}
		end, err := kept.scan(file, start, size)
		if err != nil || len(kept.lines) >= ask.linesMax || kept.dropped || start == from {
			return kept, end, err
		}
	}
	return nil, 0, io.ErrUnexpectedEOF
}

// keptLines collects what was asked for, as much as an answer holds: the first lines, or with tail the last.
type keptLines struct {
	ask   logsAsk
	lines []string
	sizes []int
	total int
	// The scan began inside a line.
	inside bool
	// Something was left out for room.
	dropped bool
	open    [2]openLine
}

type openLine struct {
	time string
	text []byte
	// Where it began, and whether it did.
	began bool
}

// scan answers where to go on: after the last entry that was taken.
func (k *keptLines) scan(file io.ReaderAt, from, to int64) (int64, error) {
	k.lines = []string{}
	// Whoever gave `from`: a cursor is a client's, and the end of a line may look like an entry.
	if from > 0 {
		before := make([]byte, 1)
		count, _ := file.ReadAt(before, from-1)
		k.inside = count == 0 || before[0] != '\n'
	}
	reader := io.NewSectionReader(file, from, to-from)
	buffer := make([]byte, 0, 256*1024)
	at := from
	for {
		if len(buffer) == cap(buffer) {
			// conmon writes no entry of this length: what is here is none of its lines.
			at += int64(len(buffer))
			buffer = buffer[:0]
			k.inside = true
		}
		count, err := reader.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+count]
		rest := buffer
		for {
			end := bytes.IndexByte(rest, '\n')
			if end < 0 {
				break
			}
			if k.inside {
				k.inside = false
			} else if !k.take(rest[:end]) {
				return at, nil
			}
			at += int64(end + 1)
			rest = rest[end+1:]
		}
		buffer = append(buffer[:0], rest...)
		if err == io.EOF {
			// A line that goes on is shown as far as it is here.
			for index := range k.open {
				k.flush(index)
			}
			return at, nil
		}
		if err != nil {
			return at, err
		}
	}
}

// take answers false when there is no room for the entry, which is then not taken.
func (k *keptLines) take(entry []byte) bool {
	words := bytes.SplitN(entry, []byte{' '}, 4)
	if len(words) < 4 || len(words[0]) < len(logTime) || len(words[2]) != 1 {
		return true
	}
	stream, index := string(words[1]), 0
	if stream == "stderr" {
		index = 1
	}
	if k.ask.stream != "both" && stream != k.ask.stream || string(words[0][:len(logTime)]) <= k.ask.since {
		return true
	}
	if !k.ask.tail && (len(k.lines) >= k.ask.linesMax || k.dropped) {
		return false
	}
	open := &k.open[index]
	if !open.began {
		*open = openLine{time: string(words[0][:len(logTime)]) + "Z", began: true}
	}
	open.text = append(open.text, words[3][:min(len(words[3]), logLineMax-len(open.text))]...)
	if words[2][0] == 'P' {
		return true
	}
	return k.flush(index)
}

func (k *keptLines) flush(index int) bool {
	open := k.open[index]
	if !open.began {
		return true
	}
	line, size := k.shown(open)
	if !k.ask.tail && k.total+size > logAnswerMax {
		k.dropped = true
		return false
	}
	k.open[index] = openLine{}
	k.lines, k.sizes, k.total = append(k.lines, line), append(k.sizes, size), k.total+size
	for len(k.lines) > k.ask.linesMax || k.total > logAnswerMax {
		k.dropped = k.dropped || k.total > logAnswerMax
		k.total -= k.sizes[0]
		k.lines, k.sizes = k.lines[1:], k.sizes[1:]
	}
	return true
}

// shown answers the line and what it takes in an answer. Half of one that is mostly escapes still is a line.
func (k *keptLines) shown(open openLine) (string, int) {
	text := strings.ToValidUTF8(strings.TrimSuffix(string(open.text), "\r"), string(utf8.RuneError))
	for {
		line := text
		if k.ask.timestamps {
			line = open.time + " " + text
		}
		coded, err := json.Marshal(line)
		if err == nil && len(coded) < logAnswerMax/2 {
			return line, len(coded) + 1
		}
		text = strings.ToValidUTF8(text[:len(text)/2], "")
	}
}
