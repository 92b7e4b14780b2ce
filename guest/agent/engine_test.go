// SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// podmanSays is a podman that was told what to answer, and remembers what it was asked.
type podmanSays struct {
	mutex   sync.Mutex
	asked   []string
	headers http.Header
}

func (p *podmanSays) count(begin string) (times int) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, each := range p.asked {
		if strings.HasPrefix(each, begin) {
			times++
		}
	}
	return times
}

func podmanThat(t *testing.T, answer func(http.ResponseWriter, *http.Request)) (*engineApi, *podmanSays) {
	t.Helper()
	path, said := t.TempDir()+"/podman.sock", &podmanSays{}
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(to http.ResponseWriter, from *http.Request) {
		said.mutex.Lock()
		said.asked = append(said.asked, from.Method+" "+strings.TrimPrefix(from.URL.String(), "/v5.0.0/libpod"))
		said.headers = from.Header
		said.mutex.Unlock()
		answer(to, from)
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return &engineApi{&http.Client{Transport: &http.Transport{DialContext: dial}}}, said
}

func wait(t *testing.T, until func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !until(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come to it")
		}
	}
}

func containerOf(service, state string, code int) engineContainer {
	return engineContainer{Id: service, State: state, ExitCode: code, Labels: map[string]string{labelService: service}}
}

func TestWhatPodmanLeftEndedIsStartedAgainAsComposeSays(t *testing.T) {
	api, said := podmanThat(t, func(to http.ResponseWriter, _ *http.Request) { to.WriteHeader(http.StatusNoContent) })
	w := &workload{api: api}
	document := composeDocument{map[string]composeService{"web": {Restart: "on-failure"}, "job": {}, "side": {Restart: "always"}}}
	all := []engineContainer{containerOf("web", "exited", 1), containerOf("job", "exited", 1), containerOf("side", "exited", 0)}
	since := map[string]time.Time{}
	// Podman is given its time first.
	for range 2 {
		if ended := w.judge(t.Context(), document, all, "web", since); ended != nil || said.count("POST") != 0 {
			t.Fatalf("%v %v", ended, said.asked)
		}
	}
	for id := range since {
		since[id] = since[id].Add(-restartAfter - time.Second)
	}
	if ended := w.judge(t.Context(), document, all, "web", since); ended != nil {
		t.Fatal(ended)
	}
	if said.count("POST /containers/web/start") != 1 || said.count("POST /containers/side/start") != 1 || said.count("POST") != 2 {
		t.Errorf("%v", said.asked)
	}
	// One that runs again begins anew.
	w.judge(t.Context(), document, []engineContainer{containerOf("web", "exited", 1)}, "web", since)
	w.judge(t.Context(), document, []engineContainer{containerOf("web", "running", 0)}, "web", since)
	if _, waiting := since["web"]; waiting {
		t.Error("it is waited for although it runs")
	}
}

func TestTheEndOfThePublicServiceIsTheWorkloads(t *testing.T) {
	w := &workload{}
	document := composeDocument{map[string]composeService{"web": {}, "side": {}}}
	since := map[string]time.Time{}
	for name, each := range map[string]struct {
		all   []engineContainer
		ended bool
	}{
		"it runs":             {[]engineContainer{containerOf("web", "running", 0), containerOf("side", "exited", 1)}, false},
		"it is being stopped": {[]engineContainer{containerOf("web", "stopping", 0)}, false},
		"it ended":            {[]engineContainer{containerOf("web", "exited", 3), containerOf("side", "running", 0)}, true},
		"it is not there":     {[]engineContainer{containerOf("side", "running", 0)}, true},
		"one of two ended":    {[]engineContainer{containerOf("web", "exited", 0), {Id: "2", State: "running", Labels: map[string]string{labelService: "web"}}}, false},
	} {
		if ended := w.judge(t.Context(), document, each.all, "web", since); (ended != nil) != each.ended {
			t.Errorf("%s: %v", name, ended)
		}
	}
}

func TestAPullIsAskedForAsItMayBe(t *testing.T) {
	username, password := "user", "pass-word"
	login := &registryLogin{Username: &username, Password: &password}
	api, said := podmanThat(t, func(to http.ResponseWriter, from *http.Request) {
		if from.URL.Query().Get("reference") == "bad" {
			fmt.Fprint(to, `{"stream":"Trying"}{"error":"unauthorized"}`)
			return
		}
		if from.URL.Query().Get("reference") == "worse" {
			to.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(to, `{"cause":"c","message":"it broke","response":500}`)
			return
		}
		fmt.Fprint(to, `{"stream":"Copying blob a\n"}`+"\n"+`{"stream":"Copying blob b\n"}{"id":"x"}`)
	})
	lines := 0
	if err := api.pull(t.Context(), pullAsk{reference: "r.example/a@b", login: login}, func(string) { lines++ }); err != nil || lines != 2 {
		t.Errorf("%v %d", err, lines)
	}
	// Whatever the login, TLS is not left out for a registry that is behind no door.
	if said.asked[0] != "POST /images/pull?policy=missing&reference=r.example%2Fa%40b" {
		t.Errorf("%v", said.asked)
	}
	text, err := base64.URLEncoding.DecodeString(said.headers.Get("X-Registry-Auth"))
	if err != nil || string(text) != `{"password":"pass-word","username":"user"}` {
		t.Errorf("%s", text)
	}
	if err := api.pull(t.Context(), pullAsk{reference: "a", plain: true, always: true}, func(string) {}); err != nil {
		t.Error(err)
	}
	if said.asked[1] != "POST /images/pull?policy=always&reference=a&tlsVerify=false" || said.headers.Get("X-Registry-Auth") != "" {
		t.Errorf("%v", said.asked)
	}
	for reference, wanted := range map[string]string{"bad": "unauthorized", "worse": "it broke"} {
		if err := api.pull(t.Context(), pullAsk{reference: reference}, func(string) {}); err == nil || err.Error() != wanted {
			t.Errorf("%v", err)
		}
	}
}

func TestAHealthCheckThatTakesLongIsNotStartedAgainBesideItself(t *testing.T) {
	release := make(chan struct{})
	api, said := podmanThat(t, func(to http.ResponseWriter, from *http.Request) {
		if strings.HasSuffix(from.URL.Path, "/healthcheck") {
			<-release
			return
		}
		test := `["CMD","/x"]`
		if strings.Contains(from.URL.Path, "/none/") {
			test = `["NONE"]`
		}
		fmt.Fprintf(to, `{"Config":{"Healthcheck":{"Test":%s,"Interval":1}}}`, test)
	})
	checks := newHealthChecks(api)
	all := []engineContainer{containerOf("slow", "running", 0), containerOf("none", "running", 0), containerOf("ended", "exited", 0)}
	for range 3 {
		checks.run(t.Context(), all)
		for _, each := range checks.each {
			each.next = time.Time{}
		}
	}
	check := checks.each["slow"]
	wait(t, func() bool { return said.count("GET /containers/slow/healthcheck") > 0 })
	close(release)
	wait(t, func() bool { return !check.busy.Load() })
	if said.count("GET /containers/slow/healthcheck") != 1 || said.count("GET /containers/none/healthcheck") != 0 ||
		said.count("GET /containers/ended") != 0 {
		t.Errorf("%v", said.asked)
	}
	checks.run(t.Context(), all)
	wait(t, func() bool { return said.count("GET /containers/slow/healthcheck") == 2 })
	checks.run(t.Context(), nil)
	if len(checks.each) != 0 {
		t.Error("containers that are gone are remembered")
	}
}

func TestAnAnswerOfVeryManyContainersIsALine(t *testing.T) {
	w := makeWorkload(nil)
	long := strings.Repeat("a", 1000)
	for at := range 500 {
		w.seen = append(w.seen, engineContainer{Id: fmt.Sprint(at), Names: []string{long[:200]}, Image: long, ImageID: long[:64]})
		w.images = append(w.images, resolvedImage{long[:100], long, long})
	}
	for _, answer := range []any{w.status(), map[string]any{"containers": w.containers()}} {
		if text := mustJson(t, answer); len(text) >= frameBytesMax-100 {
			t.Errorf("%d bytes", len(text))
		}
	}
}
