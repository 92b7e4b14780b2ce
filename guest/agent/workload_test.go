// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Parts of a workload's life that need no machine; guest/workload.test.ts runs them.

func logOf(t *testing.T, entries ...string) string {
	path := filepath.Join(t.TempDir(), "ctr.log")
	text := ""
	for at, entry := range entries {
		text += fmt.Sprintf("2026-01-02T03:04:%02d.000000000+00:00 %s\n", at, entry)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustRead(t *testing.T, path string, ask logsAsk) logsAnswer {
	t.Helper()
	answer, err := readLogs(path, ask)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func expectLines(t *testing.T, answer logsAnswer, wanted ...string) {
	t.Helper()
	if !reflect.DeepEqual(answer.Lines, append([]string{}, wanted...)) {
		t.Fatalf("%q and not %q", answer.Lines, wanted)
	}
}

func cursorOf(t *testing.T, ask logsAsk, next string) logsAsk {
	t.Helper()
	yes, no, both, name, count := true, false, "both", "c", ask.linesMax
	tail := &no
	if ask.tail {
		tail = &yes
	}
	judged, err := logsArgs{Container: &name, Stream: &both, Tail: tail, LinesMax: &count, Timestamps: &no, After: &next}.judge()
	if err != nil {
		t.Fatal(err)
	}
	return judged
}

func TestLogsAreOfTheStreamTheEndAndTheTimeThatWereAskedFor(t *testing.T) {
	path := logOf(t, "stdout F one", "stderr F two", "stdout P thr", "stderr F four", "stdout F ee", "stdout F ")
	all := logsAsk{stream: "both", linesMax: 100}
	expectLines(t, mustRead(t, path, all), "one", "two", "four", "three", "")
	expectLines(t, mustRead(t, path, logsAsk{stream: "stdout", linesMax: 2}), "one", "three")
	expectLines(t, mustRead(t, path, logsAsk{stream: "stdout", linesMax: 2, tail: true}), "three", "")
	expectLines(t, mustRead(t, path, logsAsk{stream: "stderr", linesMax: 9, timestamps: true}),
		"2026-01-02T03:04:01.000000000Z two", "2026-01-02T03:04:03.000000000Z four")
	since := logsAsk{stream: "both", linesMax: 100, since: "2026-01-02T03:04:03.000000000"}
	expectLines(t, mustRead(t, path, since), "ee", "")
}

func TestLogsGoOnWhereTheAnswerBeforeEnded(t *testing.T) {
	entries := []string{}
	for at := range 50 {
		entries = append(entries, fmt.Sprintf("stdout F line %d", at))
	}
	path := logOf(t, entries...)
	ask, got := logsAsk{stream: "both", linesMax: 7}, []string{}
	for {
		answer := mustRead(t, path, ask)
		if len(answer.Lines) == 0 {
			break
		}
		got = append(got, answer.Lines...)
		ask = cursorOf(t, ask, answer.Next)
	}
	if len(got) != 50 || got[49] != "line 49" {
		t.Fatalf("%d lines, the last is %q", len(got), got[len(got)-1])
	}
	// Begun anew, as when it was full: the cursor is of another file.
	other := path + ".new"
	long := "2026-01-02T03:04:05.000000000+00:00 stdout F " + strings.Repeat("x", 10_000) + "\n"
	if err := os.WriteFile(other, []byte("2026-01-02T03:04:05.000000000+00:00 stdout F anew\n"+long), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	ask.linesMax = 1
	expectLines(t, mustRead(t, path, ask), "anew")
}

func TestLogsOfAnySizeAreAnAnswerThatIsALine(t *testing.T) {
	worst := strings.Repeat("\x01\\", 20_000)
	entries := []string{}
	for at := range 300 {
		entries = append(entries, fmt.Sprintf("stdout F %d %s", at, worst[:2_000]), "stderr P "+worst, "stderr P "+worst, "stderr F \xff"+worst)
	}
	path := logOf(t, entries...)
	for _, tail := range []bool{true, false} {
		answer := mustRead(t, path, logsAsk{stream: "both", linesMax: 10_000, tail: tail, timestamps: true})
		line, err := json.Marshal(map[string]any{"id": 1 << 52, "ok": answer})
		if err != nil || len(line) >= frameBytesMax {
			t.Fatalf("an answer of %d bytes", len(line))
		}
		if len(answer.Lines) == 0 {
			t.Fatal("nothing of it")
		}
	}
	// All of it comes, piece by piece, and each line once.
	ask, numbers := logsAsk{stream: "stdout", linesMax: 10_000}, 0
	for {
		answer := mustRead(t, path, ask)
		if len(answer.Lines) == 0 {
			break
		}
		for _, line := range answer.Lines {
			if !strings.HasPrefix(line, fmt.Sprintf("%d ", numbers)) {
				t.Fatalf("line %d is %.20q", numbers, line)
			}
			numbers++
		}
		stream := ask.stream
		ask = cursorOf(t, ask, answer.Next)
		ask.stream = stream
	}
	if numbers != 300 {
		t.Fatalf("%d lines", numbers)
	}
}

func TestLogsOfNoForm(t *testing.T) {
	path := logOf(t, "stdout F one", "x", "", "stdout", "stdout F")
	if err := os.WriteFile(path, append(bytes.Repeat([]byte("x"), 600_000), "\n2026-01-02T03:04:05.000000000+00:00 stdout F seen\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	expectLines(t, mustRead(t, path, logsAsk{stream: "both", linesMax: 9}), "seen")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expectLines(t, mustRead(t, path, logsAsk{stream: "both", linesMax: 9}))
	// A container's folder is podman's, and what it wrote there is not followed.
	if err := os.Symlink("/etc/passwd", path); err != nil {
		t.Fatal(err)
	}
	if answer, err := readLogs(path, logsAsk{stream: "both", linesMax: 9}); err == nil {
		t.Fatalf("read %q", answer.Lines)
	}
}

func TestEntriesThatAreNoneAreLeftOut(t *testing.T) {
	path := logOf(t, "stdout  two spaces", "stdout FP both", "stdout F one", "  ", "   ", "stdout F ")
	for _, tail := range []bool{true, false} {
		expectLines(t, mustRead(t, path, logsAsk{stream: "both", linesMax: 9, tail: tail}), "one", "")
	}
}

func TestACursorInsideALineShowsNothingOfThatLine(t *testing.T) {
	// Whoever writes a line can have its end look like another entry.
	fake := "2026-01-02T03:04:59.000000000+00:00 stderr F fake"
	path := logOf(t, "stdout F "+fake, "stdout F one")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole := mustRead(t, path, logsAsk{stream: "both", linesMax: 9})
	inode, _, _ := strings.Cut(whole.Next, "-")
	from := strings.Index(string(text), fake)
	ask := logsAsk{stream: "both", linesMax: 9}
	expectLines(t, mustRead(t, path, cursorOf(t, ask, fmt.Sprintf("%s-%d", inode, from))), "one")
	ask.tail = true
	expectLines(t, mustRead(t, path, cursorOf(t, ask, fmt.Sprintf("%s-%d", inode, from))), "one")
	// At a line's beginning that line is shown.
	second := strings.IndexByte(string(text), '\n') + 1
	expectLines(t, mustRead(t, path, cursorOf(t, ask, fmt.Sprintf("%s-%d", inode, second))), "one")
}

func TestALogThatIsAPipeIsNotWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ctr.log")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := readLogs(path, logsAsk{stream: "both", linesMax: 9})
		answered <- err
	}()
	select {
	case err := <-answered:
		if err == nil {
			t.Error("a pipe was read")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it waits for a writer")
	}
}

func TestAQuestionThatMeetsAFaultIsAnsweredThatItFailed(t *testing.T) {
	operations["test-fault"] = operation{beforeClaim: true, do: func(*agent, json.RawMessage) (any, func(), error) {
		words := []string{}
		return words[len(words)], nil, nil
	}}
	defer delete(operations, "test-fault")
	said, after := (&agent{greeted: true}).answer([]byte(`{"id":7,"op":"test-fault","args":{}}`))
	text := string(mustJson(t, said))
	if text != `{"error":{"code":"failed","message":"a fault of the agent"},"id":7}` || after != nil {
		t.Errorf("%s", text)
	}
}

func TestALineOfTheFrontThatIsTooLongIsNotItsEnd(t *testing.T) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer theirs.Close()
	go (&frontProcess{attester: &attester{turns: newEvidenceTurns()}}).answerAll(ours)
	answers := bufio.NewReader(theirs)
	for _, line := range []string{strings.Repeat("<", 3*questionBytesMax), `{"activate":{"credential":"*","secret":""}}`} {
		if _, err := theirs.WriteString(line + "\n"); err != nil {
			t.Fatal(err)
		}
		if answer, err := answers.ReadString('\n'); answer != "{\"malformed\":true}\n" {
			t.Fatalf("%q %v", answer, err)
		}
	}
}

func TestWordsAreWithoutSecrets(t *testing.T) {
	long := strings.Repeat("0123456789", 5)
	secrets := &workloadSecrets{
		env:    map[string]string{"A": "hunter-22", "B": long, "C": "first line\nsecond line", "SHORT": "no"},
		files:  map[string][]byte{"key": []byte("-- key --\n")},
		logins: map[string]registryLogin{},
	}
	secrets.env["TABS"], secrets.env["QUOTE"] = "one\ttwo\x07three", `say "twice\n"`
	username, password := "robot-7", "pass-word"
	secrets.logins["r"] = registryLogin{Username: &username, Password: &password}
	encode := base64.StdEncoding.EncodeToString
	r := newRedactor(secrets)
	for said, wanted := range map[string]string{
		"the password hunter-22 is wrong":                      "the password *** is wrong",
		"begins " + long[:40] + " and is cut":                  "begins ***",
		"the second line of it":                                "the *** of it",
		"-- key -- pass-word":                                  "*** ***",
		"no secret":                                            "no secret",
		"it is one\ttwo\x07three":                              "it is ***",
		"it is one twothree":                                   "it is ***",
		"it is hun\x07ter-22":                                  "it is ***",
		fmt.Sprintf("no %q", "one\ttwo\x07three"):              `no "***"`,
		fmt.Sprintf("no %q", "say \"twice\\n\""):               `no "***"`,
		"sent " + encode([]byte("hunter-22")) + " to it":       "sent *** to it",
		"sent " + encode([]byte(long)) + " to it":              "sent ***",
		"sent " + encode([]byte("robot-7:pass-word")) + " off": "sent ***= off",
		"robot-7 is not let in":                                "*** is not let in",
		"a\x1b[31m\x07b\tc\nlast":                              "a[31mb c; last",
		"":                                                     wordsOfNothing,
		strings.Repeat("x", 5000) + "hunter-22":                wordsOfNothing,
	} {
		if got := r.public(said); got != wanted {
			t.Errorf("%q and not %q", got, wanted)
		}
	}
	many := map[string]string{}
	for at := range secretsMax + 2 {
		many[fmt.Sprint(at)] = fmt.Sprintf("secret %d", at)
	}
	if got := newRedactor(&workloadSecrets{env: many}).public("secret 5"); got != wordsTooManyKeys {
		t.Errorf("%q", got)
	}
}

func TestNamesThatSayAValueAreNotShown(t *testing.T) {
	username := "robot-7"
	redactor := newRedactor(&workloadSecrets{
		env: map[string]string{"TOKEN": "hunter-22"}, logins: map[string]registryLogin{"r": {Username: &username, Password: &username}},
	})
	labels := map[string]string{labelService: "api"}
	w := &workload{redactor: redactor, seen: []engineContainer{
		{Image: "docker.io/library/app:hunter-22", Names: []string{"is-hunter-22", "workload-api-1"}, Labels: labels},
		{Image: "docker.io/library/caddy:2", Names: []string{"workload-api-1"}, Labels: labels},
	}}
	for at, image := range []string{"the image of api", "caddy:2"} {
		got := w.containers()[at]
		if got.Image != image || !reflect.DeepEqual(got.Names, []string{"api", "workload-api-1"}) {
			t.Errorf("%+v", got)
		}
	}
}

func TestAVariableEndsWhereItEndsInTheFileForCompose(t *testing.T) {
	env := map[string]string{"A": `x\`, "B": `y"`, "C": `\"$A\\`, "D": "one\ntwo", "FILES": "of a client"}
	wanted := `A="x\\"` + "\n" + `B="y\""` + "\n" + `C="\\\"$$A\\\\"` + "\nD=\"one\ntwo\"\nFILES=\"/run/casemate/files\"\n"
	if got := envFile(env); got != wanted {
		t.Errorf("%s", got)
	}
}

func TestImageNames(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("a", 64)
	for text, wanted := range map[string]string{
		"caddy:2":                        "docker.io/library/caddy:2",
		"team/app":                       "docker.io/team/app:latest",
		"index.docker.io/caddy":          "docker.io/library/caddy:latest",
		"127.0.0.1:4180/a/b:v1" + digest: "127.0.0.1:4180/a/b" + digest,
		"localhost/app":                  "localhost/app:latest",
		"ghcr.io/a/b-c__d:x":             "ghcr.io/a/b-c__d:x",
		"":                               "", "A/b": "", "a:": "", "a@sha256:1": "", "a b": "", "a/../b": "", "-a": "", "x.y:1/": "",
	} {
		got := ""
		if name := parseImageName(text); name != nil {
			got = name.full()
		}
		if got != wanted {
			t.Errorf("%q: %q and not %q", text, got, wanted)
		}
	}
	doors := doorsOf([]int{4180})
	for text, wanted := range map[string]bool{
		"127.0.0.1:4180/a": true, "localhost:4180/a": true, "127.0.0.1:4181/a": false, "10.0.0.1:4180/a": false,
		"localhost/a": false, "evil.example:4180/a": false,
	} {
		if parseImageName(text).onDoor(doors) != wanted {
			t.Errorf("%q", text)
		}
	}
	for server, wanted := range map[string]string{
		"https://index.docker.io/v1/": "docker.io", "127.0.0.1:4180": "127.0.0.1:4180", "http://r.example/v2/": "r.example",
	} {
		if got := registryOf(server); got != wanted {
			t.Errorf("%q: %q", server, got)
		}
	}
}

func TestRestartsAreThoseThatComposeSays(t *testing.T) {
	for _, each := range []struct {
		service composeService
		code    int
		times   int
		wanted  bool
	}{
		{composeService{}, 1, 0, false},
		{composeService{Restart: "no"}, 1, 0, false},
		{composeService{Restart: "always"}, 0, 99, true},
		{composeService{Restart: "unless-stopped"}, 0, 0, true},
		{composeService{Restart: "on-failure"}, 0, 0, false},
		{composeService{Restart: "on-failure"}, 1, 9, true},
		{composeService{Restart: "on-failure:3"}, 1, 3, false},
		{composeService{Restart: "on-failure:3"}, 1, 2, true},
	} {
		if policyOf(each.service).again(each.code, each.times) != each.wanted {
			t.Errorf("%+v", each)
		}
	}
	var service composeService
	if err := json.Unmarshal([]byte(`{"deploy":{"restart_policy":{"condition":"on-failure","max_attempts":2}}}`), &service); err != nil {
		t.Fatal(err)
	}
	if policy := policyOf(service); policy.again(1, 2) || !policy.again(1, 1) || policy.again(0, 0) {
		t.Errorf("%+v", policy)
	}
}

func TestTheOverrideSaysWhatTheManifestSays(t *testing.T) {
	pinned := "127.0.0.1:5000/a@sha256:" + strings.Repeat("b", 64)
	document := composeDocument{map[string]composeService{"web": {Image: "a:1"}, "db": {Image: "b"}}}
	manifest := &launchManifest{PublicService: "web", PublicPort: 8080, Images: map[string]string{"db": pinned, "gone": pinned}}
	text, err := json.Marshal(overrideOf(document, manifest, []string{"db"}))
	if err != nil {
		t.Fatal(err)
	}
	wanted := `{"services":{"db":{"image":"` + pinned + `","environment":{"HOME":"/"}},"web":{"ports":[{"mode":"ingress",` +
		`"host_ip":"127.0.0.1","target":8080,"published":"18080","protocol":"tcp"}]}}}`
	if string(text) != wanted {
		t.Errorf("%s", text)
	}
}

func TestHomesAreThoseOfThePasswd(t *testing.T) {
	passwd := "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\nbad\nnone:x:7:7:::\n"
	for user, wanted := range map[string]bool{"": true, "0": true, "root": true, "app": true, "1000": true, "7": false, "who": false} {
		if knowsUser(passwd, user) != wanted {
			t.Errorf("%q", user)
		}
	}
}

func TestCpusAreCountedFromTheQuestionBefore(t *testing.T) {
	_, before := cpuUsage("cpu  9 9 9 9\ncpu0 100 0 100 800 0 0 0 0 0 0\n", nil)
	facts, _ := cpuUsage("cpu0 130 0 120 830 20 0 0 0 30 0\n", before)
	if !reflect.DeepEqual(facts, []cpuFacts{{"cpu0", 50}}) {
		t.Errorf("%+v", facts)
	}
}

func TestAStateDiskIsJudgedWithoutAWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	key, other := bytes.Repeat([]byte{1}, stateKeyBytes), bytes.Repeat([]byte{2}, stateKeyBytes)
	write := func(head []byte, size int64) {
		os.Remove(path)
		if err := os.WriteFile(path, head, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
	}
	size := int64(stateBytesMin)
	for name, each := range map[string]struct {
		head  []byte
		size  int64
		key   []byte
		fresh bool
		fails bool
	}{
		"empty":                 {nil, size, key, true, false},
		"its own":               {stateMark(key), size, key, false, false},
		"of another key":        {stateMark(other), size, key, false, true},
		"somebody's data":       {bytes.Repeat([]byte{7}, 100), size, key, false, true},
		"at the end of the MiB": {append(make([]byte, headBytes-1), 1), size, key, false, true},
		"too small":             {nil, size - 1, key, false, true},
	} {
		write(each.head, each.size)
		found, err := judgeStateDisk(path, each.key)
		if (err != nil) != each.fails || found.fresh != each.fresh {
			t.Errorf("%s: %+v %v", name, found, err)
		}
	}
	if _, err := judgeStateDisk("", key); err == nil {
		t.Error("no disk at all")
	}
}

func TestAProgramThatNeverEndsIsEnded(t *testing.T) {
	all := startReaper()
	_, _, err := all.capture(t.Context(), 100*time.Millisecond, 100, program{command: "/bin/sh", args: []string{"-c", "sleep 100 & sleep 100"}})
	if err == nil || !strings.Contains(err.Error(), "did not end within") {
		t.Errorf("%v", err)
	}
	_, _, err = all.capture(t.Context(), time.Minute, 100, program{command: "/bin/sh", args: []string{"-c", "head -c 1000 /dev/zero"}})
	if err == nil || !strings.Contains(err.Error(), "says too much") {
		t.Errorf("%v", err)
	}
	said, ended, err := all.capture(t.Context(), time.Minute, 100, program{
		command: "/bin/sh", args: []string{"-c", "echo $A; echo b >&2; exit 3"}, environment: []string{"A=a"},
	})
	if err != nil || string(said) != "a\n" || ended.words != "b\n" || ended.status != 3 {
		t.Errorf("%q %+v %v", said, ended, err)
	}
}

func mustJson(t *testing.T, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
